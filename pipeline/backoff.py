"""Pauses before trying again: growing, bounded, and not in step with anyone else's."""

from __future__ import annotations

import random
from dataclasses import dataclass

from operators.errors import ContractError

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The pause after failure n in a row (1, 2 ...) is first_ns * factor ** (n - 1), at most most_ns, give or take `jitter` of it."""

    first_ns: int = SECOND // 10
    factor: float = 2.0
    most_ns: int = 5 * SECOND
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.first_ns <= 0 or self.factor < 1 or self.most_ns < self.first_ns or not 0 <= self.jitter < 1:
            raise ContractError(f"first_ns > 0, factor >= 1, most_ns >= first_ns, 0 <= jitter < 1 wanted, got {self}")

    def pause_ns(self, failures: int, rng: random.Random) -> int:
        plain_ns = min(self.first_ns * self.factor ** min(failures - 1, 60), self.most_ns)
        return round(plain_ns * (1 + self.jitter * (2 * rng.random() - 1)))

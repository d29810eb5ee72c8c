"""How many requests an address may make: a bucket for each, that fills by itself. The bucket that is unused for longest is forgotten."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_ADDRESSES = 4096
FAILURES_PER_MINUTE = 30
MINUTE_NS = 60_000_000_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at_ns: int


class Buckets:
    """per_minute of each name; as many at once as there are in ten seconds, at least 10."""

    def __init__(self, per_minute: int, now_ns: Callable[[], int]) -> None:
        self._rate, self._now_ns = per_minute, now_ns
        self._most = max(10.0, per_minute / 6)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str) -> int:
        """0: it may. Else the whole seconds after which it may."""
        now_ns = self._now_ns()
        bucket = self._buckets.pop(name, None) or _Bucket(self._most, now_ns)
        self._buckets[name] = bucket
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        bucket.left = min(self._most, bucket.left + (now_ns - bucket.at_ns) * self._rate / MINUTE_NS)
        bucket.at_ns = now_ns
        if bucket.left < 1:
            return max(1, math.ceil((1 - bucket.left) * 60 / self._rate))
        bucket.left -= 1
        return 0


class Rate:
    """Requests, and among them failed attempts to get in, of each address."""

    def __init__(self, per_minute: int, now_ns: Callable[[], int], *, failures_per_minute: int = FAILURES_PER_MINUTE) -> None:
        self._requests = Buckets(per_minute, now_ns)
        self._failures = Buckets(failures_per_minute, now_ns)

    def take(self, name: str) -> int:
        return self._requests.take(name)

    def fail(self, address: str) -> int:
        return self._failures.take(address)

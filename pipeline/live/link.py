r"""The connection of a live source: when to connect, to let go, to try again. A pure state machine; it never gives up.

                 due: connect             connected              no data for stall_ns: release
   (start) --> idle ----------> attempting ----------> up -------------------------------+
                 ^                  | no answer in connect_ns: release                   v
                 |                  +----------------------------------------------> releasing
                 |   ended (any time; the pause grows)                                   |
                 +-----------------------------------------------------------------------+  not ended in release_ns: abandon
   close in any phase --> closed

Whoever owns it carries out the orders: `connect` starts an attempt; `release` asks the one there is to end; `abandon` says that it
did not, so what it holds is in native code's hands: an exclusive device needs a new process, a network stream is left to its own timeout.
Time and randomness come in as arguments.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from operators.errors import ContractError
from pipeline.backoff import SECOND, Backoff
from pipeline.ports import StreamState

Phase = Literal["idle", "attempting", "up", "releasing", "closed"]
Order = Literal["connect", "release", "abandon"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPolicy(Backoff):
    """The pauses between attempts are Backoff's.

    connect_ns  an attempt without an answer for so long is given up
    stall_ns    so long without data and a connection counts as dead; None: silence is normal (text)
    release_ns  as long may a connection take to end when asked
    healthy_ns  so long up and all failures are forgiven
    """

    most_ns: int = 2 * SECOND
    connect_ns: int = 8 * SECOND
    stall_ns: int | None = 3 * SECOND // 2
    release_ns: int = SECOND
    healthy_ns: int = 5 * SECOND

    def __post_init__(self) -> None:
        Backoff.__post_init__(self)
        if min(self.connect_ns, self.stall_ns or 1, self.release_ns, self.healthy_ns) <= 0:
            raise ContractError(f"connect_ns, stall_ns, release_ns, healthy_ns > 0 wanted, got {self}")


class Link:
    """tick gives the orders that the passing of time asks for; the other methods take in what happened."""

    def __init__(self, policy: LinkPolicy, rng: random.Random, now_ns: int) -> None:
        self.phase: Phase = "idle"
        self.failures = 0
        self.reconnects = 0
        self.why = ""
        self._policy, self._rng = policy, rng
        self._due_ns = self._since_ns = self._heard_ns = now_ns
        self._was_up = self._stalled = False

    @property
    def state(self) -> StreamState:
        """As a person would call it."""
        if self.phase == "closed":
            return "closed"
        if self.phase == "up":
            return "live"
        if self._stalled:
            return "stalled"
        return "lost" if self._was_up else "connecting"

    def tick(self, now_ns: int) -> tuple[Order, ...]:
        waited_ns = now_ns - self._since_ns
        if self.phase == "idle" and now_ns >= self._due_ns:
            self._enter("attempting", now_ns)
            return ("connect",)
        if self.phase == "attempting" and waited_ns > self._policy.connect_ns:
            return self._release(now_ns, f"no answer in {self._policy.connect_ns / SECOND:g} s")
        if self.phase == "up":
            return self._watch(now_ns)
        if self.phase == "releasing" and waited_ns > self._policy.release_ns:
            self._fail(now_ns, self.why)
            return ("abandon",)
        return ()

    def connected(self, now_ns: int) -> None:
        if self.phase == "attempting":
            self.reconnects += self._was_up
            self._enter("up", now_ns)
            self._was_up = True
            self._heard_ns = now_ns

    def heard(self, now_ns: int) -> None:
        """Data came."""
        self._heard_ns = now_ns

    def ended(self, now_ns: int, why: str) -> None:
        """The attempt or the connection is over: asked for or not, it is tried again."""
        if self.phase in ("attempting", "up", "releasing"):
            self._fail(now_ns, self.why if self.phase == "releasing" else why)

    def close(self) -> None:
        self.phase = "closed"

    def _watch(self, now_ns: int) -> tuple[Order, ...]:
        if now_ns - self._since_ns > self._policy.healthy_ns:
            self.failures = 0
        silent_ns = now_ns - self._heard_ns
        if self._policy.stall_ns is None or silent_ns <= self._policy.stall_ns:
            return ()
        self._stalled = True
        return self._release(now_ns, f"nothing came for {self._policy.stall_ns / SECOND:g} s")

    def _release(self, now_ns: int, why: str) -> tuple[Order, ...]:
        self.why = why
        self._enter("releasing", now_ns)
        return ("release",)

    def _fail(self, now_ns: int, why: str) -> None:
        self.failures += 1
        self.why = why
        self._stalled = False
        self._enter("idle", now_ns)
        self._due_ns = now_ns + self._policy.pause_ns(self.failures, self._rng)

    def _enter(self, phase: Phase, now_ns: int) -> None:
        self.phase, self._since_ns = phase, now_ns

r"""When to start, stop and give up a child (an actor, an engine process): a pure state machine.

              made             opened            went            beat
  (start) --> opening -------> ready ----------> running -------------> running
                 |               |                  |  \
                 | failed, silent, died (any)       |   ended --> ended
                 v                                  v
              backoff <-----------------------------+
                 | its time has come                 too many failures: lost
                 v
              opening
  stop in any state --> stopped

Time and randomness come in as arguments, so that every transition can be tested without waiting.
`why` is for people: nothing is decided on its text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from operators.errors import ContractError
from pipeline.backoff import SECOND, Backoff

State = Literal["opening", "ready", "running", "backoff", "ended", "lost", "stopped"]
Happening = Literal["opened", "went", "ended", "failed", "stop"]
Order = Literal["start", "kill", "give_up"]

TRANSITIONS: dict[tuple[State, Happening], State] = {
    ("opening", "opened"): "ready",
    ("ready", "went"): "running",
    ("running", "ended"): "ended",
    ("opening", "failed"): "backoff",
    ("ready", "failed"): "backoff",
    ("running", "failed"): "backoff",
    # A child that ended still holds what its receivers may ask for again, so its death is a failure like any other.
    ("ended", "failed"): "backoff",
}
"""What is not in here changes nothing: a late answer of a child that was given up, a second death."""

FINAL: tuple[State, ...] = ("lost", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy(Backoff):
    """How often, and how patiently; the pauses between are Backoff's.

    failures   so many in a row and the child is lost (None: never); healthy_ns of running forgives them all
    silent_ns  a running child that says nothing for so long hangs; opening_ns: as long may it take to open
    """

    failures: int | None = 6
    healthy_ns: int = 20 * SECOND
    silent_ns: int = 5 * SECOND
    opening_ns: int = 60 * SECOND

    def __post_init__(self) -> None:
        Backoff.__post_init__(self)
        if self.failures is not None and self.failures < 1:
            raise ContractError(f"failures >= 1 wanted, got {self}")


LIVE_SOURCE = RestartPolicy(most_ns=2 * SECOND, failures=None, silent_ns=3 * SECOND)
"""A camera may be unplugged for a week. Its process lives through that; it is replaced when it hangs, and that too for ever."""


class Child:
    """The state of one child. `happens` and `tick` give the orders to carry out, in order."""

    def __init__(self, name: str, policy: RestartPolicy, rng: random.Random, now_ns: int) -> None:
        self.name = name
        self.state: State = "opening"
        self.generation = 0
        self.begun = False  # it ran once, in this or an earlier generation
        self.failures = 0
        self.restarts = 0
        self.why = ""
        self._policy, self._rng = policy, rng
        self._heard_ns = self._since_ns = self._due_ns = now_ns

    def happens(self, what: Happening, now_ns: int, why: str = "") -> tuple[Order, ...]:
        """Takes in what became of the child; what cannot happen in this state changes nothing."""
        if what == "stop":
            return self._stop(now_ns)
        after = TRANSITIONS.get((self.state, what))
        if after is None:
            return ()
        if what == "failed":
            return self._fail(now_ns, why)
        self._enter(after, now_ns)
        return ()

    def beat(self, now_ns: int) -> None:
        """The child spoke."""
        self._heard_ns = max(self._heard_ns, now_ns)

    def tick(self, now_ns: int) -> tuple[Order, ...]:
        """What the passing of time asks for."""
        if self.state == "backoff" and now_ns >= self._due_ns:
            return self._restart(now_ns)
        if self.state == "opening" and now_ns - self._since_ns > self._policy.opening_ns:
            return self._fail(now_ns, f"not open after {self._policy.opening_ns / SECOND:g} s")
        if self.state in ("running", "ended") and now_ns - self._heard_ns > self._policy.silent_ns:
            return self._fail(now_ns, f"silent for {self._policy.silent_ns / SECOND:g} s")
        if self.state == "running" and now_ns - self._since_ns > self._policy.healthy_ns:
            self.failures = 0
        return ()

    def renew(self, now_ns: int) -> None:
        """Its owner replaces it, through no fault of its own."""
        self.generation += 1
        self._enter("opening", now_ns)

    @property
    def final(self) -> bool:
        return self.state in FINAL

    def _enter(self, state: State, now_ns: int) -> None:
        self.state = state
        self._since_ns = now_ns
        self.beat(now_ns)

    def _fail(self, now_ns: int, why: str) -> tuple[Order, ...]:
        self.failures += 1
        self.why = why
        if self._policy.failures is not None and self.failures >= self._policy.failures:
            self._enter("lost", now_ns)
            return ("kill", "give_up")
        self._enter("backoff", now_ns)
        self._due_ns = now_ns + self._policy.pause_ns(self.failures, self._rng)
        return ("kill",)

    def _restart(self, now_ns: int) -> tuple[Order, ...]:
        self.generation += 1
        self.restarts += 1
        self._enter("opening", now_ns)
        return ("start",)

    def _stop(self, now_ns: int) -> tuple[Order, ...]:
        if self.final:
            return ()
        self._enter("stopped", now_ns)
        return ("kill",)

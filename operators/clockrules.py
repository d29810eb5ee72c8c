"""How to read one device's clock, and what can go wrong with it: the words of `operators.clockmap`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from operators.errors import ContractError

Kind = Literal["reset", "jump", "delay", "gap", "wrap", "disorder", "duplicate", "unsynchronised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Discontinuity:
    """The device's time is not what it was.

    reset           device time went back for good (a new counter, a reconnect, a wall clock set back): a new line starts
    jump            device time moved by by_ns against arrivals (> 0: it fell behind, e.g. lost samples; < 0: it leapt ahead): a new line
    delay           the way to us became by_ns longer; the line stays
    gap             no packet for by_ns of device time; the clock went on, the line stays
    wrap            a counter of wrap_ns began again; time goes on
    disorder        one packet by_ns behind the newest: it overtook or was sent late; the line stays
    duplicate       a stamp that was there just before; the line stays
    unsynchronised  the clock is not where offset_ns says (the least delay would be by_ns): from here on it is read off the arrivals
    """

    kind: Kind
    device_ns: int
    by_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRules:
    """How to read one device's clock.

    offset_ns     session minus device time at the first packet, where it is known (a counter started with the session); None: read it
                  off the arrivals
    delay_ns      the least time from stamp to arrival, taken off the arrivals when offset_ns is None; None: not known, taken as 0
    most_delay_ns a least delay beyond this, or below 0, is none: then offset_ns was wrong
    wrap_ns       device time begins again at this (33 bits of 90 kHz: 95443717688889); None: it does not
    steps         what a lasting step of arrivals is: `clock`, a counter of samples that lost some; or `delay`, a clock that cannot stop,
                  and a longer way
    step_ns       the least step that is looked for, where the delays are steady enough to show it
    jump_ns       how far off the envelope is no longer delay or drift, however unsteady the delays
    confirm_ns    how long all packets must be late before it is called a step and not a stall
    disorder_ns   a stamp this far behind the newest may have been overtaken; farther is a reset
    slew_ppm      the fastest that the map is steered towards a better line; 100 times that in the first 10 s of a line
    """

    offset_ns: int | None = None
    delay_ns: int | None = None
    most_delay_ns: int = 2_000_000_000
    wrap_ns: int | None = None
    steps: Literal["clock", "delay"] = "clock"
    bucket_ns: int = 1_000_000_000
    horizon_ns: int = 600_000_000_000
    step_ns: int = 5_000_000
    jump_ns: int = 50_000_000
    gap_ns: int = 2_000_000_000
    confirm_ns: int = 3_000_000_000
    disorder_ns: int = 500_000_000
    slew_ppm: float = 500.0
    max_drift_ppm: float = 1000.0

    def __post_init__(self) -> None:
        positive = (self.bucket_ns, self.step_ns, self.jump_ns, self.gap_ns, self.confirm_ns, self.most_delay_ns)
        if min(positive) <= 0 or self.horizon_ns < 10 * self.bucket_ns:
            raise ContractError(f"bucket, step, jump, gap, confirm, most_delay > 0 and a horizon of at least 10 buckets wanted, got {self}")
        if not (0 < self.slew_ppm <= 5000 and 0 < self.max_drift_ppm <= 100_000 and (self.delay_ns or 0) >= 0 <= self.disorder_ns):
            raise ContractError(f"0 < slew_ppm <= 5000, 0 < max_drift_ppm <= 100000, delay_ns, disorder_ns >= 0 wanted, got {self}")

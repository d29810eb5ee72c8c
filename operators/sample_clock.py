"""When each sample of a sound stream was, from the stamps of its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SECOND_NS = 1_000_000_000
SLACK_NS = 2_000_000
"""Stamps may be this far from the count of samples: containers round to milliseconds, device clocks breathe."""
GAP_NS = 5_000_000
"""Beyond this, samples were lost (or repeated): no device block is shorter."""


def samples_in(time_ns: int, rate_hz: int) -> int:
    """Nearest whole number of samples in time_ns (any sign)."""
    return (time_ns * rate_hz + SECOND_NS // 2) // SECOND_NS


def time_of(samples: int, rate_hz: int) -> int:
    """Nearest whole nanosecond at which sample number `samples` is, if sample 0 is at 0."""
    return (samples * SECOND_NS + rate_hz // 2) // rate_hz


@dataclass(slots=True)
class SampleClock:
    """Counts samples from an anchor and follows the stamps only as far as they leave a band of SLACK_NS.

    So stamps that jitter give evenly spaced samples, a device whose rate is off by some ppm never drifts from its stamps
    by more than SLACK_NS, and times are computed from whole numbers: no error grows with the length of the session.
    """

    rate_hz: int
    anchor_ns: int
    count: int = 0

    def next_ns(self) -> int:
        """When the sample after the last one counted is expected."""
        return self.at_ns(self.count)

    def at_ns(self, sample: int) -> int:
        return self.anchor_ns + time_of(sample, self.rate_hz)

    def is_gap(self, start_ns: int) -> bool:
        return start_ns - self.next_ns() > GAP_NS

    def overlap(self, start_ns: int) -> int:
        """How many samples of a block at start_ns were already counted; 0 where the stamp is only a little early."""
        early_ns = self.next_ns() - start_ns
        return samples_in(early_ns, self.rate_hz) if early_ns > GAP_NS else 0

    def follow(self, start_ns: int) -> None:
        """The next sample is stamped start_ns: moves the anchor by what lies outside the band."""
        off_ns = start_ns - self.next_ns()
        self.anchor_ns += off_ns - max(-SLACK_NS, min(SLACK_NS, off_ns))

    def snapshot(self) -> dict[str, int]:
        return {"rate_hz": self.rate_hz, "anchor_ns": self.anchor_ns, "count": self.count}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> SampleClock:
        return cls(rate_hz=state["rate_hz"], anchor_ns=state["anchor_ns"], count=state["count"])

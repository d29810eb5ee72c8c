"""Decisions against the truth: accuracy, precision and recall by label, confusion."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from operators.decision import Decision
from operators.errors import ConfigError

MAX_BYTES = 64 << 20
_EXAMPLE = 'write for example {"start_ms": 0, "end_ms": 1000, "label": "silent"}'


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TrueSpan:
    """`label` holds during [start_ns, end_ns) of the session."""

    start_ns: int
    end_ns: int
    label: str


def read_truth(path: Path) -> list[TrueSpan]:
    """JSON lines of start_ms, end_ms (or start_ns, end_ns) and label; other fields are passed over.

    Sorted; raises ConfigError where spans overlap.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(str(path), "", f"is larger than {MAX_BYTES >> 20} MiB", "a truth file holds one short line for each span")
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ConfigError(str(path), "", "no such truth file", "name JSON lines of start_ms, end_ms, label, or leave truth out") from None
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(str(path), "", f"cannot be read as a truth file ({why})", "name JSON lines of start_ms, end_ms, label") from None
    spans = sorted(_span(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    for before, after in pairwise(spans):
        if after.start_ns < before.end_ns:
            raise ConfigError(str(path), "", f"has two labels at {after.start_ns} ns", "spans may touch but not overlap")
    return spans


def _span(path: Path, number: int, line: str) -> TrueSpan:
    place = f"{path}:{number}"
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise ConfigError(place, "", "is not JSON", _EXAMPLE) from None
    found = values if isinstance(values, dict) else {}
    start_ns, end_ns, label = _time_ns(found, "start"), _time_ns(found, "end"), found.get("label")
    if start_ns is None or end_ns is None or start_ns >= end_ns or not isinstance(label, str):
        raise ConfigError(place, "", "wants whole start_ms < end_ms (or start_ns < end_ns) and a label in text", _EXAMPLE)
    return TrueSpan(start_ns=start_ns, end_ns=end_ns, label=label)


def _time_ns(found: Mapping[str, object], edge: str) -> int | None:
    for unit, scale in (("ns", 1), ("ms", 1_000_000)):
        if isinstance(time := found.get(f"{edge}_{unit}"), int):
            return time * scale
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScore:
    """Of one label: decisions whose truth it is, precision and recall; None where there is nothing to divide by."""

    label: str
    support: int
    precision: float | None
    recall: float | None


class Score:
    """A decision is judged by the truth at the middle of its span; a revision replaces the decision that it corrects."""

    def __init__(self, truth: Sequence[TrueSpan]) -> None:
        self._truth = sorted(truth)
        self._starts = [span.start_ns for span in self._truth]
        self._judged: dict[int, tuple[str, str]] = {}
        self.outside = 0

    def add(self, decision: Decision) -> None:
        true = self._label_at((decision.start_ns + decision.end_ns) // 2)
        if true is None:
            self.outside += 1
        else:
            self._judged[decision.window] = (true, decision.label)

    def _label_at(self, time_ns: int) -> str | None:
        index = bisect_right(self._starts, time_ns) - 1
        return self._truth[index].label if index >= 0 and time_ns < self._truth[index].end_ns else None

    @property
    def count(self) -> int:
        """Decisions that could be judged."""
        return len(self._judged)

    def confusion(self) -> Counter[tuple[str, str]]:
        """(truth, decided) -> decisions."""
        return Counter(self._judged.values())

    def accuracy(self) -> float | None:
        """Share of judged decisions that are right; None: none was judged."""
        right = sum(true == decided for true, decided in self._judged.values())
        return right / self.count if self.count else None

    def labels(self) -> list[str]:
        """All that occur in the truth that was judged or were decided, sorted."""
        return sorted({label for pair in self._judged.values() for label in pair})

    def by_label(self) -> list[LabelScore]:
        return [self._of(label, self.confusion()) for label in self.labels()]

    def _of(self, label: str, confusion: Counter[tuple[str, str]]) -> LabelScore:
        support = sum(count for (true, _), count in confusion.items() if true == label)
        decided = sum(count for (_, said), count in confusion.items() if said == label)
        right = confusion[label, label]
        return LabelScore(
            label=label, support=support, precision=right / decided if decided else None, recall=right / support if support else None
        )

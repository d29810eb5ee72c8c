"""A labelled session: the events of some streams, as a source would give them, and what is true when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from operators.packet import StreamEvent

Timed = tuple[int, StreamEvent]
"""(due_ns, event), see `pipeline.ports.Source.events`."""

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """`label` is true during [start_ns, end_ns); `condition` names the kind of scene, for tables of figures.

    also: question (`also` of model.yaml) -> its answer; one that is left out is not trained on
    """

    start_ns: int
    end_ns: int
    label: str
    condition: str = ""
    also: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSession:
    """What a run would have seen, and what it should have said.

    events    input of the model -> its events in order of due time, ending with Closed; an input that is left out never existed
    truth     in order, not overlapping; what no span covers has no label and is not trained on
    level     how noisy it was made, of a validation session that only offsets are fitted to; "": as such sessions are
    fixed     whoever asks for a session of this name gets this one
    prepared  inputs whose events have been through the model's transforms already (crops that were cached, for example)
    """

    name: str
    events: Mapping[str, Sequence[Timed]]
    truth: Sequence[Truth]
    prepared: frozenset[str] = field(default_factory=frozenset)
    level: str = ""
    fixed: bool = False


class Dataset(Protocol):
    """A source of labelled sessions. Options are keyword arguments of the constructor, annotated."""

    def sessions(self, split: Split, rng: np.random.Generator) -> Iterator[LabelledSession]:
        """train: without end, drawn by rng. validation, test: a finite list, the same at every call, whatever rng is."""
        ...


def truth_at(truth: Sequence[Truth], start_ns: int, end_ns: int, also: str | None = None) -> Truth | None:
    """The span whose label holds for most of [start_ns, end_ns); a tie goes to the earlier. None: most of it has no label.

    also: the same of a question's answer instead of the label
    """
    shares: dict[str, int] = {}
    first: dict[str, Truth] = {}
    for span in truth:
        if span.end_ns <= start_ns:
            continue
        if span.start_ns >= end_ns:
            break
        said = span.label if also is None else span.also.get(also)
        if said is not None:
            shares[said] = shares.get(said, 0) + min(span.end_ns, end_ns) - max(span.start_ns, start_ns)
            first.setdefault(said, span)
    unlabelled = end_ns - start_ns - sum(shares.values())
    if not shares or max(shares.values()) < unlabelled:
        return None
    return first[max(shares, key=lambda label: shares[label])]

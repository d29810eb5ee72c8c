"""The heart of every runner: events of the model's inputs in, decisions out. No thread, no socket, no waiting.

    event -> Aligner -> AlignedWindow -> Inference (encode each packet once, fuse) -> Decider -> Decision

It reads the clock only through a Pace, and only to measure; what it decides is a function of its events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from operators.align import Aligner
from operators.attribution import attribution
from operators.decide import Decider
from operators.decision import Decision, decision_id, evidence_of
from operators.errors import BackendError
from operators.packet import Closed, CoreEvent, Dropped
from operators.window import AlignConfig, AlignedWindow, Late, Skipped, Slot
from pipeline.runtime.inference import Inference, Inferred
from pipeline.runtime.pace import Pace

PATIENCE = 10
"""So many windows in a row may fail in the backend; then it is the backend that is broken, and its error goes up."""

CoreOut = Decision | Late | Dropped | Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreConfig:
    """What a core is told.

    lag_ns         the model's look-ahead: a decision speaks of the hop that ends lag_ns before its window does
    model, digest  what decisions carry, and what their ids are made from
    """

    session: str
    model: str
    digest: str
    align: AlignConfig
    lag_ns: int


class FusionCore:
    """Makes the decisions of one session. Until it is given a Pace nobody waits for it, and nothing is timed."""

    def __init__(self, config: CoreConfig, inference: Inference, decider: Decider) -> None:
        self.config = config
        self.counts: Counter[str] = Counter()
        self.closed: set[str] = set()
        self._inference = inference
        self._decider = decider
        self._pace: Pace | None = None
        self._budget_ns = 0.0
        self._transport_ns = 0
        self._failures = 0
        self._spare_ns = 0
        self._first = 0
        self._aligner = Aligner(config.align)

    def start(self, pace: Pace, *, first_window: int = 0, spare_ns: int = 0) -> None:
        """Before the first event: session time runs, and decisions are wanted spare_ns before their deadline.

        first_window: where this core begins (a restart); earlier windows are another's.
        """
        self._pace, self._spare_ns, self._first = pace, spare_ns, first_window
        self._aligner = self._aligner_from(first_window)

    def _aligner_from(self, window: int) -> Aligner:
        # By moving the start: the aligner then needs no memory of what came before.
        return Aligner(replace(self.config.align, start_ns=self.config.align.window_start_ns(window)))

    def first_open_window(self, now_ns: int) -> int:
        """The first window whose deadline has not passed at now_ns."""
        align = self.config.align
        return max(0, (now_ns - align.deadline_ns - align.window_end_ns(0)) // align.hop_ns + 1)

    def process(self, event: CoreEvent, transport_ns: int = 0) -> Iterator[CoreOut]:
        """transport_ns: how long the event was under way. Raises BackendError after PATIENCE failures in a row."""
        self._transport_ns = max(self._transport_ns, transport_ns)
        if isinstance(event, Closed):
            self.closed.add(event.stream)
        for out in self._aligner.process(event):
            match out:
                case AlignedWindow():
                    yield self._decide(replace(out, index=out.index + self._first))
                case Skipped():
                    self.counts["skipped"] += out.count
                    yield replace(out, index=out.index + self._first)
                case _:
                    yield out

    @property
    def ended(self) -> bool:
        """Every stream has closed: no further decision will come."""
        return len(self.closed) == len(self.config.align.streams)

    def next_tick_ns(self) -> int | None:
        """When, in session time, a Tick(next_deadline_ns()) is due so that its decision is out by the deadline; None: no need."""
        deadline_ns = self._aligner.next_deadline_ns()
        return None if deadline_ns is None else deadline_ns - self.budget_ns - self._spare_ns

    def next_deadline_ns(self) -> int | None:
        return self._aligner.next_deadline_ns()

    @property
    def budget_ns(self) -> int:
        """What a decision takes: the running maximum of what it took, slowly forgotten, at most half the deadline."""
        return min(round(self._budget_ns), self.config.align.deadline_ns // 2)

    def expect(self, compute_ns: int) -> None:
        """A first guess of the budget, from a warm-up."""
        self._budget_ns = max(self._budget_ns, float(compute_ns))

    def snapshot(self) -> dict[str, Any]:
        """What the next decision depends on; embeddings that depend on their packet alone are made again."""
        return {
            "first": self._first,
            "aligner": self._aligner.snapshot(),
            "decider": self._decider.snapshot(),
            "inference": self._inference.snapshot(),
            "counts": dict(self.counts),
            "closed": sorted(self.closed),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes the state of a core with an equal config. Raises ContractError, and changes nothing, where it does not fit."""
        aligner = self._aligner_from(state["first"])
        aligner.restore(state["aligner"])
        self._first, self._aligner = state["first"], aligner
        self._decider.restore(state["decider"])
        self._inference.restore(state.get("inference", {}))  # the first recordings had none
        self.counts = Counter(state["counts"])
        self.closed = set(state["closed"])

    def _decide(self, window: AlignedWindow) -> Decision | Dropped:
        begun_ns = 0 if self._pace is None else self._pace.now_ns()
        try:
            inferred = self._inference(window)
        except (BackendError, RuntimeError):  # the engines' own errors (ONNX Runtime, torch) derive from RuntimeError
            # One bad window must not end a session; a backend that fails them all must.
            self.counts["backend_error"] += 1
            self._failures += 1
            if self._failures >= PATIENCE:
                raise
            return Dropped(stream="decisions", reason="backend_error", start_ns=window.start_ns)
        self._failures = 0
        label, scores = self._decider.decide(inferred.logits, revision=window.revision)
        why = self._why(inferred, label, list(scores))
        latency = self._latency(window, begun_ns, inferred)
        self._count(window)
        return self._decision(window, label, scores, latency, why, self._decider.answers(inferred.logits))

    def _why(self, inferred: Inferred, label: str, labels: Sequence[str]) -> dict[str, float]:
        if inferred.coalitions is None:
            return {}
        streams = [rule.stream for rule in self.config.align.streams]
        return attribution(inferred.present, inferred.coalitions[:, : len(labels)], labels.index(label), streams)

    def _latency(self, window: AlignedWindow, begun_ns: int, inferred: Inferred) -> dict[str, int]:
        if self._pace is None:
            return {}
        now_ns = self._pace.now_ns()
        self._budget_ns = max(0.99 * self._budget_ns, 1.25 * (now_ns - begun_ns))
        transport_ns, self._transport_ns = self._transport_ns, 0
        total_ns = now_ns - window.end_ns
        if self.config.align.mode == "deadline" and window.revision == 0 and total_ns > self.config.align.deadline_ns:
            self.counts["missed_deadlines"] += 1
        stages = {"transport": transport_ns, "align": begun_ns - window.end_ns, "encode": inferred.encode_ns, "fuse": inferred.fuse_ns}
        asked = {} if inferred.coalitions is None else {"attribute": inferred.attribute_ns}
        return {**stages, **asked, "total": total_ns}

    def _count(self, window: AlignedWindow) -> None:
        self.counts["decisions"] += 1
        self.counts["revisions"] += window.revision
        self.counts["last_window"] = max(self.counts["last_window"], window.index)

    def _decision(
        self,
        window: AlignedWindow,
        label: str,
        scores: Mapping[str, float],
        latency: dict[str, int],
        why: dict[str, float],
        also: dict[str, str],
    ) -> Decision:
        config = self.config
        end_ns = window.end_ns - config.lag_ns
        return Decision(
            id=decision_id(config.session, window.index, window.revision, config.digest),
            session=config.session,
            window=window.index,
            start_ns=end_ns - config.align.hop_ns,
            end_ns=end_ns,
            label=label,
            scores=dict(scores),
            presence={name: presence_of(slot) for name, slot in window.slots.items()},
            age_ns={name: slot.age_ns for name, slot in window.slots.items()},
            revision=window.revision,
            model=config.model,
            latency_ns=latency,
            attribution=why,
            also=also,
            evidence=evidence_of(window),
        )


def presence_of(slot: Slot) -> str:
    """The word a Decision has for a slot: why it is missing, or whether what is there is all of it."""
    return slot.missing or ("present" if slot.complete else "partial")


def unused(config: AlignConfig, given: Iterable[str]) -> Iterator[Closed]:
    """A close at 0 for each of the model's inputs that nothing feeds."""
    fed = set(given)
    yield from (Closed(stream=rule.stream, time_ns=0) for rule in config.streams if rule.stream not in fed)

"""The heart of every runner: events of the model's inputs in, decisions out. No thread, no socket, no waiting.

    event -> Aligner -> AlignedWindow -> Inference (encode each packet once, fuse) -> Decider -> Decision

It reads the clock only through a Pace, and only to measure; what it decides is a function of its events.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from operators.align import Aligner, window_of, window_state
from operators.attribution import attribution
from operators.decide import Decider
from operators.decision import Decision, decision_id, evidence_of
from operators.errors import BackendError
from operators.packet import Closed, CoreEvent, Dropped, Tick
from operators.window import AlignConfig, AlignedWindow, Late, Skipped, Slot
from pipeline.runtime.batcher import Work, infer
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.inference import Inference, Inferred
from pipeline.runtime.pace import Pace

PATIENCE = 10
"""So many windows in a row may fail in the backend; then it is the backend that is broken, and its error goes up."""

CoreOut = Decision | Late | Dropped | Skipped

DECISIONS = "decisions"
"""The stream of a Dropped that speaks of a window."""
OVERLOAD, OVERLOAD_REVISION = "overload", "overload_revision"
"""The reasons of one whose turn came too late: it was not made, so that the next need not be late as well."""


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiting:
    """A window that is to be decided. cut_ns: since when, in session time; due_ns: by when; by_tick: cut off by its deadline."""

    work: Work
    cut_ns: int
    due_ns: int
    by_tick: bool

    @property
    def name(self) -> tuple[str, int | None]:
        """Reason and start of the Dropped that it may become."""
        return OVERLOAD_REVISION if self.work.window.revision else OVERLOAD, self.work.window.start_ns

    def dropped(self) -> Dropped:
        reason, start_ns = self.name
        return Dropped(stream=DECISIONS, reason=reason, start_ns=start_ns)


class FusionCore:
    """Makes the decisions of one session. Until it is given a Pace nobody waits for it, and nothing is timed."""

    def __init__(self, config: CoreConfig, inference: Inference, decider: Decider) -> None:
        self.config = config
        self.counts: Counter[str] = Counter()
        self.closed: set[str] = set()
        self.waiting: deque[Waiting] = deque()
        self._gone: set[tuple[str, int | None]] = set()  # shed in the run that is repeated here, and not yet cut
        self._sheds = False
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
        self._sheds = self.config.align.mode == "deadline"
        self._pace, self._spare_ns, self._first = pace, spare_ns, first_window
        self._aligner = self._aligner_from(first_window)

    def _aligner_from(self, window: int) -> Aligner:
        # By moving the start: the aligner then needs no memory of what came before.
        return Aligner(replace(self.config.align, start_ns=self.config.align.window_start_ns(window)))

    def first_open_window(self, now_ns: int) -> int:
        """The first window whose deadline has not passed at now_ns."""
        align = self.config.align
        return max(0, (now_ns - align.deadline_ns - align.window_end_ns(0)) // align.hop_ns + 1)

    def process(self, event: CoreEvent | Dropped, transport_ns: int = 0) -> Iterator[CoreOut]:
        """Takes the event, and decides at once: for who runs one session in one thread.

        Raises BackendError after PATIENCE failures in a row. transport_ns: how long the event was under way.
        """
        for out in self._said(event, transport_ns):
            if isinstance(out, Waiting):
                ((_, outcome),) = infer([out.work])
                yield self.decide(out, outcome)
            else:
                yield out

    def take(self, event: CoreEvent | Dropped, transport_ns: int = 0) -> Iterator[Late | Dropped | Skipped]:
        """Takes the event; the windows that it makes due join `waiting`, and are the caller's to infer and decide, in that order.

        A Dropped of stream "decisions" is one that `shed` gave in a run that is repeated: that window is left out here too.
        """
        for out in self._said(event, transport_ns):
            if isinstance(out, Waiting):
                self.waiting.append(out)
            else:
                yield out

    def _said(self, event: CoreEvent | Dropped, transport_ns: int) -> Iterator[Waiting | Late | Dropped | Skipped]:
        self._transport_ns = max(self._transport_ns, transport_ns)
        if isinstance(event, Dropped):
            yield from self._shed_again(event)
            return
        if isinstance(event, Closed):
            self.closed.add(event.stream)
        for out in self._aligner.process(event):
            match out:
                case AlignedWindow():
                    window = replace(out, index=out.index + self._first) if self._first else out
                    waiting = self._waiting(window, by_tick=isinstance(event, Tick))
                    yield waiting if waiting.name not in self._gone else self._dropped(waiting)
                case Skipped():
                    self.counts["skipped"] += out.count
                    yield replace(out, index=out.index + self._first)
                case _:
                    yield out

    def _waiting(self, window: AlignedWindow, *, by_tick: bool) -> Waiting:
        cut_ns = 0 if self._pace is None else self._pace.now_ns()
        align = self.config.align
        # A revision has no deadline of its own; nor has what is cut by promises alone, or has been before.
        due_ns = window.end_ns + align.deadline_ns if self._sheds and not window.revision else cut_ns + align.hop_ns
        return Waiting(work=Work(inference=self._inference, window=window), cut_ns=cut_ns, due_ns=due_ns, by_tick=by_tick)

    def overdue(self) -> Waiting | None:
        """The oldest window that waits, if its deadline passed more than a hop ago: too late to be worth its time, which others need."""
        if not self._sheds or not self.waiting or self._pace is None:
            return None
        oldest = self.waiting[0]
        return oldest if self._pace.now_ns() > oldest.due_ns + self.config.align.hop_ns else None

    def shed(self) -> Dropped:
        """Leaves the oldest window that waits undecided."""
        return self._dropped(self.waiting.popleft())

    def _dropped(self, waiting: Waiting) -> Dropped:
        self._gone.discard(waiting.name)
        self.counts["overload"] += 1
        self.counts["skipped"] += 1 - waiting.work.window.revision
        return waiting.dropped()

    def _shed_again(self, event: Dropped) -> Iterator[Dropped]:
        """A window that was shed, then: it waits already (a snapshot had it), or is to come."""
        name = (event.reason, event.start_ns)
        found = next((waiting for waiting in self.waiting if waiting.name == name), None)
        if found is None:
            self._gone.add(name)
        else:
            self.waiting.remove(found)
            yield self._dropped(found)

    @property
    def ended(self) -> bool:
        """Every stream has closed and nothing waits: no further decision will come."""
        return len(self.closed) == len(self.config.align.streams) and not self.waiting

    def next_tick_ns(self) -> int | None:
        """When, in session time, a Tick(next_deadline_ns()) is due so that its decision is out by the deadline; None: no need."""
        deadline_ns = self._aligner.next_deadline_ns()
        return None if deadline_ns is None else deadline_ns - self.budget_ns - self._spare_ns

    def buffered_bytes(self) -> int:
        return self._aligner.buffered_bytes()

    def next_deadline_ns(self) -> int | None:
        return self._aligner.next_deadline_ns()

    @property
    def budget_ns(self) -> int:
        """What a decision takes: the running maximum of what it took, slowly forgotten, at most half the deadline."""
        return min(round(self._budget_ns), self.config.align.deadline_ns // 2)

    def expect(self, compute_ns: int) -> None:
        """A first guess of the budget, from a warm-up."""
        self._budget_ns = max(self._budget_ns, float(compute_ns))

    @property
    def graphs(self) -> Graphs:
        return self._inference.graphs

    @property
    def sheds(self) -> bool:
        """Somebody waits for its decisions, and one that comes too late is not worth making."""
        return self._sheds

    def snapshot(self) -> dict[str, Any]:
        """What the next decision depends on; embeddings that depend on their packet alone are made again."""
        return {
            "first": self._first,
            "aligner": self._aligner.snapshot(),
            "decider": self._decider.snapshot(),
            "inference": self._inference.snapshot(),
            "counts": dict(self.counts),
            "closed": sorted(self.closed),
            "waiting": [window_state(waiting.work.window) for waiting in self.waiting],
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
        # Recordings of old have none: there no window ever waited.
        self.waiting = deque(self._waiting(window_of(window), by_tick=False) for window in state.get("waiting", []))

    def decide(self, waiting: Waiting, outcome: Inferred | Exception) -> Decision | Dropped:
        """What becomes of a window that was inferred. Raises what it failed with, if that is worth ending the session."""
        window = waiting.work.window
        if isinstance(outcome, Exception):
            return self._failed(window, outcome)
        self._failures = 0
        label, scores = self._decider.decide(outcome.logits, revision=window.revision)
        why = self._why(outcome, label, list(scores))
        latency = self._latency(waiting, outcome)
        self._count(window)
        return self._decision(window, label, scores, latency, why, self._decider.answers(outcome.logits))

    def _failed(self, window: AlignedWindow, error: Exception) -> Dropped:
        if not isinstance(error, BackendError | RuntimeError):  # the engines' own errors (ONNX Runtime, torch) derive from RuntimeError
            raise error
        # One bad window must not end a session; a backend that fails them all must.
        self.counts["backend_error"] += 1
        self._failures += 1
        if self._failures >= PATIENCE:
            raise error
        return Dropped(stream=DECISIONS, reason="backend_error", start_ns=window.start_ns)

    def _why(self, inferred: Inferred, label: str, labels: Sequence[str]) -> dict[str, float]:
        if inferred.coalitions is None:
            return {}
        streams = [rule.stream for rule in self.config.align.streams]
        return attribution(inferred.present, inferred.coalitions[:, : len(labels)], labels.index(label), streams)

    def _latency(self, waiting: Waiting, inferred: Inferred) -> dict[str, int]:
        if self._pace is None:
            return {}
        now_ns, window = self._pace.now_ns(), waiting.work.window
        stages_ns = inferred.encode_ns + inferred.fuse_ns + inferred.attribute_ns
        begun_ns = now_ns - round(stages_ns * self._pace.speed)
        # What a tick cut had until its deadline, its turn included; what was there before waited because there was time.
        took_ns = now_ns - (waiting.cut_ns if waiting.by_tick else begun_ns)
        self._budget_ns = max(0.99 * self._budget_ns, 1.25 * took_ns)
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

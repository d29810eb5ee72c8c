"""What the engine knows of the run: the newest report of every process, put together across their restarts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.ports import EdgeCount, Health, Kind, Status, StreamStatus
from pipeline.runtime.tally import add_drops

State = Literal["starting", "running", "degraded", "ended", "failed"]


@dataclass(slots=True)
class _Sum:
    """A count that begins again at 0 with every generation of its process; replays: it counts the same things again."""

    replays: bool
    generation: int = -1
    before: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)

    def take(self, generation: int, counts: Mapping[str, int]) -> None:
        if generation < self.generation:
            return  # the last words of one that was replaced
        if generation > self.generation:
            if not self.replays:
                self.before += self.now
            self.generation = generation
        self.now = Counter({key: int(count) for key, count in counts.items()})

    def total(self) -> Counter[str]:
        return self.before + self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What does not come from reports. kinds: the model's inputs; source_of: input -> source; restarts: said by the supervisors."""

    session: str
    model: str
    backend: str
    end_ns: int | None
    kinds: Mapping[str, Kind]
    records: bool = False
    epoch_ns: int | None = None
    speed: float = 1.0


def recording_state(records: bool, unrecorded: Iterable[str | None]) -> str:
    """What `Status.recording` says. unrecorded: by process, why it does not record just now."""
    if not records:
        return ""
    why = next((reason for reason in unrecorded if reason), None)
    return "on" if why is None else f"stopped: {why}"


def _sums(replays: bool) -> defaultdict[str, _Sum]:
    """By input."""
    return defaultdict(lambda: _Sum(replays))


class Board:
    """Takes reports, gives Status. replays: at full speed a restarted process begins again, so its counts replace the old ones."""

    def __init__(self, inputs: Mapping[str, str], *, replays: bool) -> None:
        self._inputs = dict(inputs)
        self._replays = replays
        self._core = _Sum(replays)
        self._sent, self._edge_drops, self._unfit, self._got, self._faults, self._stream_sums = (_sums(replays) for _ in range(6))
        self._edges = list(inputs)  # also of inputs that were fed once
        self._streams: dict[str, StreamStatus] = {}
        self._health: dict[str, Health] = {}
        self.lost: set[str] = set()
        self.closed: set[str] = set()
        self.now_ns = 0
        self.decisions = 0
        self.last_window = -1
        self.events: list[str] = []
        self._unrecorded: dict[str, str | None] = {}
        self._doors: dict[str, Mapping[str, str]] = {}

    def rewire(self, inputs: Mapping[str, str]) -> None:
        """Other inputs are fed from now on."""
        self._inputs = dict(inputs)
        self._edges += [name for name in inputs if name not in self._edges]
        self._health = {name: health for name, health in self._health.items() if name in inputs}

    def recorded_anew(self) -> None:
        """What stopped a recording before concerns this one no longer."""
        self._unrecorded = {}

    def ingest(self, report: Mapping[str, Any]) -> None:
        """A report of an IngestLoop."""
        generation = report["generation"]
        self._unrecorded[report["from"]] = report["unrecorded"]
        self._doors[report["from"]] = report.get("doors", {})
        for name, edge in report["edges"].items():
            sums = {"entered": edge["entered"], "left": edge["left"], "waiting": edge["waiting"]}
            self._sent[name].take(generation, sums)
            self._edge_drops[name].take(generation, edge["dropped"])
        for name, dropped in report["dropped"].items():
            self._unfit[name].take(generation, dropped)
        for name, health in report.get("health", {}).items():
            self._health[name] = Health(**health)
            self._faults[name].take(generation, health["faults"])

    def fusion(self, report: Mapping[str, Any]) -> None:
        """A report of a FusionSeat."""
        generation = report["generation"]
        self._unrecorded[report["from"]] = report["unrecorded"]
        self.now_ns = max(self.now_ns, report["now_ns"])
        self._core.take(generation, report["counts"])
        for name, counts in report["edges"].items():
            self._got[name].take(generation, counts)
        for values in report["streams"]:
            self._stream(generation, StreamStatus(**values))

    def _stream(self, generation: int, status: StreamStatus) -> None:
        sums = self._stream_sums[status.name]
        drops = {f"dropped {reason}": count for reason, count in (status.dropped or {}).items()}
        sums.take(generation, {"packets": status.packets, "late": status.late, **drops})
        total = sums.total()
        dropped = {key.removeprefix("dropped "): count for key, count in total.items() if key.startswith("dropped ")}
        self._streams[status.name] = replace(status, packets=total["packets"], late=total["late"], dropped=dropped)

    def status(self, facts: Facts, state: State, *, final: bool) -> Status:
        counts = self._core.total()
        events, self.events = self.events, []
        return Status(
            session=facts.session,
            runner="ray",
            model=facts.model,
            backend=facts.backend,
            state=state,
            now_ns=self.now_ns,
            end_ns=facts.end_ns,
            decisions=self.decisions,
            missed_deadlines=counts["missed_deadlines"],
            skipped=counts["skipped"],
            revisions=counts["revisions"],
            streams=[self._stream_status(name, kind) for name, kind in facts.kinds.items()],
            edges=[self._edge(name, final) for name in self._edges],
            events=events,
            final=final,
            recording=recording_state(facts.records, self._unrecorded.values()),
            epoch_ns=facts.epoch_ns,
            speed=facts.speed,
            doors={source: doors for source, doors in self._doors.items() if doors and source in self._inputs.values()},
        )

    def _stream_status(self, name: str, kind: Kind) -> StreamStatus:
        status = self._streams.get(name, StreamStatus(name=name, kind=kind, state="waiting"))
        if name not in self._inputs and status.state == "live":
            status = replace(status, state="waiting")  # what promises for it is no source: it may be attached
        if name in self._edges:
            status = add_drops(add_drops(status, self._unfit[name].total()), self._edge(name, final=False).dropped)
        if name in self._health:
            status = self._as_its_source_says(status, self._health[name])
        return replace(status, state="lost") if name in self.lost else status

    def _as_its_source_says(self, status: StreamStatus, health: Health) -> StreamStatus:
        """The source knows best how it is, but not that its own process hangs: a stream that promises nothing is stalled."""
        return replace(
            status,
            state=health.state if status.state in ("live", "waiting") else status.state,
            drift_ppm=health.drift_ppm,
            quality=health.quality,
            uncertainty_ns=health.uncertainty_ns,
            detail=health.detail,
            faults=dict(self._faults[status.name].total()),
        )

    @property
    def unwell(self) -> bool:
        """A live source is not where it should be, though its process lives."""
        return any(health.state in ("connecting", "stalled", "lost") for health in self._health.values())

    def _edge(self, name: str, final: bool) -> EdgeCount:
        """left is what the receiver has; what is neither there nor dropped is under way, or, at the end, lost with a process."""
        sent, got = self._sent[name].total(), self._got[name].total()
        dropped = self._edge_drops[name].total()
        if missing := got["missing"]:
            dropped["lost_under_way"] = missing
        left = got["packets"]
        # What its sender had no time to report has entered all the same.
        entered = max(sent["entered"], left + dropped.total())
        waiting = entered - left - dropped.total()
        if final and waiting:
            dropped["lost_with_process"] += waiting
            waiting = 0
        return EdgeCount(edge=name, entered=entered, left=left, waiting=waiting, dropped=dict(dropped))

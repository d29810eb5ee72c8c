"""How much of the machine the sessions of an engine use, and whether one more fits (`pipeline.runtime.admission` judges it)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil

from pipeline.clock import Clock
from pipeline.runtime.admission import Fusion, Newcomer, Running, admit
from pipeline.runtime.parts import RunPlan, speed_of
from pipeline.runtime.stage import FUSION
from pipeline.runtime.usage import ReadCpu, Usage, read_cpu_s

PAST = 64
"""So many sessions that ended are remembered, for what their sources used."""
UNKNOWN_COST_NS = 3_000_000
"""Of a window of a model that nobody has loaded yet; its true cost is asked for once it is."""
MEMORY_NS = 5_000_000_000


@dataclass(slots=True)
class _Kept:
    running: Running
    model: tuple[str, str]


class Load:
    """cores, share: what may be planned with. pids: (session, name) -> process, FUSION of several sessions the same one."""

    def __init__(self, clock: Clock, cores: float, share: float, read: ReadCpu = read_cpu_s) -> None:
        self._clock, self._cores, self._share = clock, cores, share
        self._usage = Usage(clock, read)
        self._kept: dict[str, _Kept] = {}
        self._past: deque[Running] = deque(maxlen=PAST)
        self._costs: dict[tuple[str, str], int] = {}
        self._memory = (-MEMORY_NS, 0)

    def refusal(self, session: str, plan: RunPlan, beside: Sequence[str], batch_ns: float) -> str | None:
        """Why the session would be too much for those that run; None: it would not.

        beside: sessions at the fusion process it will have; batch_ns: what that one works without a break.
        """
        newcomer = self._running(session, plan)
        if newcomer is None:
            return None  # nobody waits for it: it takes what is left
        others = [kept.running for name, kept in self._kept.items() if name != session]
        if not others:
            return None  # there is nobody whose deadlines it could break
        wanted = Newcomer(classes=newcomer.classes, fusion=newcomer.fusion)
        at_process = [one for one in others if one.session in beside]
        past = list(self._past)
        verdict = admit(wanted, others, cores=self._cores, share=self._share, past=past, beside=at_process, batch_ns=batch_ns)
        return verdict.refused or None

    def begin(self, session: str, plan: RunPlan) -> None:
        """It runs from now on, and counts."""
        running = self._running(session, plan)
        if running is not None:
            self._kept[session] = _Kept(running, _model(plan))

    def learn(self, session: str, cost_ns: int) -> None:
        """What a window of its model takes, from the warm-up of its engine."""
        if (kept := self._kept.get(session)) is not None:
            self._costs[kept.model] = cost_ns
            kept.running = replace(kept.running, fusion=replace(kept.running.fusion, cost_ns=cost_ns))

    def end(self, session: str) -> None:
        if (kept := self._kept.pop(session, None)) is not None:
            self._past.append(kept.running)

    def measure(self, pids: Mapping[tuple[str, str], int], used_ns: Mapping[str, int]) -> None:
        """Called about once a second. used_ns: of the fusion process's time, by session, since it began."""
        self._usage.look(set(pids.values()))
        for session, kept in self._kept.items():
            own = [self._usage.cores(pid) for (name, what), pid in pids.items() if name == session and what != FUSION]
            known = [cores for cores in own if cores is not None]
            ingest = sum(known) if own and len(known) == len(own) else None
            kept.running = replace(kept.running, ingest_cores=ingest, fusion_cores=self._fusion_cores(session, pids, used_ns))

    def figures(self, pids: Mapping[tuple[str, str], int]) -> dict[str, Any]:
        """Plain values: cores in use by all processes of sessions, by session, and the memory they have (PSS: shared pages once)."""
        by_session = {name: _cores_of(kept.running) for name, kept in self._kept.items()}
        used = [self._usage.cores(pid) for pid in set(pids.values())]
        in_use = round(sum(cores for cores in used if cores is not None), 3)
        return {
            "cores": {"in_use": in_use, "all": self._cores, "share": self._share},
            "cores_by_session": {name: round(cores, 3) for name, cores in by_session.items() if cores is not None},
            "memory_bytes": self._memory_bytes(set(pids.values())),
        }

    def _running(self, session: str, plan: RunPlan) -> Running | None:
        """None: it is not live, so it may be as slow as it likes."""
        if speed_of(plan) is None:
            return None
        cost_ns = self._costs.get(_model(plan), UNKNOWN_COST_NS)
        fusion = Fusion(cost_ns=cost_ns, hop_ns=plan.align.hop_ns, deadline_ns=plan.align.deadline_ns or plan.align.hop_ns)
        return Running(session=session, classes=[use.use for use in plan.config.sources.values()], fusion=fusion)

    def _fusion_cores(self, session: str, pids: Mapping[tuple[str, str], int], used_ns: Mapping[str, int]) -> float | None:
        """Its part of the process it shares, by the time that its windows took."""
        pid = pids.get((session, FUSION))
        cores = None if pid is None else self._usage.cores(pid)
        together = sum(used_ns.get(name, 0) for (name, what), other in pids.items() if what == FUSION and other == pid)
        return None if cores is None or not together else cores * used_ns.get(session, 0) / together

    def _memory_bytes(self, pids: set[int]) -> int:
        now_ns = self._clock.now_ns()
        if now_ns - self._memory[0] >= MEMORY_NS:
            self._memory = (now_ns, sum(_pss(pid) for pid in pids))
        return self._memory[1]


def _model(plan: RunPlan) -> tuple[str, str]:
    return plan.model.digest, plan.config.run.backend


def _cores_of(running: Running) -> float | None:
    parts = (running.ingest_cores, running.fusion_cores)
    return sum(part for part in parts if part is not None) if any(part is not None for part in parts) else None


def _pss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return 0

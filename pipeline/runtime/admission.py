"""Whether one more session fits: by the cores that are in use, and by what the fusion process can decide in time. Pure.

A live machine is never filled to the brim: `share` of its cores is what sessions may use. What a newcomer will need is
    its fusion part   the cost of a window, from its engine's warm-up, and SHELL_NS, a hop
    its ingest part   the mean of what sessions with sources of the same classes use or used; before there were any, DEFAULT_INGEST a source
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEFAULT_INGEST = 0.25
"""Cores of a source that nobody has measured yet: about what a camera of 640x480 at 30 a second takes, decoding and cropping."""
SHELL_NS = 2_000_000
"""Of a window's packets: receiving, aligning and packing them, sending and reporting the decision; whatever the engine takes comes on top.
Measured (docs/scaling.md), on the slow side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """What a session asks of the fusion process: every hop_ns a window that costs cost_ns, decided within deadline_ns of its end."""

    cost_ns: int
    hop_ns: int
    deadline_ns: int

    @property
    def work_ns(self) -> float:
        return float(self.cost_ns + SHELL_NS)

    @property
    def cores(self) -> float:
        return self.work_ns / self.hop_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A session that runs or ran. classes: of its sources, in any order.

    ingest_cores: of all its ingest processes; fusion_cores: its part of the fusion process. None: not measured yet.
    """

    session: str
    classes: Sequence[str]
    fusion: Fusion
    ingest_cores: float | None = None
    fusion_cores: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A session that would like to run."""

    classes: Sequence[str]
    fusion: Fusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """refused: empty, or one line with the figures. needs, in_use, limit: cores."""

    needs: float
    in_use: float
    limit: float
    refused: str = ""

    @property
    def admitted(self) -> bool:
        return not self.refused


def admit(
    newcomer: Newcomer,
    running: Sequence[Running],
    *,
    cores: float,
    share: float,
    past: Sequence[Running] = (),
    beside: Sequence[Running] | None = None,
    batch_ns: float = 0,
) -> Verdict:
    """Whether it fits beside those that run. past: sessions that ended, for what their sources used.

    beside: those that it would share its fusion process with; None: all. batch_ns: what this process may work without a break.
    Cores are counted, and of the fusion process it is asked whether every window would still be decided in time (`late`).
    """
    known = measured(past) | measured(running)
    needs = newcomer.fusion.cores + ingest_cores(newcomer.classes, known)
    in_use = sum(_in_use(one, known) for one in running)
    limit = cores * share
    together = [*(one.fusion for one in (running if beside is None else beside)), newcomer.fusion]
    line = late(together, share=share, batch_ns=batch_ns)
    if in_use + needs > limit:
        line = f"needs about {needs:.2f} cores, {in_use:.2f} of {limit:.2f} are in use; stop a session, or raise the share of the cores"
    return Verdict(needs=needs, in_use=in_use, limit=limit, refused=line)


def measured(sessions: Sequence[Running]) -> dict[tuple[str, ...], float]:
    """Classes of sources -> the mean of what their ingest was measured to use."""
    found: dict[tuple[str, ...], list[float]] = {}
    for one in sessions:
        if one.ingest_cores is not None:
            found.setdefault(tuple(sorted(one.classes)), []).append(one.ingest_cores)
    return {classes: sum(used) / len(used) for classes, used in found.items()}


def ingest_cores(classes: Sequence[str], known: Mapping[tuple[str, ...], float]) -> float:
    """What the ingest of a session with these sources will use."""
    return known.get(tuple(sorted(classes)), DEFAULT_INGEST * len(classes))


def late(fusions: Sequence[Fusion], *, share: float, batch_ns: float = 0) -> str:
    """Empty if one process can decide every window of all of these by its deadline, else one line with the figures.

    What has begun is not interrupted, so the most urgent may have to wait for the longest, which is batch_ns (measured) or the costliest
    window. Work by earliest deadline then meets all deadlines if  longest / shortest + sum(work / min(hop, deadline)) <= 1,  where the
    shortest is the least hop or deadline; share stands in place of 1.
    Source: Liu and Layland 1973; blocking as in Baker 1991, "Stack-based scheduling of realtime processes".
    """
    longest_ns = max(batch_ns, *(one.work_ns for one in fusions)) if fusions else 0.0
    slack_ns = min((one.deadline_ns - one.work_ns for one in fusions), default=longest_ns)
    if longest_ns > slack_ns:
        return (
            f"the fusion process may work {longest_ns / 1e6:.1f} ms without a break, and the most urgent session can wait "
            f"{max(0, slack_ns) / 1e6:.1f} ms; give it a longer deadline_ms, or take a lighter model"
        )
    busy = sum(one.work_ns / min(one.hop_ns, one.deadline_ns) for one in fusions)
    blocking = max((longest_ns / min(one.hop_ns, one.deadline_ns) for one in fusions), default=0.0)
    if busy + blocking > share:
        return (
            f"the fusion process would be {100 * busy:.0f} % busy, and {100 * blocking:.0f} % of the shortest hop may pass "
            f"until it is free: together {100 * (busy + blocking):.0f} %, of at most {100 * share:.0f} %; "
            "stop a session, or take a lighter model"
        )
    return ""


def _in_use(one: Running, known: Mapping[tuple[str, ...], float]) -> float:
    ingest = ingest_cores(one.classes, known) if one.ingest_cores is None else one.ingest_cores
    # What was admitted but has not been measured must count as well, or ten at once would all be let in.
    return ingest + (one.fusion.cores if one.fusion_cores is None else one.fusion_cores)

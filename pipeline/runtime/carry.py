"""Counts across the engines of one session: each engine begins at 0, the session does not.

What an engine counted since its last status, at most 250 ms before it died, is not known to anyone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from pipeline.ports import EdgeCount, Status, StreamStatus


def ended(status: Status) -> Status:
    """The last word of an engine that died: what was under way on its edges went down with it."""
    return replace(status, edges=[_settled(edge) for edge in status.edges])


def on_top(before: Status | None, now: Status) -> Status:
    """now, with the counts of `before` in it; decisions are the supervisor's own to count."""
    if before is None:
        return now
    streams, edges = {s.name: s for s in before.streams}, {e.edge: e for e in before.edges}
    return replace(
        now,
        missed_deadlines=before.missed_deadlines + now.missed_deadlines,
        skipped=before.skipped + now.skipped,
        revisions=before.revisions + now.revisions,
        streams=[_stream(streams[s.name], s) if s.name in streams else s for s in now.streams],
        edges=[_edge(edges[e.edge], e) if e.edge in edges else e for e in now.edges],
    )


def _settled(edge: EdgeCount) -> EdgeCount:
    lost = {"lost_with_process": edge.waiting} if edge.waiting else {}
    return replace(edge, waiting=0, dropped=_sum(edge.dropped, lost))


def _edge(before: EdgeCount, now: EdgeCount) -> EdgeCount:
    dropped = _sum(before.dropped, now.dropped)
    return replace(now, entered=before.entered + now.entered, left=before.left + now.left, dropped=dropped)


def _stream(before: StreamStatus, now: StreamStatus) -> StreamStatus:
    dropped = _sum(before.dropped or {}, now.dropped or {})
    faults = None if now.faults is None else _sum(before.faults or {}, now.faults)
    return replace(now, packets=before.packets + now.packets, late=before.late + now.late, dropped=dropped, faults=faults)


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))

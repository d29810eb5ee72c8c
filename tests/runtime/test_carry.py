"""The counts of a session whose engine was replaced."""

from __future__ import annotations

from dataclasses import replace

from decisions import status

from pipeline.ports import EdgeCount
from pipeline.runtime.carry import ended, on_top

EDGE = EdgeCount(edge="video", entered=33, left=28, waiting=2, dropped={"overflow": 3})


def test_a_first_engine_has_nothing_before_it() -> None:
    assert on_top(None, status()) == status()


def test_what_was_under_way_went_down_with_the_engine() -> None:
    (edge,) = ended(replace(status(), edges=[EDGE])).edges
    assert edge == EdgeCount(edge="video", entered=33, left=28, waiting=0, dropped={"overflow": 3, "lost_with_process": 2})


def test_counts_go_on_and_every_edge_is_conserved() -> None:
    before = ended(replace(status(), skipped=7, edges=[EDGE]))
    both = on_top(before, replace(status(), skipped=85, edges=[EDGE]))
    assert (both.skipped, both.missed_deadlines, both.streams[0].packets, both.streams[0].late) == (92, 2, 60, 4)
    assert both.streams[0].dropped == {"overflow": 6}
    (edge,) = both.edges
    assert (edge.entered, edge.left, edge.waiting, edge.dropped) == (66, 56, 2, {"overflow": 6, "lost_with_process": 2})
    assert edge.entered == edge.left + edge.waiting + sum(edge.dropped.values())

"""Promises only rise, and are exactly as bold as the source allows.

in order     |--0--|--1--|          promise:  end of each
disorder       |2| |1|   |3|        promise:  newest start - lateness
idle         ...........now         promise:  now - lateness
"""

import pytest

from operators.errors import ContractError
from operators.operator import run_chain
from operators.packet import Closed, Dropped, Packet, TextSpan, Tick, Watermark
from operators.watermark import BoundedDisorder, Heartbeat, InOrder


def packet(start_ns, end_ns, seq=0):
    return Packet(stream="mic", seq=seq, start_ns=start_ns, end_ns=end_ns, payload=TextSpan(text=""))


def promises(operator, events):
    return [event.time_ns for event in run_chain([operator], events) if isinstance(event, Watermark)]


def test_an_in_order_source_promises_the_end_of_each_packet_after_it():
    first = packet(0, 20)
    assert list(InOrder().process(first)) == [first, Watermark(stream="mic", time_ns=20)]


def test_an_overlapping_source_promises_only_the_start():
    assert promises(InOrder(overlapping=True), [packet(0, 20), packet(10, 30)]) == [0, 10]


def test_a_packet_that_breaks_the_order_goes_on_and_takes_no_promise_back():
    early = packet(5, 15)
    operator = InOrder()
    assert promises(operator, [packet(0, 20)]) == [20]
    assert list(operator.process(early)) == [early]


def test_the_same_promise_is_made_once():
    assert promises(InOrder(), [packet(0, 20), Watermark(stream="mic", time_ns=20), Watermark(stream="mic", time_ns=21)]) == [20, 21]


def test_a_disordered_source_promises_its_newest_start_minus_its_lateness():
    assert promises(BoundedDisorder(lateness_ns=30), [packet(50, 60), packet(20, 30), packet(70, 80)]) == [20, 40]


def test_a_disordered_source_passes_on_a_bolder_promise_of_its_own():
    assert promises(BoundedDisorder(lateness_ns=30), [packet(50, 60), Watermark(stream="mic", time_ns=60), packet(80, 90)]) == [20, 60]


def test_an_idle_source_promises_what_the_clock_says_minus_its_lateness():
    assert promises(Heartbeat(stream="mic", lateness_ns=10), [Tick(now_ns=50), Tick(now_ns=50), Tick(now_ns=60)]) == [40, 50]


def test_a_heartbeat_never_falls_behind_the_source_itself():
    events = [Watermark(stream="mic", time_ns=100), Tick(now_ns=90), Tick(now_ns=130), Watermark(stream="mic", time_ns=120)]
    assert promises(Heartbeat(stream="mic"), events) == [100, 130]


@pytest.mark.parametrize("operator", [InOrder(), BoundedDisorder(lateness_ns=0), Heartbeat(stream="mic")])
def test_everything_else_goes_through(operator):
    events = [Dropped(stream="mic", reason="no_face"), Closed(stream="mic", time_ns=9)]
    assert list(run_chain([operator], events)) == events


@pytest.mark.parametrize("make", [InOrder, lambda: BoundedDisorder(lateness_ns=5), lambda: Heartbeat(stream="mic")])
def test_a_restored_promise_maker_goes_on_where_the_first_one_was(make):
    first, second = make(), make()
    list(first.process(Watermark(stream="mic", time_ns=100)))
    second.restore(first.snapshot())
    assert promises(second, [Watermark(stream="mic", time_ns=100), Watermark(stream="mic", time_ns=101)]) == [101]


@pytest.mark.parametrize("make", [lambda: BoundedDisorder(lateness_ns=-1), lambda: Heartbeat(stream="mic", lateness_ns=-1)])
def test_a_negative_lateness_is_refused(make):
    with pytest.raises(ContractError, match="lateness_ns >= 0 wanted, got -1"):
        make()

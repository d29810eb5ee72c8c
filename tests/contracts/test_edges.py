"""What every delivery policy owes: nothing uncounted, nothing unbounded, no promise that comes early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import ContractError
from operators.packet import Closed, Packet, TextSpan, Watermark
from pipeline.runtime.edge import EdgePolicy, EdgeQueue

POLICIES = [
    EdgePolicy(policy="lossless", max_packets=3, max_bytes=100),
    EdgePolicy(policy="latest", max_bytes=100),
    EdgePolicy(policy="drop_oldest", max_packets=3, max_bytes=100, max_age_ns=10),
    EdgePolicy(policy="throttle", max_packets=3, max_bytes=100, max_age_ns=10, per_second=1e9 / 4),
]


def packet(start_ns: int, text: str = "x", stream: str = "cam") -> Packet:
    return Packet(stream=stream, seq=start_ns, start_ns=start_ns, end_ns=start_ns + 1, payload=TextSpan(text=text))


def drain(queue: EdgeQueue, now_ns: int = 0) -> list[object]:
    out: list[object] = []
    while (item := queue.get(now_ns)[0]) is not None:
        out.append(item.event)
    return out


STEP = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 30)),
    st.tuples(st.just("promise"), st.just(0)),
    st.tuples(st.just("get"), st.just(0)),
    st.tuples(st.just("refused"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 8)),
)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.policy)
@given(steps=st.lists(STEP, max_size=60))
def test_entered_is_left_plus_dropped_plus_waiting_and_promises_stay_true(policy: EdgePolicy, steps: list[tuple[str, int]]) -> None:
    queue, now, start, out, dropped = EdgeQueue(policy), 0, 0, [], 0
    for step, value in steps:
        if step == "put" and not queue.full:
            dropped += len(queue.put(packet(start, "x" * value), now))
            start += 1
        elif step == "promise":
            dropped += len(queue.put(Watermark(stream="cam", time_ns=start), now))
        elif step in ("get", "refused"):
            item, stale = queue.get(now)
            dropped += len(stale)
            if step == "refused" and item is not None:
                queue.unget(item)
            elif item is not None:
                out.append(item.event)
        elif step == "wait":
            now += value
        assert queue.entered == start == queue.left + sum(queue.dropped.values()) + queue.waiting
        assert sum(queue.dropped.values()) == dropped
        if policy.policy != "lossless":
            assert queue.waiting <= (1 if policy.policy == "latest" else policy.max_packets)
        assert len(queue) <= 2 * queue.waiting + 1
    out += drain(queue, now)
    promised = 0
    for event in out:
        assert not isinstance(event, Packet) or event.start_ns >= promised
        promised = event.time_ns if isinstance(event, Watermark) else promised
    if any(step == "promise" for step, _ in steps):
        assert promised == max(e.time_ns for e in out if isinstance(e, Watermark))


def test_lossless_says_full_instead_of_dropping() -> None:
    queue = EdgeQueue(POLICIES[0])
    for start in range(3):
        assert not queue.full
        queue.put(packet(start), 0)
    assert queue.full
    assert [e.start_ns for e in drain(queue, 10**12)] == [0, 1, 2]


def test_latest_keeps_only_the_newest_and_its_promise_comes_after_it() -> None:
    queue = EdgeQueue(EdgePolicy(policy="latest"))
    for start in range(3):
        queue.put(packet(start), 0)
        queue.put(Watermark(stream="cam", time_ns=start + 1), 0)
    assert [(type(e).__name__, e.start_ns if isinstance(e, Packet) else e.time_ns) for e in drain(queue)] == [
        ("Watermark", 2),
        ("Packet", 2),
        ("Watermark", 3),
    ]
    assert queue.dropped == {"superseded": 2}


def test_bytes_bound_the_queue_as_packets_do() -> None:
    queue = EdgeQueue(EdgePolicy(max_bytes=10))
    dropped = [d for start in range(3) for d in queue.put(packet(start, "12345"), 0)]
    assert [(d.reason, d.start_ns) for d in dropped] == [("overflow", 0)]


def test_a_packet_bigger_than_the_bound_is_dropped_and_counted() -> None:
    queue = EdgeQueue(EdgePolicy(max_bytes=10))
    assert [d.reason for d in queue.put(packet(0, "x" * 11), 0)] == ["overflow"]
    assert drain(queue) == []


def test_what_waited_too_long_is_stale() -> None:
    queue = EdgeQueue(EdgePolicy(max_age_ns=10))
    queue.put(packet(0), 0)
    queue.put(packet(1), 5)
    item, stale = queue.get(11)
    assert item is not None
    assert isinstance(item.event, Packet)
    assert item.event.start_ns == 1
    assert [d.reason for d in stale] == ["stale"]


def test_throttle_keeps_its_mean_rate() -> None:
    queue = EdgeQueue(EdgePolicy(policy="throttle", per_second=20, max_packets=1000))
    for index in range(300):
        queue.put(packet(index * 33_333_333), 0)
    assert 195 <= queue.waiting <= 205  # 10 s of 30 fps at 20 a second


def test_a_close_is_never_dropped_nor_merged() -> None:
    queue = EdgeQueue(EdgePolicy(policy="latest"))
    queue.put(packet(0), 0)
    queue.put(Watermark(stream="cam", time_ns=1), 0)
    queue.put(Closed(stream="cam", time_ns=1), 0)
    queue.put(Watermark(stream="cam", time_ns=2), 0)
    assert [type(e).__name__ for e in drain(queue)] == ["Packet", "Watermark", "Closed", "Watermark"]


@pytest.mark.parametrize("bad", [{"max_packets": 0}, {"max_bytes": 0}, {"max_age_ns": 0}, {"per_second": 5}, {"policy": "throttle"}])
def test_a_policy_that_cannot_work_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ContractError):
        EdgePolicy(**bad)  # type: ignore[arg-type]

"""Two ends of a real ZeroMQ edge in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from waiting import until

from operators.packet import Closed, Dropped, Frame, Packet, Watermark
from pipeline.clock import FakeClock
from pipeline.runtime.bus import EdgePolicy, EdgeReceiver, EdgeSender, Inbox, Outbox


class Ends:
    """Makes both ends at one address and closes them all."""

    def __init__(self, folder: Path) -> None:
        self.address = f"ipc://{folder}/edge"
        self.context: zmq.Context[Any] = zmq.Context()
        self.stack = ExitStack()

    def sender(self, policy: EdgePolicy, generation: int = 0) -> EdgeSender:
        return self.closing(EdgeSender(self.context, self.address, policy, FakeClock(), stream=0, generation=generation))

    def receiver(self, *, replays: bool = False) -> EdgeReceiver:
        return self.closing(EdgeReceiver(self.context, self.address, ("cam",), replays=replays))

    def closing(self, end: Any) -> Any:
        self.stack.callback(end.close)
        return end


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path)
    yield ends
    ends.stack.close()
    ends.context.term()


def frame(seq: int, nbytes: int = 10) -> Packet:
    return Packet(stream="cam", seq=seq, start_ns=seq, end_ns=seq + 1, payload=Frame(data=np.full((1, nbytes), seq % 256, dtype=np.uint8)))


def seqs(receiver: EdgeReceiver, count: int, flush: EdgeSender | None = None) -> list[int]:
    got: list[int] = []

    def enough() -> bool:
        if flush is not None:
            flush.flush()
        got.extend(item.event.seq for item in receiver.receive() if not isinstance(item, Dropped) and isinstance(item.event, Packet))
        return len(got) >= count

    until(enough)
    return got


def test_lossless_gives_everything_in_order_to_a_slow_receiver(ends: Ends) -> None:
    receiver = ends.receiver(replays=True)
    edge = ends.sender(EdgePolicy(policy="lossless", max_packets=5))
    got: list[int] = []
    for seq in range(200):
        while edge.full:
            got += seqs(receiver, 1, edge)
        assert edge.put(frame(seq, 100_000)) == []
    got += seqs(receiver, 200 - len(got), edge)
    assert got == list(range(200))
    assert receiver.counts.packets == edge.queue.left == 200
    assert receiver.counts.missing == 0


def test_without_a_receiver_the_newest_waits_and_the_rest_is_counted(ends: Ends) -> None:
    edge = ends.sender(EdgePolicy(policy="latest"))
    dropped = [drop for seq in range(100) for drop in edge.put(frame(seq))]
    assert len(dropped) == 99
    receiver = ends.receiver(replays=False)
    assert seqs(receiver, 1, edge) == [99]
    assert edge.queue.entered == receiver.counts.packets + sum(edge.queue.dropped.values()) + edge.queue.waiting


def test_a_restarted_receiver_takes_over_the_same_address(ends: Ends) -> None:
    with zmq.Context() as gone:  # its end is the end of a process: nothing of it holds the address any more
        first = EdgeReceiver(gone, ends.address, ("cam",), replays=False)
        edge = ends.sender(EdgePolicy())
        edge.put(frame(0))
        assert seqs(first, 1, edge) == [0]
        first.close()
    second = ends.receiver(replays=False)
    got: list[int] = []
    numbers = iter(range(1, 10_000))

    def heard() -> bool:
        # Those that were already in the pipe of the dead connection are lost with it.
        edge.put(frame(next(numbers)))
        got.extend(item.event.seq for item in second.receive() if not isinstance(item, Dropped) and isinstance(item.event, Packet))
        return bool(got)

    until(heard)
    assert got[0] >= 1
    assert second.counts.missing == 0


def test_a_sender_that_replays_is_heard_from_where_it_stopped(ends: Ends) -> None:
    receiver = ends.receiver(replays=True)
    first = ends.sender(EdgePolicy(policy="lossless"))
    for seq in range(3):
        first.put(frame(seq))
    assert seqs(receiver, 3, first) == [0, 1, 2]
    first.close()
    again = ends.sender(EdgePolicy(policy="lossless"), generation=1)
    for seq in range(5):
        again.put(frame(seq))
        again.put(Watermark(stream="cam", time_ns=seq + 1))
    assert seqs(receiver, 2, again) == [3, 4]
    assert receiver.counts.repeated == 3


def test_what_got_lost_under_way_is_counted(ends: Ends) -> None:
    first = ends.receiver(replays=False)
    edge = ends.sender(EdgePolicy())
    edge.put(frame(0))
    seqs(first, 1, edge)
    edge._sent += 4  # as if four had gone down with a broken connection
    edge.put(frame(5))
    assert seqs(first, 1, edge) == [5]
    assert first.counts.missing == 4


def test_rubbish_is_counted_and_the_next_message_heard(ends: Ends) -> None:
    receiver = ends.receiver(replays=False)
    stranger = ends.closing(ends.context.socket(zmq.PUSH))
    stranger.connect(ends.address)
    for parts in ([b""], [b"x" * 88, b""], [b"", b"", b""]):
        stranger.send_multipart(parts)
    got: list[object] = []
    until(lambda: got.extend(receiver.receive()) or len(got) == 3)
    assert got == [Dropped(stream="", reason="bad_message")] * 3
    assert receiver.counts.bad == 3
    edge = ends.sender(EdgePolicy())
    edge.put(Closed(stream="cam", time_ns=1))
    until(lambda: (edge.flush(), got.extend(receiver.receive())) and len(got) == 4)


def test_letters_wait_for_the_engine_and_reports_do_not(ends: Ends) -> None:
    outbox = ends.closing(Outbox(ends.context, ends.address, most=3))
    assert not outbox.report({"beat": 1})
    for n in range(5):
        outbox.letter({"n": n})
    assert outbox.dropped == {"overflow": 2}
    inbox, got = ends.closing(Inbox(ends.context, ends.address)), []
    until(lambda: (outbox.flush(), got.extend(inbox.messages(10))) and len(got) == 3)
    assert got == [{"n": 2}, {"n": 3}, {"n": 4}]
    assert outbox.report({"beat": 2})
    outbox._socket.send(b"[1]")
    outbox._socket.send(b"{")
    until(lambda: got.extend(inbox.messages(10)) or inbox.bad == 2)
    assert got[-1] == {"beat": 2}

"""Edges that leave a machine: encrypted, and closed to whoever has no key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from fakeplan import value
from waiting import until

from operators.packet import Packet
from pipeline.clock import FakeClock
from pipeline.runtime.bus import EdgePolicy, EdgeReceiver, EdgeSender, Inbox, Outbox
from pipeline.runtime.keys import Doorman, Keys, new_keys
from pipeline.runtime.wires import Wires

ANYWHERE = "tcp://127.0.0.1:*"


class Ends:
    """A receiver with keys of its own, and senders to it."""

    def __init__(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.doorman, self.keys = Doorman(self.context), new_keys()
        self.doorman.admit(self.keys)
        self.receiver = EdgeReceiver(self.context, ANYWHERE, ("cam",), replays=False, keys=self.keys)
        self.senders: list[EdgeSender] = []

    def sender(self, keys: Keys | None, address: str = "") -> EdgeSender:
        made = EdgeSender(self.context, address, EdgePolicy(), FakeClock(), stream=0, generation=0, keys=keys)
        self.senders.append(made)
        return made

    def close(self) -> None:
        for end in (*self.senders, self.receiver):
            end.close()
        self.doorman.close()
        self.context.destroy(linger=0)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def arrives(ends: Ends, sender: EdgeSender, within_s: float) -> bool:
    got: list[object] = []

    def look() -> bool:
        sender.flush()
        got.extend(item for item in ends.receiver.receive() if isinstance(getattr(item, "event", None), Packet))
        return bool(got)

    sender.put(value("cam", 1, 0))
    try:
        until(look, within_s, "a packet")
    except AssertionError:
        return False
    return True


def test_who_has_the_keys_is_heard(ends: Ends) -> None:
    assert arrives(ends, ends.sender(ends.keys, ends.receiver.address), 5)


@pytest.mark.parametrize("wrong", ["none", "another session's", "the receiver's public key alone"])
def test_who_has_not_is_not(ends: Ends, wrong: str) -> None:
    other = new_keys()
    keys = {"none": None, "another session's": other}.get(
        wrong,
        Keys(receiver=ends.keys.receiver, receiver_secret=other.receiver_secret, sender=other.sender, sender_secret=other.sender_secret),
    )
    stranger = ends.sender(keys, ends.receiver.address)
    assert not arrives(ends, stranger, 0.5)
    assert stranger.queue.waiting == 1
    assert arrives(ends, ends.sender(ends.keys, ends.receiver.address), 5)  # the door is not jammed


def test_a_session_that_is_over_lets_nobody_in(ends: Ends) -> None:
    ends.doorman.forget(ends.keys)
    assert not arrives(ends, ends.sender(ends.keys, ends.receiver.address), 0.5)


def test_a_sender_follows_its_receiver_to_another_port(ends: Ends) -> None:
    sender = ends.sender(ends.keys, ends.receiver.address)
    assert arrives(ends, sender, 5)
    ends.receiver.close()
    ends.receiver = EdgeReceiver(ends.context, ANYWHERE, ("cam",), replays=False, keys=ends.keys)
    sender.connect(ends.receiver.address)
    # What was under way to the one before may be lost with it; what is said after that is not.
    assert arrives(ends, sender, 0.5) or arrives(ends, sender, 5)


def test_a_sender_that_knows_no_address_yet_keeps_what_it_has(ends: Ends) -> None:
    sender = ends.sender(ends.keys)
    sender.put(value("cam", 0, 0))
    assert sender.queue.waiting == 1
    sender.connect(ends.receiver.address)
    assert arrives(ends, sender, 5)


def test_reports_of_actors_go_the_same_way(ends: Ends) -> None:
    inbox = Inbox(ends.context, ANYWHERE, ends.keys)
    outbox = Outbox(ends.context, inbox.address, keys=ends.keys)
    got: list[dict[str, Any]] = []
    outbox.letter({"hello": 1})
    until(lambda: outbox.flush() == 0 and bool(got.extend(inbox.messages(20)) or got), 5, "a letter")
    assert got == [{"hello": 1}]
    inbox.close()
    outbox.close()


def test_secrets_are_in_no_text_of_the_wires_and_travel_with_them(tmp_path: Path) -> None:
    keys = new_keys()
    wires = Wires(folder=str(tmp_path)[:80], inputs=("cam",), engine_at="tcp://127.0.0.1:5", keys=keys)
    assert keys.receiver_secret not in repr(wires)
    assert keys.sender_secret not in repr(wires)
    assert Wires.from_json(wires.to_json()) == wires
    assert wires.edge("cam") == ANYWHERE

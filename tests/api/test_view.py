"""The live view over real sockets: taken only while somebody looks, and only what is a message of it."""

import asyncio
import json

import inventedsession as invented
import pytest
import zmq
from waiting import until

from pipeline.api.mailbox import Note, Picture
from pipeline.api.view import View, message_of

MS = 1_000_000


def parts(kind, body=b"", **header):
    return invented.message("desk", {"kind": kind, **header}, body)


def test_a_picture_becomes_one_frame_with_its_header_before_it():
    got = []
    view = View("inproc://one", lambda session, item: got.append((session, item)))
    view.take(parts("picture", b"JPEG", source="cam", stream="video", at_ns=5, width=2, height=1))
    view.close()
    ((session, item),) = got
    assert isinstance(item, Picture)
    assert (session, item.stream) == ("desk", "cam.video")
    length = int.from_bytes(item.frame[:4], "big")
    assert json.loads(item.frame[4 : 4 + length]) == {
        "kind": "picture",
        "source": "cam",
        "stream": "video",
        "at_ns": 5,
        "width": 2,
        "height": 1,
    }
    assert item.frame[4 + length :] == b"JPEG"


@pytest.mark.parametrize("kind", ["level", "text", "marks"])
def test_all_else_becomes_a_note_of_its_kind(kind):
    got = []
    view = View("inproc://two", lambda session, item: got.append(item))
    view.take(parts(kind, at_ns=5))
    view.close()
    assert got == [Note(kind, {"type": kind, "at_ns": 5})]


@pytest.mark.parametrize(
    "wrong",
    [[], [b"desk\n"], [b"desk\n", b"{}", b""], [b"desk", b'{"kind": "text"}', b""], [b"desk\n", b"{", b""], [b"desk\n", b"[]", b""],
     [b"desk\n", b'{"kind": "decision"}', b""], [b"desk\n", b"[" * 100_000, b""], [b"desk\n", b'{"kind": "text"}', b"", b""]],
)  # fmt: skip
def test_what_is_no_message_of_the_view_is_counted_and_passed_over(wrong):
    assert message_of(wrong) is None
    view = View("inproc://three", lambda session, item: pytest.fail("nothing is to be given"))
    view.take(wrong)
    view.close()
    assert view.unfit == 1


def test_actors_publish_only_while_somebody_looks_and_only_that_session(tmp_path):
    got, context = [], zmq.Context()
    actor = context.socket(zmq.XPUB)
    actor.setsockopt(zmq.LINGER, 0)

    def wishes():
        found = []
        while actor.poll(200):
            found.append(actor.recv())
        return found

    async def look():
        view = View(f"ipc://{tmp_path}/view", lambda session, item: got.append((session, item.kind)))
        actor.connect(f"ipc://{tmp_path}/view")
        running = asyncio.ensure_future(view.run())
        with view.watched("desk"):
            with view.watched("desk"):
                first = await asyncio.to_thread(wishes)
            second = await asyncio.to_thread(wishes)
            for session in ("desk", "desk2", "hall"):
                actor.send_multipart(invented.message(session, {"kind": "level", "rms_db": -20}))
            await asyncio.to_thread(lambda: until(lambda: got, 5))
        third = await asyncio.to_thread(wishes)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        view.close()
        return first, second, third

    try:
        assert asyncio.run(look()) == ([b"\x01desk\n"], [], [b"\x00desk\n"])
        assert got == [("desk", "level")]
    finally:
        actor.close(0)
        context.term()

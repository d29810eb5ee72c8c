"""What a source said, read from its recording: each packet once, also where two begin at one time."""

from __future__ import annotations

from recordings import write_plain_manifest

from operators.packet import Packet, TextSpan
from pipeline.clock import FakeClock
from pipeline.ports import StreamSpec
from pipeline.session.disk import Disk
from pipeline.session.layout import Recording
from pipeline.session.read import Session
from pipeline.session.scribe import DirectScribe
from pipeline.session.streamlog import SourceRecorder

MS = 1_000_000


def record(folder, *lives):
    """Each life: (start, end, text) of what it said, in milliseconds."""
    write_plain_manifest(folder)
    for actor, said in enumerate(lives):
        source = SourceRecorder(Recording(folder=str(folder)), "cap", (0, actor), DirectScribe(), FakeClock(), Disk(), print)
        source.open([StreamSpec(name="text", kind="text")], [])
        for seq, (start, end, text) in enumerate(said):
            source.event(Packet(stream="text", seq=seq, start_ns=start * MS, end_ns=end * MS, payload=TextSpan(text=text)), start * MS)
        source.close()
    return [packet.payload.text for packet in Session.open(folder).packets("cap.text")]


def test_two_that_begin_at_one_time_are_two_whichever_ends_first(tmp_path):
    assert record(tmp_path, [(0, 900, "a"), (0, 900, "b"), (0, 500, "c"), (1000, 1500, "d")]) == ["a", "b", "c", "d"]


def test_what_a_source_that_was_started_again_repeats_is_there_once(tmp_path):
    assert record(tmp_path, [(0, 500, "a"), (600, 900, "b")], [(600, 900, "b"), (1000, 1500, "c")]) == ["a", "b", "c"]

"""What an export takes from a stream: of what kind it is, its compressed packets with their exact stamps, its sound, its events."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av

from operators.packet import Packet
from pipeline.ports import Kind
from pipeline.session.frames import BASE_ERRORS, HALF_NS, MS, Compressed, compressed, sound
from pipeline.session.layout import STREAMS
from pipeline.session.read import Session
from pipeline.session.rows import Row


def kind_of(session: Session, stream: str) -> Kind | None:
    """None: nothing was recorded that tells."""
    for recorded in session.manifest.inputs.values():
        if recorded.stream == stream:
            return recorded.kind
    first = next((row for row in session.stream_rows(stream) if row["kind"] == "packet"), None)
    if first is not None and first["payload"] in ("text", "series"):
        return "text" if first["payload"] == "text" else "series"
    for segment in session.media_segments(stream):
        try:
            with av.open(f"file:{segment.path}", options={"protocol_whitelist": "file"}, format="matroska") as container:
                found = container.streams[0].type
                return "video" if found == "video" else "audio" if found == "audio" else None
        except BASE_ERRORS:
            continue
    return None


def tell_refused(session: Session, stream: str, count: int) -> None:
    """Packets that no decoder or container takes are left out and noted as damage."""
    if count:
        session.faults.note(session.folder / STREAMS / stream, f"{count} packets of its media are damaged and were left out")


def packet_rows(session: Session, stream: str) -> list[Row]:
    return [row for row in session.stream_rows(stream) if row["kind"] == "packet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A compressed packet. start_ns, at_ns: exact where the log has it, else the file's milliseconds. decode_ns None: unknown.

    template: its av.Stream, valid until the next one is asked for. shape: differs where a decoder must begin anew.
    """

    packet: Any
    template: Any
    start_ns: int
    decode_ns: int | None
    at_ns: int
    base_ns: int

    @property
    def shape(self) -> tuple[object, ...]:
        context = self.template.codec_context
        size = (context.width, context.height) if self.template.type == "video" else (context.rate, context.layout.name)
        return (context.name, context.extradata, *size)


def coded(session: Session, stream: str) -> Iterator[Coded]:
    """In the order of decoding; all that can be read and is of the stream's kind."""
    rows, kind = packet_rows(session, stream), kind_of(session, stream)
    starts = [row["start_ns"] for row in rows]
    for item in compressed(session, stream):
        row, packet = _row_at(item, rows, starts), item.packet
        if packet.stream.type != kind:
            continue
        yield Coded(
            packet=packet,
            template=packet.stream,
            start_ns=item.start_ns if row is None else row["start_ns"],
            decode_ns=None if packet.dts is None else item.base_ns + packet.dts * MS,
            at_ns=item.start_ns if row is None else row["at_ns"],
            base_ns=item.base_ns,
        )


def _row_at(item: Compressed, rows: Sequence[Row], starts: Sequence[int]) -> Row | None:
    index = bisect_left(starts, item.start_ns - HALF_NS)
    return rows[index] if index < len(rows) and starts[index] <= item.start_ns + HALF_NS else None


def heard(session: Session, stream: str) -> Iterator[tuple[int, Packet]]:
    """(arrival, block) of the sound in blocks of 20 ms, at its own rate and with its own channels."""
    rows = packet_rows(session, stream)
    ends = [row["end_ns"] for row in rows]
    for block in sound(session, stream):
        index = bisect_left(ends, block.end_ns - HALF_NS)
        yield rows[index]["at_ns"] if index < len(rows) else block.end_ns, block

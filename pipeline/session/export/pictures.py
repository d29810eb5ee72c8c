"""A stream's pictures for a viewer: its compressed packets where viewers play them, else JPEG pictures."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import av
import cv2
from av.bitstream import BitStreamFilterContext

from operators.packet import Frame
from pipeline.session.export.streams import Coded, coded, packet_rows, tell_refused
from pipeline.session.frames import frames
from pipeline.session.read import Session

ANNEX_B = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
QUALITY = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """data: compressed. format: "jpeg", or what the packets are: h264, h265, vp9, av1."""

    start_ns: int
    at_ns: int
    data: bytes
    format: str


FORMATS = {"h264": "h264", "hevc": "h265", "vp9": "vp9", "av1": "av1"}


def format_of(session: Session, stream: str) -> str:
    """What `pictures` gives: the codec where it is of these and no picture waits for a later one, else jpeg."""
    first = next(coded(session, stream), None)
    if first is None:
        return "jpeg"
    context = first.template.codec_context
    return "jpeg" if context.has_b_frames else FORMATS.get(context.name, "jpeg")


def pictures(session: Session, stream: str) -> Iterator[Picture]:
    """In order of time. Viewers of MCAP cannot decode pictures that wait for later ones (B-frames), nor other codecs than these."""
    format = format_of(session, stream)
    yield from pictures_as_jpeg(session, stream) if format == "jpeg" else _packets(session, stream, format)


def _packets(session: Session, stream: str, format: str) -> Iterator[Picture]:
    template, annex_b, refused = None, None, 0
    for item in coded(session, stream):
        if item.template is not template:
            template = item.template
            name = ANNEX_B.get(template.codec_context.name)
            annex_b = None if name is None else BitStreamFilterContext(name, template)
        data = _data(item, annex_b)
        refused += not data
        if data:
            yield Picture(start_ns=item.start_ns, at_ns=item.at_ns, data=data, format=format)
    tell_refused(session, stream, refused)


def _data(item: Coded, annex_b: BitStreamFilterContext | None) -> bytes:
    """Empty for a packet that is damaged."""
    try:
        return bytes(item.packet) if annex_b is None else b"".join(bytes(packet) for packet in annex_b.filter(item.packet))
    except (av.error.FFmpegError, EOFError):
        return b""


def pictures_as_jpeg(session: Session, stream: str) -> Iterator[Picture]:
    rows = packet_rows(session, stream)
    starts = [row["start_ns"] for row in rows]
    for packet in frames(session, stream):
        if not isinstance(packet.payload, Frame):
            continue
        data = packet.payload.data
        _, made = cv2.imencode(".jpg", data[..., ::-1] if data.ndim == 3 else data, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        at_ns = rows[bisect_left(starts, packet.start_ns)]["at_ns"]
        yield Picture(start_ns=packet.start_ns, at_ns=at_ns, data=made.tobytes(), format="jpeg")

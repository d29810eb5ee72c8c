"""The original media of one stream as Matroska: compressed packets as they came, raw pictures and sound encoded here.

Written live: no index, no seeking back, every few packets a cluster that is whole. What was flushed plays after a kill -9.
Stamps are milliseconds since the segment's first packet; the tag SENSORIUM_START_NS says, exactly, when in the session that was.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import OutputContainer

from operators.packet import AudioBlock, Frame, Packet
from pipeline.session.part import Part

START_TAG = "SENSORIUM_START_NS"
MS = Fraction(1, 1000)
OPTIONS = {"live": "1", "flush_packets": "1", "cluster_time_limit": "40", "avoid_negative_ts": "disabled"}
X264 = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20"}
KEY_FRAME_PICTURES = 30


class MediaSegment:
    """One segment. Raises OSError from its part, and av.error.FFmpegError for packets that Matroska does not take."""

    def __init__(self, part: Part, start_ns: int) -> None:
        self._part, self._start_ns = part, start_ns
        self._container: OutputContainer = av.open(part, "w", format="matroska", options=OPTIONS)
        self._container.metadata[START_TAG] = str(start_ns)
        self._stream: Any = None
        self._last_dts = -1
        self.rows = 0

    def like(self, template: Any) -> None:  # noqa: ANN401 - a stream of an input container
        """Its packets come compressed, as those of `template`, whose file is open or which is `detached`."""
        self._stream = self._container.add_stream_from_template(template)

    def encoded(self, packet: Packet) -> None:
        """Its packets come raw, like this one."""
        match packet.payload:
            case Frame(data=data):
                rate = max(1, round(1e9 / max(1, packet.end_ns - packet.start_ns)))
                stream: Any = self._container.add_stream("libx264", rate=min(rate, 240))
                stream.height, stream.width = (size - size % 2 for size in data.shape[:2])
                stream.pix_fmt, stream.options = "yuv420p", X264
                stream.codec_context.time_base, stream.codec_context.gop_size = MS, KEY_FRAME_PICTURES
            case AudioBlock(data=data, rate_hz=rate_hz):
                # As float: what was heard, to the bit.
                stream = self._container.add_stream("pcm_f32le", rate=rate_hz, layout="mono" if len(data) == 1 else f"{len(data)}c")
        self._stream = stream

    def add(self, packet: Any, start_ns: int, decode_ns: int, duration_ns: int) -> None:  # noqa: ANN401 - av.Packet
        """packet: a copy that may be changed."""
        packet.pts, packet.dts = self._ms(start_ns), self._ms(decode_ns)
        packet.duration, packet.time_base = max(0, round(duration_ns / 1e6)), MS
        self._mux(packet)

    def again(self, packet: Any) -> None:  # noqa: ANN401 - av.Packet
        """A packet that is read from another segment of ours, whose stamps are right already."""
        self._mux(packet)

    def encode(self, packet: Packet) -> None:
        for made in self._stream.encode(self._frame(packet)):
            self._mux(made)

    def flush(self) -> None:
        """Matroska was flushed with every packet."""

    def close(self) -> None:
        try:
            if self._stream is not None and not self._part.broken and self._stream.codec_context.is_encoder:
                for made in self._stream.encode(None):
                    self._mux(made)
        finally:
            self._close_container()

    def _close_container(self) -> None:
        try:
            self._container.close()
        except (av.error.FFmpegError, OSError):
            if not self._part.broken:  # else it only repeats what was said already
                raise

    def _mux(self, packet: Any) -> None:  # noqa: ANN401 - av.Packet
        packet.stream = self._stream
        if packet.time_base == MS:
            packet.dts = max(packet.dts if packet.dts is not None else packet.pts, self._last_dts + 1)
            self._last_dts = packet.dts
        self._container.mux_one(packet)
        self.rows += 1

    def _ms(self, time_ns: int) -> int:
        return round((time_ns - self._start_ns) / 1e6)

    def _frame(self, packet: Packet) -> Any:  # noqa: ANN401 - av.VideoFrame or av.AudioFrame
        match packet.payload:
            case Frame(data=data):
                height, width = (size - size % 2 for size in data.shape[:2])
                picture: Any = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(data[:height, :width]), format="gray" if data.ndim == 2 else "rgb24"
                )
                picture.pts, picture.time_base = self._ms(packet.start_ns), MS
                return picture
            case AudioBlock(data=data, rate_hz=rate_hz):
                sound: Any = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(data.T.reshape(1, -1)), format="flt", layout=self._stream.layout.name
                )
                sound.sample_rate, sound.time_base = rate_hz, Fraction(1, rate_hz)
                sound.pts = round((packet.start_ns - self._start_ns) * rate_hz / 1e9)
                return sound
        return None


def detached(template: Any) -> Any:  # noqa: ANN401 - av.Stream
    """A stream like it that lives on when its file is closed: the packets may be written after that."""
    return av.open(io.BytesIO(), "w", format="matroska").add_stream_from_template(template)


def copied(packet: Any) -> Any:  # noqa: ANN401 - av.Packet
    """The compressed bytes in a packet of their own: the decoder may still want the other one."""
    made: Any = av.Packet(bytes(packet))
    made.is_keyframe = packet.is_keyframe
    return made

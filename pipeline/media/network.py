"""A stream from the network through FFmpeg, as a `Connection`: RTSP, MPEG-TS over UDP or HTTP, MJPEG.

FFmpeg waits for ever unless it is told not to, takes a broken connection for the end of a file, and passes damaged pictures on as good.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.stream import Stream
from av.video.frame import VideoFrame

from operators.errors import DeviceLost, DeviceNotFound, SourceError
from operators.packet import AudioBlock, Frame
from pipeline.live.captured import Captured, Compressed, Given, Happened, Lost, Now
from pipeline.media.audio import Resampling
from pipeline.media.container import lasting
from pipeline.media.holding import Holding
from pipeline.media.sender import SenderClock
from pipeline.media.video import Pictures
from pipeline.ports import Quality, Wanted

OPEN_S, READ_S = 4.0, 2.0
OPTIONS = {
    "probesize": "65536",
    "analyzeduration": "300000",  # microseconds: no second of waiting before the first picture
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,rtmp,rtmps,http,https,httpproxy,udp,tcp,tls,crypto,hls",
    "overrun_nonfatal": "1",
}
MADE_UP = ("mpjpeg", "mjpeg")
"""Formats whose stamps FFmpeg counts at 25 a second, whatever comes."""


class NetworkStream:
    """keep: the compressed packets are given too, for a recording.

    Raises DeviceNotFound where nothing answers, SourceError where what answers has none of the wanted streams.
    """

    def __init__(
        self, url: str, label: str, wanted: Mapping[str, Wanted], now_ns: Now, *, transport: str, delay_ns: int, keep: bool = False
    ) -> None:
        self._label, self._wanted, self._now_ns, self._delay_ns = label, wanted, now_ns, delay_ns
        options = {**OPTIONS, **({"rtsp_transport": transport} if url.startswith("rtsp") else {})}
        try:
            self._container = av.open(url, options=options, timeout=(OPEN_S, READ_S), metadata_errors="replace")
        except (av.error.FFmpegError, ValueError) as error:
            raise DeviceNotFound(label, f"does not answer ({_reason(error)})") from error
        self._names: dict[int, str] = {}
        for name, streams in (("video", self._container.streams.video), ("audio", self._container.streams.audio)):
            if name in wanted and streams:
                self._names[streams[0].index] = name
        if not self._names:
            self._container.close()
            raise SourceError(label, f"has no {' and no '.join(wanted)}")
        self._streams = [self._container.streams[index] for index in self._names]
        for stream in self._streams:
            if stream.type == "video":
                stream.codec_context.thread_type = "NONE"  # threads hold pictures back
        self._templates = {stream.index: lasting(stream) for stream in self._streams} if keep else {}
        form, alone = self._container.format.name, len(self._streams) == 1
        self._holding = {self._names[stream.index]: Holding(form, stream, alone=alone) for stream in self._streams}
        self._made_up = any(name in MADE_UP for name in self._container.format.name.split(","))
        self._pictures = Pictures(wanted.get("video", Wanted()))
        self._resampling: Resampling | None = None
        self._clock = SenderClock([self._names[stream.index] for stream in self._streams])
        self._last: dict[str, int] = {}
        self._reanchoring: set[str] = set()
        self.details: Mapping[str, str] = {self._names[stream.index]: _detail(stream) for stream in self._streams}

    def read(self, stop: threading.Event) -> Iterator[Given]:
        try:
            for packet in self._container.demux(self._streams):
                arrival_ns = self._now_ns()
                if stop.is_set():
                    return
                if packet.size:
                    yield from self._packet(packet, arrival_ns)
        except av.error.FFmpegError as error:
            raise DeviceLost(self._label, f"broke off ({_reason(error)})") from error

    def close(self) -> None:
        self._container.close()

    def _packet(self, packet: av.Packet[Any], arrival_ns: int) -> Iterator[Given]:
        name = self._names[packet.stream.index]
        yield from self._told(name, packet)
        if self._templates:
            yield _compressed(name, packet, self._templates[packet.stream.index])
        held_ns = self._holding[name].picture(arrival_ns)
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            yield Lost(stream=name, reason="decode_error")
            return
        for frame in frames:
            if frame.is_corrupt or packet.is_corrupt:
                yield Lost(stream=name, reason="corrupt")
            elif isinstance(frame, VideoFrame):
                yield from self._picture(frame, arrival_ns, held_ns)
            elif isinstance(frame, AudioFrame):
                yield from self._sound(frame, arrival_ns)

    def _told(self, name: str, packet: av.Packet[Any]) -> Iterator[Happened]:
        wall_ns = _wall_ns(packet)
        stamp_ns = _ns(packet.pts, packet.time_base)
        if wall_ns is not None and stamp_ns is not None and self._clock.told(name, stamp_ns, wall_ns):
            for moved in self._clock.streams[1:]:
                self._reanchoring.add(moved)
                yield Happened(stream=moved, what="reanchored")

    def _picture(self, frame: VideoFrame, arrival_ns: int, held_ns: int) -> Iterator[Captured | Lost]:
        device_ns = None if self._made_up else self._device_ns("video", frame)
        if device_ns is None and not self._made_up:
            yield Lost(stream="video", reason="no_stamp")
            return
        data = self._pictures.array(frame)
        yield self._captured(frame, Frame(data=data), arrival_ns, device_ns, None, held_ns)

    def _sound(self, frame: AudioFrame, arrival_ns: int) -> Iterator[Captured | Lost]:
        device_ns = self._device_ns("audio", frame)
        if device_ns is None:
            yield Lost(stream="audio", reason="no_stamp")
            return
        if "audio" in self._reanchoring and device_ns <= self._last.get("audio", device_ns - 1):
            yield Lost(stream="audio", reason="overlap")  # moved back: this time has been given already
            return
        self._reanchoring.discard("audio")
        self._last["audio"] = device_ns
        if self._resampling is None or not self._resampling.fits(frame):
            self._resampling = Resampling(frame, Wanted(channels=self._wanted["audio"].channels))
        made = self._resampling.push(frame)
        if made:
            data = np.ascontiguousarray(np.concatenate(made, axis=1))
            rate_hz = self._resampling.rate_hz
            length_ns = data.shape[1] * 1_000_000_000 // rate_hz
            held_ns = self._holding["audio"].sound(length_ns)
            yield self._captured(frame, AudioBlock(data=data, rate_hz=rate_hz), arrival_ns, device_ns, length_ns, held_ns)

    def _captured(
        self,
        frame: VideoFrame | AudioFrame,
        payload: Frame | AudioBlock,
        arrival_ns: int,
        device_ns: int | None,
        length_ns: int | None,
        held_ns: int,
    ) -> Captured:
        quality: Quality = self._clock.quality
        return Captured(
            stream="video" if isinstance(frame, VideoFrame) else "audio",
            payload=payload,
            arrival_ns=arrival_ns,
            device_ns=device_ns,
            length_ns=length_ns,
            delay_ns=self._delay_ns + held_ns,
            quality=quality,
            stamp_ns=_ns(frame.pts, frame.time_base),
        )

    def _device_ns(self, name: str, frame: VideoFrame | AudioFrame) -> int | None:
        stamp_ns = _ns(frame.pts, frame.time_base)
        return None if stamp_ns is None else self._clock.device_ns(name, stamp_ns)


def _ns(stamp: int | None, unit: Any) -> int | None:  # noqa: ANN401 - a Fraction, of whichever kind
    return None if stamp is None or unit is None else round(stamp * 1_000_000_000 * unit)


def _compressed(name: str, packet: av.Packet[Any], template: Stream) -> Compressed:
    """Also of a packet that is damaged: the decoder has seen it, and the next pictures may be made of it."""
    stamp_ns, decode_ns, duration_ns = (_ns(stamp, packet.time_base) for stamp in (packet.pts, packet.dts, packet.duration))
    stamp_ns = decode_ns if stamp_ns is None else stamp_ns
    lead_ns = 0 if stamp_ns is None or decode_ns is None else max(0, stamp_ns - decode_ns)
    return Compressed(stream=name, packet=packet, template=template, stamp_ns=stamp_ns, lead_ns=lead_ns, duration_ns=duration_ns or 0)


def _wall_ns(packet: av.Packet[Any]) -> int | None:
    """The sender's wall clock for this packet (FFmpeg's AVProducerReferenceTime: int64 microseconds, int flags)."""
    if not packet.has_sidedata("prft"):
        return None
    (wall_us,) = struct.unpack_from("<q", bytes(packet.get_sidedata("prft")))
    return int(wall_us) * 1000


def _detail(stream: Stream) -> str:
    codec: Any = stream.codec_context
    if stream.type == "video":
        rate = stream.average_rate or stream.guessed_rate
        return f"{codec.width}x{codec.height} {codec.name}{f' {float(rate):g} fps' if rate else ''}"
    return f"{codec.sample_rate / 1000:g} kHz {codec.name} {codec.channels} channel{'s' * (codec.channels > 1)}"


def _reason(error: Exception) -> str:
    """Without the URL that FFmpeg's errors carry."""
    return getattr(error, "strerror", None) or type(error).__name__

"""A browser's peer connection through aiortc: frames, sound and text in, as captured items.

aiortc starts each track's stamps at 0 and drops what the sender's reports say of the two clocks, so the tracks would be on no common clock.
The reports are taken from it before it drops them: from the first one on (2 to 5 s) picture and sound are where the browser's clock puts
them; until then each track is taken to have begun when it arrived.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtp import RtcpSrPacket
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from operators.errors import DeviceLost
from operators.packet import AudioBlock, Frame
from pipeline.live.captured import Captured, Happened, Lost, Now
from pipeline.live.text import text_item
from pipeline.media.audio import Resampling
from pipeline.media.sender import SenderClock
from pipeline.media.video import Pictures
from pipeline.ports import Wanted

MAX_WAITING = 256
NTP_EPOCH_S = 2_208_988_800
RATES_HZ = {"video": 90_000, "audio": 48_000}
TEXT = "text"

Item = Captured | Lost | Happened


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        for name in ("aiortc", "aioice"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def run(self, coroutine: Any, timeout_s: float) -> Any:  # noqa: ANN401 - what the coroutine gives
        """From another thread. Raises TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(2.0)
        if not self._thread.is_alive():
            self.loop.close()


class Peer:
    """One browser. answer() first, in the loop; then it is a `Connection` for another thread."""

    def __init__(self, label: str, loop: Loop, wanted: Mapping[str, Wanted], now_ns: Now, max_bytes: int) -> None:
        self._label, self._loop, self._wanted, self._now_ns, self._max_bytes = label, loop, wanted, now_ns, max_bytes
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # the default asks a server on the internet for our address
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._readers: set[asyncio.Task[None]] = set()
        self._clock = SenderClock([])
        self._begun: dict[str, int] = {}  # arrival of the first frame
        self._last_audio_ns: int | None = None
        self._pictures = Pictures(wanted.get("video", Wanted()))
        self._resampling: Resampling | None = None
        self._gone = threading.Event()
        self.started = threading.Event()
        """Something came."""
        self.details: dict[str, str] = {}

    async def answer(self, offer: str) -> str:
        """SDP for SDP. Raises ValueError where it cannot be read."""
        peer = self._peer
        peer.add_listener("track", self._track)
        peer.add_listener("datachannel", self._channel)
        peer.add_listener("connectionstatechange", self._changed)
        await peer.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        if TEXT in self._wanted and "m=application" in offer:
            self.details[TEXT] = "browser"
        self._clock = SenderClock([name for name in ("video", "audio") if name in self.details])
        return str(peer.localDescription.sdp)

    def read(self, stop: threading.Event) -> Iterator[Item]:
        while not stop.is_set():
            try:
                yield self._items.get(timeout=0.05)
            except queue.Empty:
                if self._gone.is_set():
                    raise DeviceLost(self._label, "the browser is gone") from None

    def close(self) -> None:
        self._loop.run(self._close(), 3.0)

    async def _close(self) -> None:
        for reader in self._readers:
            reader.cancel()
        await self._peer.close()

    def _changed(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._gone.set()

    def _put(self, item: Item) -> None:
        self.started.set()
        if self._items.qsize() < MAX_WAITING:
            self._items.put(item)
        elif isinstance(item, Captured):
            self._items.put(Lost(stream=item.stream, reason="capture_overflow"))

    # -- the tracks

    def _track(self, track: MediaStreamTrack) -> None:
        if track.kind not in self._wanted:
            return
        receiver = next((each for each in self._peer.getReceivers() if each.track is track), None)
        if receiver is not None:
            self._listen_for_reports(track.kind, receiver)
        self.details[track.kind] = "browser"
        reader = asyncio.ensure_future(self._read_track(track))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _read_track(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                self._gone.set()
                return
            arrival_ns = self._now_ns()
            stamp_ns = self._stamp_ns(track.kind, frame, arrival_ns)
            if isinstance(frame, VideoFrame):
                data = self._pictures.array(frame)
                self._put(self._captured("video", Frame(data=data), arrival_ns, stamp_ns, None))
            elif isinstance(frame, AudioFrame):
                self._sound(frame, arrival_ns, stamp_ns)

    def _sound(self, frame: AudioFrame, arrival_ns: int, stamp_ns: int) -> None:
        if self._last_audio_ns is not None and stamp_ns <= self._last_audio_ns:
            self._put(Lost(stream="audio", reason="overlap"))  # moved back by a report: this time has been given already
            return
        self._last_audio_ns = stamp_ns
        if self._resampling is None or not self._resampling.fits(frame):
            self._resampling = Resampling(frame, Wanted(channels=self._wanted["audio"].channels))
        made = self._resampling.push(frame)
        if made:
            data = np.ascontiguousarray(np.concatenate(made, axis=1))
            length_ns = data.shape[1] * 1_000_000_000 // self._resampling.rate_hz
            block = AudioBlock(data=data, rate_hz=self._resampling.rate_hz)
            self._put(self._captured("audio", block, arrival_ns, stamp_ns, length_ns))

    def _captured(self, stream: str, payload: Frame | AudioBlock, arrival_ns: int, stamp_ns: int, length_ns: int | None) -> Captured:
        quality = self._clock.quality
        return Captured(stream=stream, payload=payload, arrival_ns=arrival_ns, device_ns=stamp_ns, length_ns=length_ns, quality=quality)

    def _stamp_ns(self, stream: str, frame: Any, arrival_ns: int) -> int:  # noqa: ANN401 - a frame of either kind
        """On the tracks' common clock, as far as it is known."""
        begun_ns = self._begun.setdefault(stream, arrival_ns - round(frame.pts * frame.time_base * 1_000_000_000))
        stamp_ns = begun_ns + round(frame.pts * frame.time_base * 1_000_000_000)
        return self._clock.device_ns(stream, stamp_ns)

    # -- the sender's reports

    def _listen_for_reports(self, stream: str, receiver: Any) -> None:  # noqa: ANN401 - aiortc's own
        """In front of the receiver's own handler; where a version of aiortc has it no more, the tracks stay as they arrived."""
        handle = getattr(receiver, "_handle_rtcp_packet", None)
        mapper = getattr(receiver, "_RTCRtpReceiver__timestamp_mapper", None)
        if handle is None or mapper is None or not hasattr(mapper, "_origin"):
            return

        async def look(packet: Any) -> None:  # noqa: ANN401
            if isinstance(packet, RtcpSrPacket) and mapper._origin is not None:
                self._reported(stream, packet.sender_info.rtp_timestamp - mapper._origin, packet.sender_info.ntp_timestamp)
            await handle(packet)

        receiver._handle_rtcp_packet = look

    def _reported(self, stream: str, rtp: int, ntp: int) -> None:
        begun_ns = self._begun.get(stream)
        if begun_ns is None:
            return
        ticks = (rtp + (1 << 31)) % (1 << 32) - (1 << 31)
        stamp_ns = begun_ns + ticks * 1_000_000_000 // RATES_HZ[stream]
        wall_ns = (ntp * 1_000_000_000 >> 32) - NTP_EPOCH_S * 1_000_000_000
        if self._clock.told(stream, stamp_ns, wall_ns):
            self._put(Happened(stream=self._clock.streams[-1], what="reanchored"))

    # -- what is typed

    def _channel(self, channel: Any) -> None:  # noqa: ANN401 - aiortc's own
        if TEXT in self._wanted:
            channel.add_listener("message", self._typed)

    def _typed(self, message: str | bytes) -> None:
        item = text_item(message.encode("utf-8", "replace") if isinstance(message, str) else message, self._now_ns, self._max_bytes)
        if item is not None:
            self._put(item)

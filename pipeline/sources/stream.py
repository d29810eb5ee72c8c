"""Video and sound from the network: an IP camera, an encoder, a media server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

from operators.clockmap import ClockRules
from operators.errors import ContractError
from pipeline.live.captured import Connection, Now
from pipeline.live.link import LinkPolicy
from pipeline.live.source import Live
from pipeline.live.stream import StreamRules
from pipeline.mask import mask
from pipeline.ports import MediaTap, Wanted

SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "rtp", "tcp", "rtmp", "rtmps")
CLOCK = ClockRules(steps="delay")
"""A sender's clock does not stop; the way to us may become longer."""
WRAP_NS = (1 << 33) * 1_000_000_000 // 90_000
"""MPEG's 33-bit counter: FFmpeg unwraps it once."""


class Stream(Live):
    """Streams "video" and "audio" of one URL, on one clock; one that the URL does not have is masked.

    url         rtsp://, http(s)://, udp://, rtp://, tcp://, rtmp(s)://; user and password in it are never shown
    transport   of rtsp: tcp arrives whole or not at all, udp loses single packets
    delay_ms    the least time from capture to arrival, where it is known: media_tap off all stamps
    stall_ms    so long without anything and the connection counts as dead
    """

    def __init__(self, *, url: str, transport: Literal["tcp", "udp"] = "tcp", delay_ms: float = 0.0, stall_ms: float = 1500.0) -> None:
        scheme = urlsplit(url).scheme.lower()
        if scheme not in SCHEMES or not url.partition("://")[2]:
            raise ContractError(f"url: one of {', '.join(f'{name}://' for name in SCHEMES)} wanted, got {mask(url)!r}")
        if not (0 <= delay_ms <= 60_000 and 100 <= stall_ms <= 600_000):
            raise ContractError(f"delay_ms of 0 to 60000 and stall_ms of 100 to 600000 wanted, got {delay_ms} and {stall_ms}")
        streams = {"video": StreamRules(kind="video"), "audio": StreamRules(kind="audio")}
        policy = LinkPolicy(stall_ns=round(stall_ms * 1e6))
        super().__init__(f"stream {url}", streams, exclusive=False, policy=policy, clock=CLOCK, wrap_ns=WRAP_NS)
        self._url, self._transport, self._delay_ns = url, transport, round(delay_ms * 1e6)

    def tap(self, tap: MediaTap) -> Sequence[str]:
        self.media_tap = tap
        return list(self._wanted)

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Connection:
        from pipeline.media.network import NetworkStream

        return NetworkStream(
            self._url, self.label, wanted, now_ns, transport=self._transport, delay_ns=self._delay_ns, keep=self.media_tap is not None
        )

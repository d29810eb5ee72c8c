"""A source for tests of the runtime, small and exact: 25 pictures of 16x16, 50 blocks of sound and now and then a word.

It can be told to kill its own process, to hang, to fail or to end its streams, at an instant of the session.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from operators.errors import DeviceNotFound
from operators.packet import AudioBlock, Closed, Frame, Packet, StreamEvent, TextSpan, Watermark
from pipeline.ports import StreamSpec, Wanted

MS = 1_000_000
KINDS = {"video": "video", "audio": "audio", "text": "text"}


class Beat:
    live = False

    def __init__(
        self,
        *,
        seconds: float = 4.0,
        streams: str = "video,audio,text",
        kill_at_ms: int = -1,
        hang_at_ms: int = -1,
        fail_at_ms: int = -1,
        always: bool = False,
        marker: str = "",
        missing: bool = False,
    ) -> None:
        self._end_ms = round(seconds * 1000)
        self._streams = streams.split(",")
        self._faults = {kill_at_ms: self._kill, hang_at_ms: self._hang, fail_at_ms: self._fail}
        self._always, self._marker, self._missing = always, marker, missing

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        if self._missing:
            raise DeviceNotFound("beat", "no such device")
        return [StreamSpec(name=name, kind=KINDS[name]) for name in self._streams]  # type: ignore[arg-type]

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        for start_ms in range(0, self._end_ms, 20):
            if (fault := self._faults.get(start_ms)) is not None and self._may(from_ns, start_ms):
                fault()
            due_ns = (start_ms + 20) * MS
            if due_ns <= from_ns:
                continue
            for name in self._streams:
                if packet := self._packet(name, start_ms):
                    yield due_ns, packet
                yield due_ns, Watermark(stream=name, time_ns=(start_ms + 20) * MS)
        for name in self._streams:
            yield self._end_ms * MS, Closed(stream=name, time_ns=self._end_ms * MS)

    def end_ns(self) -> int | None:
        return self._end_ms * MS

    def close(self) -> None:
        pass

    def _packet(self, name: str, start_ms: int) -> Packet | None:
        lot = np.random.default_rng(start_ms)
        times = {"start_ns": start_ms * MS, "end_ns": (start_ms + 20) * MS}
        if name == "audio":
            sound = lot.uniform(-1, 1, (1, 320)).astype(np.float32)
            return Packet(stream=name, seq=start_ms // 20, **times, payload=AudioBlock(data=sound, rate_hz=16000))
        if name == "video" and start_ms % 40 == 0:
            picture = lot.integers(0, 256, (16, 16), dtype=np.uint8)
            return Packet(stream=name, seq=start_ms // 40, **{**times, "end_ns": (start_ms + 40) * MS}, payload=Frame(data=picture))
        if name == "text" and start_ms % 500 == 0:
            return Packet(stream=name, seq=start_ms // 500, **{**times, "end_ns": start_ms * MS}, payload=TextSpan(text=f"word {start_ms}"))
        return None

    def _may(self, from_ns: int, start_ms: int) -> bool:
        """A fault happens once (a marker file remembers each), or always; never to one that starts after it."""
        if start_ms * MS < from_ns and not self._always:
            return False
        if self._always:
            return True
        path = Path(f"{self._marker}-{start_ms}")
        if path.exists():
            return False
        path.touch()
        return True

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _hang(self) -> None:
        threading.Event().wait()

    def _fail(self) -> None:
        raise ValueError("cable eaten")

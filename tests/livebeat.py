"""A live source without a device, for tests of the runtime: 25 pictures and 50 blocks of sound a second, stamped by a clock of its own.

While the file `control` holds a word, it behaves accordingly: `gone` (cannot be opened, ends), `hang` (a call that never comes back).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from operators.errors import DeviceNotFound
from operators.packet import AudioBlock, Frame, TextSpan
from pipeline.live.captured import Captured, Now
from pipeline.live.source import Live
from pipeline.live.stream import StreamRules
from pipeline.ports import Wanted

MS = 1_000_000
EPOCH_NS = 7_000_000_000


class LiveBeat(Live):
    def __init__(self, *, control: Path, url: str = "", streams: str = "video,audio") -> None:
        rules = {name: StreamRules(kind=name, quiet_ns=50 * MS if name == "text" else None) for name in streams.split(",")}  # type: ignore[arg-type]
        super().__init__(f"beat {url}".strip(), rules)
        self._control = control

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Beating:
        if said(self._control) == "gone":
            raise DeviceNotFound("beat", "nobody at rtsp://me:hunter2@nowhere/")
        return Beating(self._control, now_ns, tuple(wanted))


class Beating:
    details: Mapping[str, str]

    def __init__(self, control: Path, now_ns: Now, streams: tuple[str, ...]) -> None:
        self.details = {
            name: detail for name, detail in (("video", "16x16"), ("audio", "16 kHz mono"), ("text", "a count")) if name in streams
        }
        self._control, self._now_ns = control, now_ns

    def read(self, stop: threading.Event) -> Iterator[Captured]:
        begun_ns, count = self._now_ns(), 0
        while not stop.wait(max(0.0, (begun_ns + 20 * MS * (count + 1) - self._now_ns()) / 1e9)):
            match said(self._control):
                case "gone":
                    return
                case "hang":
                    threading.Event().wait()
            if "audio" in self.details:
                yield self._captured("audio", count, AudioBlock(data=np.full((1, 320), 0.1, np.float32), rate_hz=16000), 20 * MS)
            if "video" in self.details and count % 2 == 0:
                yield self._captured("video", count, Frame(data=np.full((16, 16), count % 256, np.uint8)), None)
            if "text" in self.details and count % 10 == 0:
                yield Captured(stream="text", payload=TextSpan(text=str(count)), arrival_ns=self._now_ns(), length_ns=0)
            count += 1

    def _captured(self, stream: str, count: int, payload: AudioBlock | Frame, length_ns: int | None) -> Captured:
        stamp_ns = EPOCH_NS + 20 * MS * count
        return Captured(stream=stream, payload=payload, arrival_ns=self._now_ns(), device_ns=stamp_ns, length_ns=length_ns)

    def close(self) -> None:
        pass


def said(control: Path) -> str:
    return control.read_text().strip() if control.exists() else ""

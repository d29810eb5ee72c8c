"""How each source of pipeline/sources is made for its contract test: one line per class, with media made on the spot."""

from collections.abc import Callable
from pathlib import Path

import pytest
from livebeat import LiveBeat
from recordings import record_source
from tinymedia import clicks, write_media

from pipeline.live.source import Live
from pipeline.ports import Source
from pipeline.sources.camera import Camera
from pipeline.sources.faults import Faulty, StreamFaults
from pipeline.sources.file import MediaFile
from pipeline.sources.microphone import Microphone
from pipeline.sources.playlist import Playlist
from pipeline.sources.session import Recorded
from pipeline.sources.stream import Stream
from pipeline.sources.synthetic import Scene
from pipeline.sources.table import TableRows
from pipeline.sources.text_mqtt import Mqtt
from pipeline.sources.text_post import Post
from pipeline.sources.text_stdin import Stdin
from pipeline.sources.text_tail import Tail
from pipeline.sources.text_websocket import WebSocket
from pipeline.sources.webrtc import Browser

MAKERS: dict[str, Callable[[Path], Source]] = {
    "MediaFile": lambda folder: MediaFile(path=clip(folder / "clip.mkv")),
    "Playlist": lambda folder: Playlist(paths=[clip(folder / "1.mkv"), pictures(folder / "2.mkv"), clip(folder / "3.mkv")], gap_ms=130),
    "Scene": lambda _: Scene(seconds=2.5, seed=3, width=96, height=72, fps=12.5),
    "Recorded": lambda folder: recorded(folder / "clip.mkv", folder / "session"),
    "TableRows": lambda folder: TableRows(path=rows(folder / "rows.csv"), streams={"audio": "a", "imu": ["x", "y"]}, time="ms", hold_ms=10),
    "Faulty": lambda folder: Faulty(MediaFile(path=clip(folder / "clip.mkv")), TROUBLE, fault_seed=1),
}
LIVE_MAKERS: dict[str, Callable[[Path], Live]] = {
    "Browser": lambda folder: Browser(port=8703, token_file=folder / "token"),
    "Camera": lambda _: Camera(device=0),
    "Microphone": lambda _: Microphone(),
    "Stream": lambda _: Stream(url="rtsp://me:hunter2@camera.invalid/1"),
    "Stdin": lambda _: Stdin(),
    "Tail": lambda folder: Tail(path=folder / "log.txt"),
    "Post": lambda folder: Post(port=0, token_file=folder / "token"),
    "WebSocket": lambda folder: WebSocket(port=0, token_file=folder / "token"),
    "Mqtt": lambda _: Mqtt(topic="said"),
}
"""Without their devices: the contract test connects them to one that it has."""
TROUBLE = {
    "video": StreamFaults(delay_ms=30, jitter=0.6, reorder=True, drop=0.2),
    "audio": StreamFaults(delay_ms=15, jitter=0.5, drift_ppm=300, stalls=((0.3, 0.5),)),
    "text": StreamFaults(delay_ms=70, jitter=0.3),
}


def clip(path: Path) -> Path:
    return write_media(path, sound=clicks(1.1, 16000, [0.5]), cues=[(100, 350, "one"), (300, 700, "two")])


def rows(path: Path) -> Path:
    """30 rows 50 ms apart; every third has no x."""
    lines = [f"{50 * row},{row},{'' if row % 3 == 0 else row / 2},{-row}" for row in range(30)]
    path.write_text("\n".join(["ms,a,x,y", *lines]) + "\n")
    return path


def pictures(path: Path) -> Path:
    return write_media(path, stamps_ms=[0, 40, 80, 200])


def recorded(path: Path, folder: Path) -> Recorded:
    record_source(MediaFile(path=clip(path)), folder)
    return Recorded(folder=folder)


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[[str], Source]:
    return lambda name: MAKERS[name](tmp_path)


@pytest.fixture
def make_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Live]:
    """While the file `control` in tmp_path holds a word, the device behaves accordingly, see `livebeat`."""

    def make(name: str) -> Live:
        source = LIVE_MAKERS[name](tmp_path)
        monkeypatch.setattr(source, "connect", LiveBeat(control=tmp_path / "control").connect)
        return source

    return make

"""The recordings in one folder, by name: read-only, and found by listing it, so that no name leads anywhere else."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from operators.errors import SensoriumError
from operators.packet import AudioBlock, Frame
from pipeline.api.answers import LevelPoint, Recording, Span
from pipeline.api.hub import Refused
from pipeline.mask import printable
from pipeline.ports import Wanted
from pipeline.session.frames import compressed, frames, sound
from pipeline.session.layout import MANIFEST, Segment
from pipeline.session.lock import is_being_recorded
from pipeline.session.read import Session
from pipeline.session.rows import MEDIA

S = 1_000_000_000
NEAR_NS = 2 * S
"""A picture that is older than this is not what was seen."""
MOST_LEVEL_NS = 300 * S
MOST_LEVELS = 600
LEAST_LEVEL_NS = S // 20
FLOOR_DB = -120.0
MOST_WIDTH = 640
MOST_LISTED = 1000


class Near(Session):
    """A session of which only the segments around a span are read, so that a look into a long one costs no more than into a short one."""

    def __init__(self, session: Session, start_ns: int, end_ns: int) -> None:
        super().__init__(session.folder, session.manifest)
        self._lines, self._start_ns, self._end_ns = self.lines(), start_ns, end_ns

    def stream_segments(self, stream: str, suffix: str = ".arrows") -> list[Segment]:
        """Those of the span, those that are not finished, and the one before: decoding begins there."""
        found = super().stream_segments(stream, suffix)
        wanted = [place for place, segment in enumerate(found) if self._is_near(segment)]
        return found[max(0, wanted[0] - 1) : wanted[-1] + 1] if wanted else found[-1:]

    def _is_near(self, segment: Segment) -> bool:
        line = self._lines.get(str(segment.path.relative_to(self.folder)))
        return line is None or (line.end_ns >= self._start_ns and line.start_ns <= self._end_ns)


class Shelf:
    """folder: of recordings; it need not be there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Newest name last; at most MOST_LISTED of them."""
        if not self.folder.is_dir():
            return []
        found = [path.name for path in self.folder.iterdir() if not path.is_symlink() and (path / MANIFEST).is_file()]
        return sorted(found)[-MOST_LISTED:]

    def open(self, name: str) -> Session:
        """Raises Refused (404), SessionError."""
        if name not in self.names():
            raise Refused("there is no recording of that name", 404)
        return Session.open(self.folder / name)

    def about(self, name: str) -> Recording:
        """Raises Refused."""
        try:
            session = self.open(name)
        except Refused:
            raise
        except SensoriumError as error:
            problem = printable(str(error).removeprefix(f"{self.folder / name}: "))
            return Recording(name=name, state="damaged", problem=problem, bytes=_size(self.folder / name))
        manifest = session.manifest
        return Recording(
            name=name,
            problem="",
            state="recording" if is_being_recorded(session.folder) else "complete" if session.ended() is not None else "cut off",
            session=printable(manifest.session),
            created=printable(manifest.created),
            length_ns=session.end_ns(),
            model="" if manifest.model is None else f"{printable(manifest.model.name)}@{manifest.model.digest[:12]}",
            labels=session.label_names(),
            streams={stream: kind for stream in session.streams() if (kind := kind_of(session, stream))},
            bytes=_size(session.folder),
        )


def kind_of(session: Session, stream: str) -> str:
    """video, audio, text or series; empty: nothing was recorded of it."""
    for recorded in session.manifest.inputs.values():
        if recorded.stream == stream:
            return recorded.kind
    # It was attached while the session ran.
    said = next((str(row["payload"]) for row in session.stream_rows(stream) if row["kind"] == "packet"), "")
    return _of_media(session, stream) if said == MEDIA else {"frame": "video"}.get(said, said)


def _of_media(session: Session, stream: str) -> str:
    return next((str(item.packet.stream.type) for item in compressed(session, stream)), "")


def stream_of(session: Session, kind: str, stream: str | None) -> str:
    """The stream that is asked for, or the first of its kind. Raises Refused (404)."""
    found = [name for name in session.streams() if kind_of(session, name) == kind]
    if stream is not None and stream not in found:
        raise Refused(f"no {kind} of that name was recorded (there is: {', '.join(found) or 'none'})", 404)
    if not found:
        raise Refused(f"no {kind} was recorded", 404)
    return stream or found[0]


def decisions(session: Session, from_ns: int, to_ns: int | None, limit: int) -> list[dict[str, Any]]:
    """Those whose span touches [from_ns, to_ns), at most `limit`."""
    found = []
    for decision in session.decisions():
        if decision.end_ns > from_ns and (to_ns is None or decision.start_ns < to_ns):
            found.append(decision.to_json())
            if len(found) == limit:
                break
    return found


def picture(session: Session, stream: str, at_ns: int) -> tuple[int, bytes] | None:
    """(its start, JPEG) of what was seen at that time: the newest that had begun; None: nothing was. Raises Refused (404)."""
    near = Near(session, at_ns - NEAR_NS, at_ns)
    starts = [row["start_ns"] for row in near.stream_rows(stream) if row["kind"] == "packet"]
    place = bisect_right(starts, at_ns) - 1
    if place < 0 or at_ns - starts[place] > NEAR_NS:
        return None
    # Some before it, too: of what cannot be decoded the one before is shown.
    earliest = starts[max(0, place - 5)]
    shown = None
    for packet in frames(near, stream, earliest, starts[place] + 1, Wanted(max_width=MOST_WIDTH)):
        shown = packet
    if shown is None or not isinstance(shown.payload, Frame):
        raise Refused("the picture at that time is damaged", 404)
    return shown.start_ns, _jpeg(shown.payload.data)


def levels(session: Session, stream: str, from_ns: int, to_ns: int) -> list[LevelPoint]:
    """How loud it was, in at most MOST_LEVELS equal parts of the span. Raises Refused where that is longer than MOST_LEVEL_NS."""
    if not 0 < to_ns - from_ns <= MOST_LEVEL_NS:
        raise Refused(f"a span of at most {MOST_LEVEL_NS // S} s wanted (from_ns before to_ns)", 400)
    step_ns = max(LEAST_LEVEL_NS, -(-(to_ns - from_ns) // MOST_LEVELS))
    return list(_levels(sound(Near(session, from_ns, to_ns), stream, from_ns, to_ns, Wanted(channels=1)), from_ns, step_ns))


def _levels(blocks: Iterator[Any], from_ns: int, step_ns: int) -> Iterator[LevelPoint]:
    part, square, peak, samples = 0, 0.0, 0.0, 0
    for block in blocks:
        if not isinstance(block.payload, AudioBlock):
            continue
        at = max(0, block.start_ns - from_ns) // step_ns
        if at != part and samples:
            yield _level(from_ns + part * step_ns, square / samples, peak)
            square, peak, samples = 0.0, 0.0, 0
        part, data = at, block.payload.data
        square, samples = square + float(np.square(data).sum()), samples + data.size
        peak = max(peak, float(np.abs(data).max(initial=0)))
    if samples:
        yield _level(from_ns + part * step_ns, square / samples, peak)


def _level(at_ns: int, mean_square: float, peak: float) -> LevelPoint:
    rms_db = 10 * float(np.log10(max(mean_square, 1e-12)))
    return LevelPoint(at_ns=at_ns, rms_db=round(rms_db, 1), peak_db=round(max(FLOOR_DB, 20 * float(np.log10(max(peak, 1e-6)))), 1))


def texts(session: Session, stream: str, from_ns: int, to_ns: int | None, limit: int) -> list[Span]:
    """What was said in [from_ns, to_ns), at most `limit`."""
    found = []
    for packet in session.packets(stream):
        if packet.end_ns > from_ns and (to_ns is None or packet.start_ns < to_ns):
            found.append(Span(start_ns=packet.start_ns, end_ns=packet.end_ns, text=printable(getattr(packet.payload, "text", ""))))
            if len(found) == limit:
                break
    return found


def _jpeg(pixels: Any) -> bytes:  # noqa: ANN401 - uint8 (height, width) or (height, width, 3) RGB
    import cv2

    done, data = cv2.imencode(
        ".jpg", pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80]
    )
    if not done:
        raise Refused("the picture at that time cannot be shown", 500)
    return bytes(data.tobytes())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())

"""The face or the mouth of the person in the picture, cut out: found now and then, tracked and smoothed in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.face_detect import Box, choose
from operators.face_motion import Place, patch, place, shift
from operators.face_track import FaceTrack
from operators.packet import Dropped, Frame, Packet, StreamEvent
from operators.video import Picture, crop_square, gray, resize

Region = Literal["face", "mouth"]
DETECT_WIDTH = 320


class FaceCrop:
    """Frame of any size -> Frame grey (size, size): a square around the face, or around its mouth.

    model            "auto", "builtin" or the path of a .onnx file: see operators.face_detect.choose; detector_name says what it became
    detect_every_ms  time between detections, on a picture of at most 320 pixels width; in between the box follows the head's shifts
    smooth_ms        time constant of the box; see operators.face_track for this and for which face is followed
    switch_ms        unseen for so long, another face may be followed
    hold_ms          unseen for so long, packets become Dropped(no_face)
    min_score        what a network must be sure of, in [0, 1]

    Packets keep their stamps and seq. Beyond the picture's edge its border is repeated.
    """

    def __init__(
        self,
        *,
        region: Region = "mouth",
        size: int = 48,
        model: str = "auto",
        detect_every_ms: int = 300,
        smooth_ms: int = 300,
        switch_ms: int = 500,
        hold_ms: int = 1000,
        min_score: float = 0.6,
    ) -> None:
        if size < 8 or detect_every_ms < 0 or smooth_ms < 0 or not 0 <= min_score <= 1:
            raise ContractError(
                "FaceCrop wants size >= 8, detect_every_ms and smooth_ms >= 0 and min_score in [0, 1], got "
                f"size={size} detect_every_ms={detect_every_ms} smooth_ms={smooth_ms} min_score={min_score}"
            )
        self._region, self._size = region, size
        self._every_ns = detect_every_ms * 1_000_000
        self.detector_name, self._detector = choose(model, min_score=min_score)
        self._track = FaceTrack(smooth_ns=smooth_ms * 1_000_000, switch_ns=switch_ms * 1_000_000, hold_ns=hold_ms * 1_000_000)
        self._detect_ns: int | None = None
        self._place: Place | None = None
        self._patch: NDArray[np.float32] | None = None

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        yield self._packet(event) if isinstance(event, Packet) else event

    def _packet(self, packet: Packet) -> StreamEvent:
        if not isinstance(packet.payload, Frame):
            raise ContractError(f"FaceCrop wants Frame, got {packet.payload!r} on {packet.stream}")
        picture = packet.payload.data
        box = self.follow(picture, packet.start_ns)
        if box is None:
            return Dropped(stream=packet.stream, reason="no_face", start_ns=packet.start_ns)
        cut = gray(crop_square(picture, *square(box, self._region), self._size))
        return Packet(stream=packet.stream, seq=packet.seq, start_ns=packet.start_ns, end_ns=packet.end_ns, payload=Frame(data=cut))

    def follow(self, picture: Picture, start_ns: int) -> Box | None:
        """Where the face is in the next picture; None: there is none."""
        self._move(picture)
        if self._detect_ns is None or not 0 <= start_ns - self._detect_ns < self._every_ns:
            self._detect_ns = start_ns
            self._track.see(self._find(picture, self._track.found), start_ns)
        box = self._track.at(start_ns)
        self._look(picture, None if box is None else place(box))
        return box

    def _move(self, picture: Picture) -> None:
        """By as much as the face moved since the last picture."""
        if self._place is not None and self._patch is not None:
            before, self._patch = self._patch, patch(picture, self._place)
            self._track.carry(*shift(before, self._patch, self._place.cell))

    def _look(self, picture: Picture, place: Place | None) -> None:
        """What the next picture is compared with; most often it was cut out already."""
        if place != self._place:
            self._place, self._patch = place, None if place is None else patch(picture, place)

    def _find(self, picture: Picture, near: Box | None = None) -> list[Box]:
        shrink = max(1.0, picture.shape[1] / DETECT_WIDTH)
        if shrink > 1:
            picture = resize(picture, DETECT_WIDTH, max(1, round(picture.shape[0] / shrink)))
        found = self._detector.detect(picture, None if near is None else near.scaled(1 / shrink))
        return [box.scaled(shrink) for box in found]

    def snapshot(self) -> Mapping[str, Any]:
        seen = {"place": None if self._place is None else asdict(self._place), "patch": None if self._patch is None else self._patch.copy()}
        return {"track": self._track.snapshot(), "detect_ns": self._detect_ns, **seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._track.restore(state["track"])
        self._detect_ns = state["detect_ns"]
        self._place = None if state["place"] is None else Place(**state["place"])
        self._patch = None if state["patch"] is None else np.array(state["patch"], np.float32)


def square(box: Box, region: Region) -> tuple[float, float, float]:
    """(middle x, middle y, side) in pixels. Mouth: 0.7 of the face's width, at 0.78 of its height, checked on GRID speaker 1."""
    if region == "mouth":
        return box.x + 0.5 * box.w, box.y + 0.78 * box.h, 0.7 * box.w
    return box.x + 0.5 * box.w, box.y + 0.5 * box.h, 1.1 * max(box.w, box.h)

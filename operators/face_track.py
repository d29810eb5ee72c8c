"""One face, kept and smoothed over time: a pure state machine on boxes and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import exp, hypot
from typing import Any

from operators.face_detect import Box


def overlap(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a.w * a.h + b.w * b.h - width * height)


class FaceTrack:
    """Follows the largest face at first, and then the same one for as long as it is found.

    found     the newest detection of this face; box: what is shown, drawn towards it a little more at every packet
    A face that moved by less than its own width between two detections is the same. Unseen for switch_ns: the largest of the others.
    Unseen for hold_ns: no face. The approach is exponential in time with smooth_ns, faster the further away the face is
    (the idea of the 1-euro filter, Casiez et al. 2012): a still face does not shiver, one that moves is not left behind.
    """

    def __init__(self, *, smooth_ns: int, switch_ns: int, hold_ns: int) -> None:
        self._smooth_ns, self._switch_ns, self._hold_ns = smooth_ns, switch_ns, hold_ns
        self._found: Box | None = None
        self._box: Box | None = None
        self._seen_ns = 0
        self._moved_ns = 0

    def see(self, boxes: Sequence[Box], now_ns: int) -> None:
        """What a detector found in the picture of now_ns."""
        same = self._same(boxes)
        if same is None and (self._found is None or now_ns - self._seen_ns >= self._switch_ns):
            same = max(boxes, key=lambda box: box.w * box.h, default=None)
            self._box = None if same else self._box
        if same is not None:
            self._found, self._seen_ns = same, now_ns

    @property
    def found(self) -> Box | None:
        """Where the face was found last, with what it moved since; None: there is none to follow."""
        return self._found

    @property
    def box(self) -> Box | None:
        """As it was shown last."""
        return self._box

    def carry(self, right: float, down: float) -> None:
        """The face moved by so many pixels since the last packet."""
        if self._box is not None and self._found is not None:
            self._box, self._found = _moved(self._box, right, down), _moved(self._found, right, down)

    def at(self, now_ns: int) -> Box | None:
        """The smoothed box; None: no face for hold_ns."""
        if self._found is None or now_ns - self._seen_ns > self._hold_ns:
            self._found = self._box = None
            return None
        if self._box is None or overlap(self._box, self._found) < 0.2:
            self._box = self._found
        else:
            self._box = self._towards(self._box, self._found, max(0, now_ns - self._moved_ns))
        self._moved_ns = now_ns
        return self._box

    def _same(self, boxes: Sequence[Box]) -> Box | None:
        old = self._found
        if old is None:
            return None
        near = [box for box in boxes if overlap(old, box) > 0.1 or (_apart(old, box) < old.w and 0.5 < box.w / old.w < 2)]
        return max(near, key=lambda box: overlap(old, box) - _apart(old, box) / old.w, default=None)

    def _towards(self, box: Box, goal: Box, elapsed_ns: int) -> Box:
        far = _apart(box, goal) / goal.w
        part = 1 - exp(-elapsed_ns * (1 + 10 * far) / self._smooth_ns) if self._smooth_ns else 1.0
        x, y, w, h = (a + part * (b - a) for a, b in zip(_sides(box), _sides(goal), strict=True))
        return Box(x=x, y=y, w=w, h=h, score=goal.score)

    def snapshot(self) -> dict[str, Any]:
        boxes = {"found": self._found, "box": self._box}
        plain = {name: None if box is None else asdict(box) for name, box in boxes.items()}
        return {**plain, "seen_ns": self._seen_ns, "moved_ns": self._moved_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._found, self._box = (None if state[name] is None else Box(**state[name]) for name in ("found", "box"))
        self._seen_ns, self._moved_ns = state["seen_ns"], state["moved_ns"]


def _moved(box: Box, right: float, down: float) -> Box:
    return replace(box, x=box.x + right, y=box.y + down)


def _sides(box: Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.w, box.h


def _apart(a: Box, b: Box) -> float:
    """Pixels between the middles."""
    return hypot(a.x + a.w / 2 - b.x - b.w / 2, a.y + a.h / 2 - b.y - b.h / 2)

"""The line under a cloud of points: how a clock is read off delays that are never negative and have a long tail.

 .    .  :    .       .  .     :    points (x, y), one per bucket of time
 .:  . .  .   :  :  . .   . :  .
 :____.____:____.___________:__.    the edge of the lower convex hull over the mean abscissa; it minimises the summed height of all
                                    points above it
Source: Zhang, Liu, Xia, "Clock synchronization algorithms for network measurements", INFOCOM 2002.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

Point = tuple[int, int]
"""(device_ns, arrival_ns - device_ns) of a bucket's least delayed packet."""

CRYSTAL = 100e-6
"""How far the rate of an ordinary crystal is off: as far as the scatter leaves a slope open, it is drawn towards what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """y = height + (x - at) * slope lies below all points it was drawn under. middle, scatter: of the points' heights above it, the
    median and the median distance from that median."""

    at: int
    height: float
    slope: float = 0.0
    middle: float = 0.0
    scatter: float = 0.0

    def above(self, point: Point) -> float:
        return point[1] - self.y(point[0])

    def y(self, x: int) -> float:
        return self.height + (x - self.at) * self.slope


def support_line(points: Sequence[Point], max_slope: float, expected: float = 0.0, doubt: float = CRYSTAL) -> Line:
    """The line below all points. Its slope is that of the hull's edge over the mean abscissa, then of a straight fit to the points near it.

    The hull's edge rests on two points, but nothing that queues can do bends it; the fit of those that lie no higher above it than is
    usual uses them all, so it is some times finer.

    points: one per bucket, in order of device_ns, at least one. The slope is drawn towards `expected`, known to `doubt`, as far as the
    scatter leaves it open. Fewer than 10 carry no slope: a line through two early packets says nothing of a rate.
    """
    slope = expected
    if len(points) >= 10:
        found = _middle_slope(lower_hull(points), sum(x for x, _ in points) / len(points))
        for _ in range(3):
            found = _near_slope(points, _under(points, found))
        # The standard error of a fitted slope, for points that are spread evenly; the scatter is a median distance.
        error = 1.4826 * _under(points, found).scatter * (12 / len(points)) ** 0.5 / (points[-1][0] - points[0][0])
        slope = expected + (found - expected) * doubt**2 / (doubt**2 + error**2)
    return _under(points, min(max_slope, max(-max_slope, slope)))


def lower_hull(points: Iterable[Point]) -> list[Point]:
    """The lower convex hull of points in order of x (Andrew's monotone chain)."""
    hull: list[Point] = []
    for x, y in points:
        while len(hull) >= 2 and (hull[-1][1] - hull[-2][1]) * (x - hull[-2][0]) >= (y - hull[-2][1]) * (hull[-1][0] - hull[-2][0]):
            hull.pop()
        hull.append((x, y))
    return hull


def _middle_slope(hull: Sequence[Point], middle: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(hull):
        if x1 >= middle:
            return (y1 - y0) / (x1 - x0)
    return 0.0


def _near_slope(points: Sequence[Point], line: Line) -> float:
    """Least squares through the points whose height above the line is usual."""
    most = line.middle + 3 * 1.4826 * line.scatter
    near = [(x, y) for x, y in points if line.above((x, y)) <= most]
    x0, y0 = sum(x for x, _ in near) / len(near), sum(y for _, y in near) / len(near)
    square = sum((x - x0) ** 2 for x, _ in near)
    return sum((x - x0) * (y - y0) for x, y in near) / square if square else line.slope


def _under(points: Sequence[Point], slope: float) -> Line:
    """The line of that slope that touches the points from below."""
    x0 = points[0][0]
    heights = [y - (x - x0) * slope for x, y in points]
    low = min(heights)
    x, y = points[heights.index(low)]
    middle = median(heights)
    scatter = median(abs(height - middle) for height in heights)
    return Line(at=x, height=float(y), slope=slope, middle=middle - low, scatter=scatter)

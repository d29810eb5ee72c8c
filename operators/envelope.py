"""The line under a cloud of points: how a clock is read off delays that are never negative and have a long tail.

 .    .  :    .       .  .     :    points (x, y), one per bucket of time
 .:  . .  .   :  :  . .   . :  .
 :____.____:____.___________:__.    the edge of the lower convex hull over the mean abscissa; it minimises the summed height of all
                                    points above it
Source: Zhang, Liu, Xia, "Clock synchronization algorithms for network measurements", INFOCOM 2002.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

Point = tuple[int, int]
"""(device_ns, arrival_ns - device_ns) of a bucket's least delayed packet."""

PRIOR = 100e-6
"""How far the rate of an ordinary crystal is off: a slope that the scatter does not support beyond this is drawn towards 0."""


def support_line(points: Sequence[Point], max_slope: float) -> tuple[tuple[int, float, float], float]:
    """((device_ns, height there, slope), spread): the line below all points, and the median height of the points above it in ns.

    points: one per bucket, in order of device_ns. Fewer than 10 carry no slope: a line through two early packets says nothing of a rate.
    The slope is that of the hull's edge over the mean abscissa, drawn towards 0 by PRIOR as far as the scatter leaves it open.
    """
    slope = 0.0
    if len(points) >= 10:
        slope = min(max_slope, max(-max_slope, _middle_slope(lower_hull(points), sum(x for x, _ in points) / len(points))))
        span_ns = points[-1][0] - points[0][0]
        error = _spread(points, slope)[1] / span_ns
        slope *= PRIOR**2 / (PRIOR**2 + error**2)
    lowest, spread = _spread(points, slope)
    return (lowest[0], float(lowest[1]), slope), spread


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


def _spread(points: Iterable[Point], slope: float) -> tuple[Point, float]:
    """The point that a line of that slope touches from below, and the median height of all points above that line."""
    points = list(points)
    x0 = points[0][0]
    heights = [y - (x - x0) * slope for x, y in points]
    low = min(heights)
    return points[heights.index(low)], median(heights) - low

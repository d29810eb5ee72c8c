"""Reading a file a little ahead of its time, many events in one go: a processor that wakes for one has forgotten how by the next."""

from __future__ import annotations

from collections.abc import Iterator

from operators.packet import StreamEvent

SPAN_NS = 200_000_000
"""Of the media: by then decoding is nearly as cheap as at full speed, and reading it takes less time than there is until the next event."""

Timed = tuple[int, StreamEvent]


def in_bursts(events: Iterator[Timed], span_ns: int = SPAN_NS) -> Iterator[Timed]:
    """The same events, of which span_ns are read at a time; what reading raises is raised in its place, behind what was read before.

    For events that are there already, whenever they are due: a live source would be waited for.
    """
    while True:
        burst, failure = _read(events, span_ns)
        yield from burst
        if failure is not None:
            raise failure
        if not burst:
            return


def _read(events: Iterator[Timed], span_ns: int) -> tuple[list[Timed], Exception | None]:
    burst: list[Timed] = []
    try:
        for timed in events:
            burst.append(timed)
            if timed[0] >= burst[0][0] + span_ns:
                break
    except Exception as error:  # noqa: BLE001 - raised again by who called, after what came before it
        return burst, error
    return burst, None

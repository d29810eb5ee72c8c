"""What a run is told of its recording: a disk that fails stops everything that is recorded on it, which is one event and not ten."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_STOPPED = re.compile(r"recording of (?P<what>.+) stopped: (?P<why>.+); decisions go on")
_GOES_ON = re.compile(r"recording of (?P<what>.+) goes on")
_OF_ONE = "Matroska"
"""What concerns one stream only is told of that stream."""


class Telling:
    """Lines in, lines out. Of those that tell of the same cause, the first; of those that tell that it is over, the first."""

    def __init__(self) -> None:
        self._why: str | None = None
        self._own: set[str] = set()

    def lines(self, said: Iterable[str]) -> Iterator[str]:
        for line in said:
            if (stopped := _STOPPED.fullmatch(line)) is not None:
                yield from self._stopped(line, stopped["what"], stopped["why"])
            elif (goes_on := _GOES_ON.fullmatch(line)) is not None:
                yield from self._goes_on(line, goes_on["what"])
            else:
                yield line

    def _stopped(self, line: str, what: str, why: str) -> Iterator[str]:
        if _OF_ONE in why:
            self._own.add(what)
            yield line
        elif why != self._why:
            self._why = why
            yield f"recording stopped: {why}; decisions go on"

    def _goes_on(self, line: str, what: str) -> Iterator[str]:
        if what in self._own:
            self._own.discard(what)
            yield line
        elif self._why is not None:
            self._why = None
            yield "recording goes on"

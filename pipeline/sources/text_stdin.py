"""Lines typed into the terminal, or piped into the command, as text.

sources: {typed: {use: "pipeline.sources.text_stdin:Stdin"}}
inputs: {text: typed.text}
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator, Mapping

from operators.errors import DeviceNotFound
from pipeline.live.captured import AtItsEnd, Now
from pipeline.live.text import MAX_BYTES, POLL_S, STREAM, Lines, TextFeed, TextItem
from pipeline.ports import Wanted

STDIN = "SENSORIUM_STDIN"
"""Where the standard input of the command that a person started is: its source runs in a process of its own."""


class Stdin(TextFeed):
    """max_bytes: longer lines are dropped and counted. At the end of the input the stream closes."""

    def __init__(self, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__("stdin", max_bytes=max_bytes, exclusive=True)

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> _Reading:
        path = os.environ.get(STDIN, "/dev/stdin")
        try:
            # Not to block until there is a writer; a terminal must not become ours to be stopped by.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceNotFound(self.label, f"the standard input cannot be opened ({error.strerror})") from None
        return _Reading(descriptor, Lines(now_ns, self.max_bytes))


class _Reading:
    details: Mapping[str, str]

    def __init__(self, descriptor: int, lines: Lines) -> None:
        self._descriptor, self._lines = descriptor, lines
        self.details = {STREAM: "terminal" if os.isatty(descriptor) else "pipe or file"}

    def read(self, stop: threading.Event) -> Iterator[TextItem]:
        while not stop.is_set():
            ready, _, _ = select.select([self._descriptor], [], [], POLL_S)
            if not ready:
                continue
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                continue
            if not data:
                yield from self._lines.end()
                raise AtItsEnd("stdin", "its input ended")
            yield from self._lines.feed(data)

    def close(self) -> None:
        os.close(self._descriptor)

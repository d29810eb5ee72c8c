"""The two pipes to the supervisor: JSON lines in on stdin, out on stdout."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, BinaryIO

from operators.errors import ContractError

MAX_LINE = 4 << 20
MAX_UNSENT = 1 << 20
BEAT_S = 0.5


class Link:
    """start() in the event loop; then messages() until the supervisor is gone, and send()."""

    def __init__(self, lines_in: BinaryIO, lines_out: BinaryIO) -> None:
        self._in, self._out = lines_in, lines_out
        self._writer: asyncio.WriteTransport | None = None
        self._reader = asyncio.StreamReader(limit=MAX_LINE)
        self.unsent = 0
        self.unread = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), self._in)
        self._writer, _ = await loop.connect_write_pipe(asyncio.Protocol, self._out)

    async def message(self) -> dict[str, Any] | None:
        """The next one; None: the supervisor is gone. A line that is no message is counted and passed over."""
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return None
            except asyncio.LimitOverrunError as error:
                self.unread += 1
                await self._reader.readexactly(error.consumed)
                continue
            if (message := parsed(line)) is not None:
                return message
            self.unread += 1

    def send(self, message: dict[str, Any]) -> bool:
        """Never waits. False: the supervisor does not read, or is gone; the message is dropped and counted."""
        writer = self._writer
        if writer is None or writer.is_closing() or writer.get_write_buffer_size() > MAX_UNSENT:
            self.unsent += 1
            return False
        writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        return True

    async def beat(self) -> None:
        """For ever: says that this process lives. The event loop itself says it, so a hanging one falls silent."""
        while True:
            self.send({"type": "beat"})
            await asyncio.sleep(BEAT_S)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def parsed(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def read_hello(lines_in: BinaryIO) -> dict[str, Any]:
    """The first line, read byte by byte, so that nothing of what follows is taken away from the event loop. Raises ContractError."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < MAX_LINE:
        byte = os.read(lines_in.fileno(), 1)
        if not byte:
            break
        line += byte
    hello = parsed(bytes(line))
    if hello is None or not isinstance(hello.get("service"), dict) or not isinstance(hello.get("run_dir"), str):
        raise ContractError("the API is started by the daemon (sensorium run --daemon), which tells it on stdin what to do")
    return hello

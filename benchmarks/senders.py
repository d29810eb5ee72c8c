"""Programs that send to a benchmark, and free ports for them."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def sender(words: list[str], errors: Path) -> Iterator[subprocess.Popen[str]]:
    """It has said `ready`. In the end it is killed, if it has not ended."""
    with errors.open("wb") as file:
        process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit(f"{' '.join(words)} does not send:\n{errors.read_text()[-2000:]}")
        yield process
    finally:
        process.kill()
        process.wait()


def last_words(process: subprocess.Popen[str]) -> str:
    """Tells it to end by closing its stdin; gives what it says then."""
    return process.communicate()[0].strip()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

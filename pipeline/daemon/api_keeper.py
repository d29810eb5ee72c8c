"""The API's process and its successors: told everything, heard, and started again when it dies or falls silent."""

from __future__ import annotations

import queue
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.clock import Clock
from pipeline.runtime.child_process import ChildProcess
from pipeline.runtime.job import line
from pipeline.runtime.supervise import Child, RestartPolicy

SECOND = 1_000_000_000
API = RestartPolicy(first_ns=SECOND // 5, failures=None, silent_ns=10 * SECOND, opening_ns=30 * SECOND)
MODULE = "pipeline.api.main"
CANNOT_LISTEN = 2
"""The exit code of one that was told to listen where it cannot or may not: at the first start nobody can mend that by trying again."""


class ApiKeeper:
    """hello: the first line for every start. again: what a new one is to know. address: of the one that runs; empty: none does.
    certificate: the file of what it shows under TLS.

    wrong: why no API can be had with these settings; then nothing is started again.
    """

    def __init__(
        self,
        hello: dict[str, Any],
        folder: Path,
        log: Path,
        clock: Clock,
        rng: random.Random,
        again: Callable[[], Iterable[dict[str, Any]]],
        module: str = MODULE,
    ) -> None:
        self._module = module
        self._hello, self._folder, self._log, self._clock, self._again = hello, folder, log, clock, again
        self._child = Child("api", API, rng, clock.now_ns())
        self._process: ChildProcess | None = None
        self.address = ""
        self.certificate = ""
        self.wrong = ""
        self._listened = False
        self._side = ThreadPoolExecutor(1)
        self._ending: Future[int] | None = None

    def start(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        again = list(self._again())
        # It serves nobody before it knows so much: whoever goes on from the last decision it has must not be given older ones.
        self._process = ChildProcess(self._module, line({**self._hello, "again": len(again)}), self._folder, self._log)
        for message in again:
            self.tell(message)

    def tell(self, message: dict[str, Any]) -> None:
        """Never waits."""
        if self._process is not None:
            self._process.post(line(message))

    def asked(self) -> Iterator[dict[str, Any]]:
        """The lines of what it asks for, since the last call."""
        while self._process is not None:
            try:
                said = self._process.next_line(0)
            except queue.Empty:
                break
            if said is None:
                self._end(patience_s=0.2)
                break
            self._child.beat(self._clock.now_ns())
            if said.get("type") == "ready":
                self._ready(said)
            elif said.get("type") == "ask":
                yield said
        self._look_after()

    @property
    def restarts(self) -> int:
        return self._child.restarts

    def close(self) -> None:
        if self._process is not None:
            self._process.post(line({"type": "close"}))
            self._end(patience_s=1.5)
        self._side.shutdown(wait=True)

    def _ready(self, said: dict[str, Any]) -> None:
        self.address, self.certificate = str(said.get("address", "")), str(said.get("certificate", ""))
        self._listened = True
        # Whoever has its page open finds it again where it was, also where any port was good enough at first.
        host, _, port = self.address.rpartition(":")
        if host and port.isdigit():
            listen = self._hello["service"]["listen"].rpartition(":")[0]
            self._hello = {**self._hello, "service": {**self._hello["service"], "listen": f"{listen}:{port}"}}
        self._child.happens("opened", self._clock.now_ns())
        self._child.happens("went", self._clock.now_ns())

    def _end(self, patience_s: float) -> None:
        """Beside the loop that passes decisions on: every process of this machine is looked at for what it may have left."""
        if self._process is not None:
            self._ending = self._side.submit(self._process.end, patience_s)
        self._process, self.address = None, ""

    def _ended(self, code: int) -> None:
        if code == CANNOT_LISTEN and not self._listened:  # else it could once: whoever has its port now may go again
            self.wrong = _last_line(self._log)
            self._child.happens("stop", self._clock.now_ns())
        else:
            self._child.happens("failed", self._clock.now_ns(), "its process died")

    def _look_after(self) -> None:
        if self._ending is not None:
            if not self._ending.done():
                return  # the next one waits for that
            code, self._ending = self._ending.result(), None
            self._ended(code)
        for order in self._child.tick(self._clock.now_ns()):
            if order == "kill":
                self._end(patience_s=0.0)
            elif order == "start":
                self.start()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "the API could not be started"

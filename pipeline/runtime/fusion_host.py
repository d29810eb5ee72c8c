"""Stand-in until the shared scheduler is merged: a thread a seat."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.clock import Clock
from pipeline.runtime.fusion import FusionLoop
from pipeline.runtime.parts import RunPlan
from pipeline.runtime.wires import Wires


class FusionHost:
    def __init__(self, clock: Clock, stop: Callable[[], bool]) -> None:
        self._clock, self._stop = clock, stop
        self._loops: dict[str, FusionLoop] = {}
        self._ending: dict[str, threading.Event] = {}
        self._gone: dict[str, threading.Event] = {}

    def open(self, seat: str, plan: RunPlan, wires: Wires, generation: int) -> dict[str, Any]:
        ending = self._ending[seat] = threading.Event()
        self._gone[seat] = threading.Event()
        self._loops[seat] = FusionLoop(plan, wires, generation, self._clock, lambda: ending.is_set() or self._stop())
        return self._loops[seat].open()

    def run(self, seat: str, epoch_ns: int, decided: int, resumed: bool) -> None:
        try:
            self._loops[seat].run(epoch_ns, decided, resumed)
        finally:
            self._loops.pop(seat).close()
            self._gone[seat].set()

    def lose(self, seat: str, names: Sequence[str]) -> None:
        if seat in self._loops:
            self._loops[seat].lose(names)

    def vacate(self, seat: str, names: Sequence[str]) -> None:
        if seat in self._loops:
            self._loops[seat].vacate(names)

    def end(self, seat: str) -> None:
        if seat in self._loops:
            self._ending[seat].set()
            self._gone[seat].wait()

    def counts(self) -> dict[str, Any]:
        return {}

"""CPU of a process and all its descendants, by sampling: what a whole run costs, Ray's own processes included."""

from __future__ import annotations

import psutil


class TreeCpu:
    """Call sample() a few times a second. A process that ended counts with what it had at its last sample."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._seen: dict[tuple[int, float], float] = {}
        self._names: dict[tuple[int, float], str] = {}

    def sample(self) -> float:
        """Seconds of user and system time since the processes began."""
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            tree = []
        for process in tree:
            try:
                key, times = (process.pid, process.create_time()), process.cpu_times()
                self._names[key] = self._names.get(key) or process.name()
            except psutil.Error:
                continue
            self._seen[key] = times.user + times.system
        return sum(self._seen.values())

    def by_name(self) -> dict[str, float]:
        """The same by the process's name, at the last sample."""
        found: dict[str, float] = {}
        for key, seconds in self._seen.items():
            found[self._names[key]] = found.get(self._names[key], 0.0) + seconds
        return found

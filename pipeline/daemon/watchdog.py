"""Tells systemd that we are ready, and that we live: the datagrams of sd_notify(3), for a unit with Type=notify and WatchdogSec."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

from pipeline.clock import Clock


class Watchdog:
    """address: of systemd's socket; empty: nobody listens. every_ns: how often it wants to hear; None: never."""

    def __init__(self, address: str, every_ns: int | None, clock: Clock) -> None:
        self._address, self._every_ns, self._clock = address, every_ns, clock
        self._due_ns = clock.now_ns()
        self._ready = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], clock: Clock) -> Watchdog:
        """NOTIFY_SOCKET and WATCHDOG_USEC; half of the time that systemd waits."""
        wait = environment.get("WATCHDOG_USEC", "")
        return cls(environment.get("NOTIFY_SOCKET", ""), int(wait) * 1000 // 2 if wait.isdigit() and int(wait) else None, clock)

    def beat(self, *, ready: bool) -> None:
        """Called again and again by the loop that must not stand still."""
        if ready and not self._ready:
            self._ready = self._send("READY=1")
        now_ns = self._clock.now_ns()
        if self._every_ns is not None and now_ns >= self._due_ns:
            self._due_ns = now_ns + self._every_ns
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> bool:
        """Never waits. False: nobody heard it: systemd is restarted, too, or is behind."""
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            if self._address:
                out.sendto(text.encode(), name)
            return True
        return False

"""Reads a session's decisions from the API's stream for ever, as a page does: from the last id it knows, whatever happens to the API."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from pipeline.api.client import ApiError, Client


class Follower:
    """In a thread of its own. api: where it is now. ids: of the decisions, in the order they came."""

    def __init__(self, api: Callable[[], Client], session: str) -> None:
        self._api, self._session = api, session
        self.ids: list[str] = []
        self.connections = 0
        self.gone = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def twice(self) -> list[str]:
        return [one for one, count in Counter(self.ids).items() if count > 1]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(15)

    def _follow(self) -> None:
        while not self._stop.is_set() and not self.gone:
            try:
                for kind, value in self._events():
                    if kind == "id":
                        self.ids.append(value)
                    elif (kind, value) == ("event", "gone"):
                        self.gone = True
                    if self._stop.is_set():
                        return
            except (OSError, http.client.HTTPException, ApiError, ValueError):
                self._stop.wait(0.1)  # it is being started again

    def _events(self) -> Iterator[tuple[str, str]]:
        api = self._api()
        to = urlsplit(api.address)
        connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=3)
        headers = {"Authorization": f"Bearer {api.token}", **({"Last-Event-ID": self.ids[-1]} if self.ids else {})}
        try:
            connection.request("GET", f"/api/sessions/{self._session}/decisions/stream", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise OSError(answer.status)
            self.connections += 1
            while line := answer.fp.readline():
                kind, _, value = line.decode().strip().partition(": ")
                yield kind, value
        finally:
            connection.close()

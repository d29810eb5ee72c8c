"""A small client of the API for the commands: it finds the daemon by its run directory, and shows the token.

    api = Client.of(run_dir)          reads RUN_DIR/api.json: {"address": "http://127.0.0.1:8700", "certificate": ""}
    api.sessions(); api.stop("desk"); api.logs(lines=100)

Every failure is an ApiError (or NoApi) with one line.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from operators.errors import SensoriumError
from pipeline.api.codes import new_code
from pipeline.clock import wall_ns
from pipeline.live.token import read_token, token_path

TIMEOUT_S = 60.0
MOST_ANSWER = 64 << 20


class ApiError(SensoriumError):
    """The daemon refuses; its text is the daemon's line. status: HTTP's."""

    def __init__(self, line: str, status: int = 0) -> None:
        self.status = status
        super().__init__(line)


class NoApi(ApiError):
    """It cannot be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """address: its URL. token: the secret. certificate: under TLS, the file of the very certificate that it must show."""

    address: str
    token: str
    certificate: str = ""
    run_dir: Path | None = None
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(cls, run_dir: Path) -> Client:
        """Raises NoApi, SourceError (the token's file)."""
        try:
            values = json.loads((run_dir / "api.json").read_text("utf-8"))
            address, certificate = str(values["address"]), str(values.get("certificate", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise NoApi("the daemon's API is not ready; see `sensorium logs`, or try again") from None
        return cls(address=address, token=read_token("token", token_path()), certificate=certificate, run_dir=run_dir)

    # -- what is asked

    def service(self) -> dict[str, Any]:
        """As GET /api/service."""
        return dict(self._get("/api/service"))

    def sessions(self) -> list[dict[str, Any]]:
        """As GET /api/sessions."""
        return list(self._get("/api/sessions"))

    def session(self, name: str) -> dict[str, Any]:
        return dict(self._get(_session(name)))

    def start(self, config: str, *, session: str | None = None, record: bool = False) -> str:
        """The line of what was done, as that of the following."""
        return self._done("POST", "/api/sessions", {"config": config, "session": session, "record": record})

    def stop(self, name: str) -> str:
        return self._done("DELETE", _session(name))

    def record(self, name: str, *, on: bool) -> str:
        return self._done("POST", f"{_session(name)}/record", {"on": on})

    def detach(self, name: str, sources: Sequence[str]) -> str:
        return self._done("POST", f"{_session(name)}/detach", {"sources": list(sources)})

    def attach(self, name: str, preset: str) -> str:
        return self._done("POST", f"{_session(name)}/attach", {"preset": preset})

    def say(self, name: str, text: str, source: str | None = None) -> str:
        return self._done("POST", f"{_session(name)}/text", {"text": text, "source": source})

    def logs(self, *, session: str | None = None, lines: int = 200) -> list[dict[str, Any]]:
        """The newest log lines, oldest first: {utc, level, where, line, ...}; `pipeline.logs.as_text` makes them fit for people."""
        asked = urlencode({"lines": lines, **({} if session is None else {"session": session})})
        return list(self._get(f"/api/logs?{asked}")["lines"])

    def one_time_address(self) -> str:
        """An address that lets one browser in, once, within ten minutes. Made in the run directory: only its user can."""
        if self.run_dir is None:
            raise NoApi("a one-time address wants the daemon's run directory")
        return f"{self.address}/enter?code={new_code(self.run_dir, wall_ns())}"

    # -- how

    def _get(self, path: str) -> Any:  # noqa: ANN401 - plain values
        return self._ask("GET", path)

    def _done(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> str:
        return str(self._ask(method, path, values)["done"])

    def _ask(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - plain values
        body = None if values is None else json.dumps({key: value for key, value in values.items() if value is not None})
        headers = {"Authorization": f"Bearer {self.token}", **({} if body is None else {"Content-Type": "application/json"})}
        connection = self._connection()
        try:
            connection.connect()
            self._check_certificate(connection)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            status, said = answer.status, answer.read(MOST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise NoApi(f"the daemon's API at {self.address} does not answer ({why}); see `sensorium logs`, or try again") from None
        finally:
            connection.close()
        return _values(status, said)

    def _connection(self) -> http.client.HTTPConnection:
        to = urlsplit(self.address)
        host, port = to.hostname or "", to.port
        if to.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        # The very certificate is compared below, which is more than a chain and a name would tell: it is ours, on this machine.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=context)

    def _check_certificate(self, connection: http.client.HTTPConnection) -> None:
        """Before anything is said. Raises ApiError."""
        if not isinstance(connection, http.client.HTTPSConnection):
            return
        shown = connection.sock.getpeercert(binary_form=True)
        if shown is None or hashlib.sha256(shown).digest() != hashlib.sha256(_first_certificate(self.certificate)).digest():
            raise ApiError(f"what answers at {self.address} does not show the certificate {self.certificate}: the token was not sent")


def _first_certificate(path: str) -> bytes:
    """As DER. Raises ApiError."""
    try:
        text = Path(path).read_text("ascii")
        begin, end = ssl.PEM_HEADER, ssl.PEM_FOOTER
        return ssl.PEM_cert_to_DER_cert(begin + text.split(begin, 1)[1].split(end, 1)[0] + end)
    except (OSError, ValueError, IndexError):
        raise ApiError(f"the daemon's certificate {path} cannot be read") from None


def _session(name: str) -> str:
    return f"/api/sessions/{quote(name, safe='')}"


def _values(status: int, said: bytes) -> Any:  # noqa: ANN401 - plain values
    try:
        values = json.loads(said) if said else {}
    except ValueError:
        raise ApiError(f"the daemon's API answers with {status} and no JSON", status) from None
    if status >= 400:
        line = values.get("error") if isinstance(values, dict) else None
        raise ApiError(str(line or f"the daemon's API answers with {status}"), status)
    return values

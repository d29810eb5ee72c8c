"""Texts that are sent by HTTP POST, one a request.

    sources: {notes: {use: "pipeline.sources.text_post:Post", port: 8701}}
    inputs: {text: notes.text}

    curl -H "Authorization: Bearer $(cat ~/.local/state/sensorium/token)" --data 'hello' http://127.0.0.1:8701/text

204: taken. 400: not UTF-8. 401: no token or a wrong one. 404, 405: not POST /text. 411, 413: without its length, too long.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from operators.errors import SourceError
from pipeline.live.captured import Lost, Now
from pipeline.live.loopback import LOOPBACK, Answers, LoopbackServer, checked_port
from pipeline.live.text import MAX_BYTES, BoxConnection, TextBox, TextFeed
from pipeline.live.token import bearer, is_token, read_token, token_path
from pipeline.ports import Wanted


class Post(TextFeed):
    """port: of 127.0.0.1; 0: any that is free, which `doors` tells. token_file: default ~/.local/state/sensorium/token.

    max_bytes: longer texts are refused and counted.
    """

    def __init__(self, *, port: int, token_file: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(f"http port {port or 'any'}", max_bytes=max_bytes, exclusive=True)
        self._port, self._token_file = checked_port(port), token_file or token_path()
        self._serving: _Serving | None = None

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> _Serving:
        token = read_token(self.label, self._token_file)
        try:
            self._serving = _Serving(self._port, token, TextBox(now_ns, self.max_bytes), self.max_bytes)
        except OSError as error:
            raise SourceError(self.label, f"{LOOPBACK}:{self._port} cannot be listened on ({error.strerror})") from None
        return self._serving

    def doors(self) -> Mapping[str, str]:
        """Where it takes texts just now: nowhere before it is connected."""
        return {"text": self._serving.address} if self._serving is not None and self._serving.alive() else {}


class _Serving(BoxConnection):
    def __init__(self, port: int, token: str, box: TextBox, max_bytes: int) -> None:
        class Handler(_Handler):
            pass

        Handler.box, Handler.token, Handler.max_bytes = box, token, max_bytes
        self._server = LoopbackServer(port, Handler)
        self.address = f"http://{LOOPBACK}:{self._server.port}/text"
        super().__init__(box, f"POST {self.address}")

    def alive(self) -> bool:
        return self._server.alive()

    def close(self) -> None:
        self._server.close()


class _Handler(Answers):
    box: TextBox
    token: str
    max_bytes: int

    def do_POST(self) -> None:
        self.close_connection = True  # what was refused has not been read
        if not is_token(bearer(self.headers.get("Authorization")), self.token):
            self.box.happened("refused")
            self.answer(HTTPStatus.UNAUTHORIZED, "Authorization: Bearer TOKEN wanted\n")
        elif self.path != "/text":
            self.answer(HTTPStatus.NOT_FOUND, "POST /text wanted\n")
        elif (length := self.length()) is None:
            self.answer(HTTPStatus.LENGTH_REQUIRED, "Content-Length wanted\n")
        elif length > self.max_bytes:
            self.box.lost("oversize")
            self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {self.max_bytes} bytes wanted\n")
        else:
            self._take(self.rfile.read(length), length)

    def _take(self, data: bytes, length: int) -> None:
        if len(data) < length:
            self.box.lost("cut_short")
            return
        if isinstance(self.box.put(data), Lost):
            self.answer(HTTPStatus.BAD_REQUEST, "UTF-8 wanted\n")
        else:
            self.close_connection = False
            self.answer(HTTPStatus.NO_CONTENT, "")

    def _refuse(self) -> None:
        self.close_connection = True
        self.answer(HTTPStatus.METHOD_NOT_ALLOWED, "POST /text wanted\n")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_OPTIONS = _refuse

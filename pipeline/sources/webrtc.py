"""Camera, microphone and typed text of a browser on this machine: one click on a page.

    sources: {me: {use: "pipeline.sources.webrtc:Browser"}}
    inputs: {video: me.video, audio: me.audio, text: me.text}

The page is http://127.0.0.1:8703/?token=TOKEN; ~/.local/state/sensorium/browser-8703.html, which only you can read, leads to it.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from operators.errors import DeviceNotFound, SourceError
from pipeline.live.captured import Connection, Now
from pipeline.live.link import LinkPolicy
from pipeline.live.loopback import LOOPBACK, Answers, LoopbackServer, checked_port
from pipeline.live.source import Live
from pipeline.live.stream import StreamRules
from pipeline.live.text import MAX_BYTES, QUIET_NS
from pipeline.live.token import bearer, is_token, read_token, token_path
from pipeline.ports import Wanted

if TYPE_CHECKING:
    from pipeline.media.webrtc import Loop, Peer

PAGE = Path(__file__).parent.parent / "media" / "webrtc.html"
MAX_SDP = 64 << 10
WAIT_S, START_S, ANSWER_S = 3.0, 4.0, 8.0
MS = 1_000_000


class Browser(Live):
    """Streams "video", "audio" and "text". A click on another page, or again, takes the place of the one before.

    port: of 127.0.0.1; 0: any that is free, which `doors` tells. token_file: default ~/.local/state/sensorium/token.
    stall_ms: so long without anything and the browser is gone.
    """

    def __init__(self, *, port: int = 8703, token_file: Path | None = None, stall_ms: float = 1500.0) -> None:
        streams = {
            "video": StreamRules(kind="video", rate_hz=30),
            "audio": StreamRules(kind="audio", rate_hz=48_000),
            "text": StreamRules(kind="text", quiet_ns=QUIET_NS),
        }
        policy = LinkPolicy(first_ns=50 * MS, most_ns=200 * MS, stall_ns=round(stall_ms * MS))
        super().__init__(f"browser port {checked_port(port) or 'any'}", streams, exclusive=False, policy=policy)
        self._port, self._token_file = port, token_file or token_path()
        self._site: _Site | None = None

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Connection:
        """Waits some seconds for a click; the page stays there between attempts."""
        if self._site is None or not self._site.alive():
            self._site = _Site(self.label, self._port, self._token_file, wanted, now_ns)
        peer = self._site.peer(WAIT_S)
        if peer is None:
            raise DeviceNotFound(self.label, f"no browser sends yet; open {self._site.door} in one")
        if not peer.started.wait(START_S):
            peer.close()
            raise DeviceNotFound(self.label, "a browser offers to send, and then nothing comes")
        return peer

    def doors(self) -> Mapping[str, str]:
        """Where it takes a browser's offer (SDP) just now: nowhere before it is connected."""
        site = self._site
        return {"offer": site.offers} if site is not None and site.alive() else {}

    def close(self) -> None:
        super().close()
        if self._site is not None:
            self._site.close()
            self._site = None


class _Site:
    """The page, and the peer that its newest click made."""

    def __init__(self, label: str, port: int, token_file: Path, wanted: Mapping[str, Wanted], now_ns: Now) -> None:
        from pipeline.media.webrtc import Loop

        class Handler(_Handler):
            site = self

        self._label, self._wanted, self._now_ns = label, wanted, now_ns
        self.token = read_token(label, token_file)
        self._clicked = threading.Condition()
        self._new: Peer | None = None
        self._loop: Loop = Loop()
        try:
            self._server = LoopbackServer(port, Handler)
        except OSError as error:
            self._loop.close()
            raise SourceError(label, f"{LOOPBACK}:{port} cannot be listened on ({error.strerror})") from None
        address = f"http://{LOOPBACK}:{self._server.port}"
        self.offers = f"{address}/offer"
        self.door = _door(token_file.with_name(f"browser-{self._server.port}.html"), f"{address}/?token={self.token}")

    def alive(self) -> bool:
        return self._server.alive()

    def peer(self, wait_s: float) -> Peer | None:
        """The peer of a click that nobody has taken yet."""
        with self._clicked:
            self._clicked.wait_for(lambda: self._new is not None, wait_s)
            peer, self._new = self._new, None
            return peer

    def offered(self, offer: str) -> str:
        """Called by the page. Raises ValueError, TimeoutError."""
        from pipeline.media.webrtc import Peer

        peer = Peer(self._label, self._loop, self._wanted, self._now_ns, MAX_BYTES)
        try:
            answer: str = self._loop.run(peer.answer(offer), ANSWER_S)
        except BaseException:
            peer.close()
            raise
        with self._clicked:
            before, self._new = self._new, peer
            self._clicked.notify()
        if before is not None:
            before.close()
        return answer

    def close(self) -> None:
        self._server.close()
        if self._new is not None:
            self._new.close()
        self._loop.close()
        self.door.unlink(missing_ok=True)


def _door(path: Path, address: str) -> Path:
    """A file for its owner only that leads a browser to the page: so the token is on no command line and in no log."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">\n'.encode())
    finally:
        os.close(descriptor)
    return path


class _Handler(Answers):
    site: _Site

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path != "/":
            self.answer(HTTPStatus.NOT_FOUND, "the page is /\n")
        elif not is_token(parse_qs(asked.query).get("token", [None])[0], self.site.token):
            self.answer(HTTPStatus.UNAUTHORIZED, f"the address wants ?token=...; {self.site.door} leads here\n")
        else:
            nonce = secrets.token_urlsafe(16)
            policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; media-src blob:"
            page = PAGE.read_text("utf-8").replace("NONCE", nonce)
            safe = {"Content_Security_Policy": f"{policy}; frame-ancestors 'none'", "Referrer_Policy": "no-referrer"}
            self.answer(HTTPStatus.OK, page, Content_Type="text/html; charset=utf-8", Cache_Control="no-store", **safe)

    def do_POST(self) -> None:
        self.close_connection = True
        length = self.length()
        if not is_token(bearer(self.headers.get("Authorization")), self.site.token):
            self.answer(HTTPStatus.UNAUTHORIZED, "the token is wanted\n")
        elif self.path != "/offer":
            self.answer(HTTPStatus.NOT_FOUND, "POST /offer wanted\n")
        elif length is None or length > MAX_SDP:
            self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an offer of at most {MAX_SDP} bytes wanted\n")
        else:
            self._offer(self.rfile.read(length))

    def _offer(self, offer: bytes) -> None:
        try:
            answer = self.site.offered(offer.decode("utf-8"))
        except TimeoutError:
            self.answer(HTTPStatus.GATEWAY_TIMEOUT, "no answer could be made in time\n")
        except Exception as error:  # noqa: BLE001 - the runtime's edge: aiortc raises whatever an odd offer makes it trip over
            self.answer(HTTPStatus.BAD_REQUEST, f"the offer cannot be used ({type(error).__name__})\n")
        else:
            self.answer(HTTPStatus.CREATED, answer, Content_Type="application/sdp")

"""To a source that can be sent to: what a page sends to the API is handed on to the session's source, which listens on loopback only."""

from __future__ import annotations

import asyncio
import http.client
from typing import Any
from urllib.parse import urlsplit

from operators.errors import SourceError
from pipeline.api.hub import Refused, Seen
from pipeline.live.loopback import LOOPBACK
from pipeline.live.token import read_token, token_path

MOST_ANSWER = 256 << 10


def door(seen: Seen, kind: str, source: str | None) -> tuple[str, str]:
    """(source, address) of the session's door of this kind ("text", "offer"). Raises Refused where there is none, or which is not clear."""
    every: dict[str, Any] = (seen.status or {}).get("doors") or {}
    found = {name: doors[kind] for name, doors in every.items() if kind in doors}
    if source is not None:
        found = {name: address for name, address in found.items() if name == source}
    if not found:
        wanted = "takes" if source is None else f"is {source!r} and takes"
        raise Refused(f"no source of this session {wanted} {'text' if kind == 'text' else 'a browser'} just now", 409)
    if len(found) > 1:
        raise Refused(f"several sources take it: say which of {', '.join(sorted(found))} (source)", 409)
    return next(iter(found.items()))


async def send_text(address: str, text: str, timeout_s: float) -> None:
    """Raises Refused."""
    await asyncio.to_thread(_post, address, text.encode(), "text/plain; charset=utf-8", timeout_s)


async def offer(address: str, sdp: bytes, timeout_s: float) -> bytes:
    """The answer's SDP. Raises Refused."""
    return await asyncio.to_thread(_post, address, sdp, "application/sdp", timeout_s)


def _post(address: str, body: bytes, kind: str, timeout_s: float) -> bytes:
    to = urlsplit(address)
    if to.scheme != "http" or to.hostname != LOOPBACK or to.port is None:
        raise Refused("the source's door is not on this machine", 502)
    connection = http.client.HTTPConnection(LOOPBACK, to.port, timeout=timeout_s)
    try:
        headers = {"Authorization": f"Bearer {read_token('door', token_path())}", "Content-Type": kind}
        connection.request("POST", to.path, body, headers)
        answer = connection.getresponse()
        said = answer.read(MOST_ANSWER)
    except SourceError as error:
        raise Refused(str(error), 500) from None
    except (OSError, http.client.HTTPException):
        raise Refused("the source does not answer just now", 502) from None
    finally:
        connection.close()
    if answer.status >= 400:
        line = " ".join(said.decode("utf-8", "replace").split())[:200]
        raise Refused(f"the source says: {line}", answer.status if answer.status in (400, 413) else 502)
    return said

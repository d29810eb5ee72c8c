"""The signature of a webhook's body, and how its receiver checks it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from pipeline.backoff import SECOND
from pipeline.clock import wall_ns

TIMESTAMP, SIGNATURE = "Sensorium-Timestamp", "Sensorium-Signature"
MOST_AGE_S = 300


def signed(body: bytes, secret: bytes) -> dict[str, str]:
    """The headers: the time is under the signature, so that what was once sent cannot be sent again later."""
    stamp = str(wall_ns() // SECOND)
    return {TIMESTAMP: stamp, SIGNATURE: f"v1={_hex(stamp, body, secret)}"}


def is_signed(body: bytes, headers: Mapping[str, str], secret: bytes, *, now_s: int, most_age_s: int = MOST_AGE_S) -> bool:
    """For receivers. headers: with any mapping that finds the two names. now_s: seconds since 1970."""
    stamp, given = headers.get(TIMESTAMP) or "", headers.get(SIGNATURE) or ""
    if not (stamp.isascii() and stamp.isdigit()) or abs(now_s - int(stamp[:12])) > most_age_s:
        return False
    return hmac.compare_digest(given.encode("utf-8", "replace"), f"v1={_hex(stamp, body, secret)}".encode())


def _hex(stamp: str, body: bytes, secret: bytes) -> str:
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()

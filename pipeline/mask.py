"""Makes text fit to be shown: no secrets (user:password in URLs, tokens in their query), no control characters."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#'\"]*@")
_QUERY = re.compile(r"(?P<name>[?&][\w-]*(?:token|secret|password|passwd|signature|key|auth)[\w-]*=)[^&\s'\"#]+", re.IGNORECASE)
_SECRET_KEY = re.compile(r"(?:^|[._-])(?:token|secret|password|passwd|api_?key)$", re.IGNORECASE)


def mask(text: str) -> str:
    """rtsp://me:hunter2@cam/1?token=abc -> rtsp://***@cam/1?token=***"""
    return _QUERY.sub(r"\g<name>***", _USERINFO.sub(r"\g<scheme>***@", text))


def is_secret(key: str) -> bool:
    """Whether a key's value must not be shown at all: password, cam.token, api_key ..."""
    return bool(_SECRET_KEY.search(key))


def printable(text: str) -> str:
    """One line without control characters: a file's name must not be able to drive the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)

"""Recorded sessions: write them, read them, mend them, replay them. docs/sessions.md describes the files, docs/sessions-api.md the use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.session.read import Session

__all__ = ["Session"]


def __getattr__(name: str) -> object:
    """`Session`, when it is asked for: whoever only wants a part of this package does not pay for Arrow."""
    if name == "Session":
        from pipeline.session.read import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

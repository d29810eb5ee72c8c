"""Decisions and status as plain JSON values and back, for the pipes between our processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from operators.decision import Decision
from operators.errors import ContractError
from pipeline.ports import EdgeCount, Status, StreamStatus


def status_to_json(status: Status) -> dict[str, Any]:
    return asdict(status)


def status_from_json(values: Mapping[str, Any]) -> Status:
    """Raises ContractError for what `status_to_json` did not make."""
    try:
        streams = tuple(StreamStatus(**stream) for stream in values["streams"])
        edges = tuple(EdgeCount(**edge) for edge in values["edges"])
        return Status(**{**values, "streams": streams, "edges": edges, "events": tuple(values["events"])})
    except (TypeError, KeyError) as error:
        raise ContractError(f"no status: {error}") from None


def decision_from_json(values: Mapping[str, Any]) -> Decision:
    """Raises ContractError for what `Decision.to_json` did not make."""
    try:
        return Decision(**values)
    except TypeError as error:
        raise ContractError(f"no decision: {error}") from None

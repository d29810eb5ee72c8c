"""A core's state as rows of the log: the packets that it holds, then one row of JSON that refers to them by number.

JSON has no tuples and no keys but text, and the state has both; so each is written with its kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from operators.errors import ContractError
from operators.packet import Packet
from pipeline.session.rows import EMPTY, Row, event_of, row_of, signed

DEPTH = 32


def snapshot_rows(state: Any, at_ns: int) -> list[Row]:  # noqa: ANN401 - plain values and packets
    held: dict[int, tuple[int, Packet]] = {}
    text = json.dumps(_plain(state, held), separators=(",", ":"))
    rows = [row_of(packet, at_ns, kind="held") for _, packet in held.values()]
    return [*rows, signed(EMPTY | {"kind": "snapshot", "at_ns": at_ns, "text": text})]


def state_of(row: Row, held: Sequence[Row]) -> Any:  # noqa: ANN401
    """The state of a snapshot row; held: the rows before it. Raises ContractError."""
    packets = [event_of(other) for other in held]
    try:
        return _state(json.loads(row["text"] or ""), packets, 0)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise ContractError(f"a snapshot that does not read ({error})") from None


def _plain(value: Any, held: dict[int, tuple[int, Packet]]) -> Any:  # noqa: ANN401
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Packet():
            return {"packet": held.setdefault(id(value), (len(held), value))[0]}
        case dict():
            return {"dict": [[_plain(key, held), _plain(item, held)] for key, item in value.items()]}
        case tuple():
            return {"tuple": [_plain(item, held) for item in value]}
        case list():
            return [_plain(item, held) for item in value]
    raise ContractError(f"a snapshot holds plain values and packets, got {type(value).__name__}")


def _state(value: Any, packets: Sequence[Any], depth: int) -> Any:  # noqa: ANN401
    if depth > DEPTH:
        raise ContractError(f"a snapshot is nested at most {DEPTH} deep")
    if isinstance(value, list):
        return [_state(item, packets, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    match kind:
        case "packet":
            if not isinstance(packets[inner], Packet):
                raise ContractError("a snapshot refers to a row that is no packet")
            return packets[inner]
        case "tuple":
            return tuple(_state(item, packets, depth + 1) for item in inner)
        case "dict":
            return {_state(key, packets, depth + 1): _state(item, packets, depth + 1) for key, item in inner}
    raise ContractError(f"a snapshot has no {kind!r}")

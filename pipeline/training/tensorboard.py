"""The log of a training run as a TensorBoard event file, without TensorBoard: `tensorboard --logdir MODEL` draws it.

A file of records (length, masked CRC-32C of it, data, masked CRC-32C of that), each a protobuf `Event` with one scalar.
Source: TensorFlow's record_writer.cc, event.proto and summary.proto.
"""

from __future__ import annotations

import struct
from pathlib import Path

from pipeline.training.loop import History


def write_events(path: Path, history: History) -> None:
    """loss, sync_loss and every figure of validation, by epoch."""
    events = [_event(0, _bytes(3, b"brain.Event:2"))]
    for epoch in history.epochs:
        figures = {"loss": epoch.loss, "sync_loss": epoch.sync_loss, **{f"validation/{name}": x for name, x in epoch.validation.items()}}
        events += [_event(epoch.number, _bytes(5, _scalar(name, value))) for name, value in figures.items()]
    path.write_bytes(b"".join(_record(event) for event in events))


def _event(step: int, content: bytes) -> bytes:
    # wall_time 0: what happened when is no part of a model directory, which equal training makes equal.
    return b"\x09" + struct.pack("<d", 0.0) + b"\x10" + _varint(step) + content


def _scalar(tag: str, value: float) -> bytes:
    """Summary { value { tag, simple_value } }"""
    return _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value))


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """Castagnoli's polynomial, as RFC 3720 (iSCSI) has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

"""`sensorium devices`: the cameras and microphones of this machine, with what they offer and how a config names them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console as Terminal
from rich.table import Table

from operators.errors import SourceError
from pipeline.mask import printable
from pipeline.media.v4l2 import CameraDevice, cameras

MOST_FORMATS = 6


def print_devices() -> None:
    terminal = Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    rows = [*_cameras(), *_microphones()]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("kind", "device", "name", "formats"):
        table.add_column(column)
    for row in rows:
        table.add_row(*map(printable, row))
    if rows:
        terminal.print(table)
    for note in _notes(rows):
        terminal.print(note, soft_wrap=True)


def _cameras() -> list[Sequence[str]]:
    return [("camera", str(camera.index), camera.name, _formats(camera)) for camera in cameras()] if sys.platform == "linux" else []


def _formats(camera: CameraDevice) -> str:
    """The largest first."""
    largest = sorted(camera.formats, key=lambda form: (-form.width * form.height, form.fourcc))
    more = len(largest) - MOST_FORMATS
    return ", ".join(map(str, largest[:MOST_FORMATS])) + (f" and {more} more" if more > 0 else "")


def _microphones() -> list[Sequence[str]]:
    from pipeline.media.portaudio import microphones

    try:
        return [
            (
                "microphone",
                f"{device.index}{' (default)' if device.default else ''}",
                device.name,
                f"{device.rate_hz / 1000:g} kHz, {device.channels} channel{'s' * (device.channels > 1)}",
            )
            for device in microphones()
        ]
    except SourceError as error:
        return [("microphone", "?", "", error.problem)]


def _notes(rows: Sequence[Sequence[str]]) -> list[str]:
    kinds = {row[0] for row in rows}
    notes = []
    if sys.platform != "linux":
        notes.append("cameras are only listed on Linux; elsewhere device: 0, 1 ... is tried as it is")
    elif "camera" not in kinds:
        notes.append("no camera that this user may use (/dev/video*)")
    if "microphone" not in kinds:
        notes.append("no microphone")
    if kinds:
        notes.append('in a config: {use: "pipeline.sources.camera:Camera", device: 0}, {use: "pipeline.sources.microphone:Microphone"};')
        notes.append("device: takes the number or part of the name; docs/sources.md has all options")
    return notes

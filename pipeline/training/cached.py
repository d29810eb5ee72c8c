"""Prepared data on disk: known by the code and files that made them, so that a change of either makes new ones; plain .npz of arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CROPS = ("operators/face*", "operators/video.py", "pipeline/training/clips.py", "pipeline/training/sound.py")
"""What makes a crop, and the sound beside it."""


def code_digest(*patterns: str) -> str:
    """Of the source (.py, and .txt of numbers) that fits a pattern, as "operators/face*". 64 hexadecimal digits."""
    made = hashlib.sha256()
    for pattern in patterns:
        package, _, name = pattern.rpartition("/")
        for file in sorted(files(package.replace("/", ".")).iterdir(), key=lambda file: file.name):
            if file.name.endswith((".py", ".txt")) and fnmatch(file.name, name):
                made.update(f"{package}/{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return made.hexdigest()


def detector_digest(detector: str) -> str:
    """A face detector (`model` of FaceCrop): what its file holds, or its name where it has none."""
    path = Path(detector)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else detector


def keep(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Whole or not at all; several processes may keep the same at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part.npz")
    np.savez(part, allow_pickle=False, **arrays)
    part.replace(path)


def kept(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}

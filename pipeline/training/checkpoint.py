"""A training run as it stood after its last epoch, so that a killed one goes on and ends as if nothing had happened.

    FOLDER/epoch-3.safetensors   weights, the best weights so far, the optimiser's moments
    FOLDER/state.json            everything else; names the other file, and is put in place last and whole

Plain numbers and JSON: nothing in here can run. The numbers are those of a CPU, whatever device made them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

STATE_FILE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """tensors: by name. state: plain JSON values."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """digest: of what must be the same for the run to go on (config, data, versions). released: the same of a run that has diverged."""

    def __init__(self, folder: Path, digest: str, released: str = "") -> None:
        self.folder, self._digest, self._released = folder, digest, released

    def load(self) -> Saved | None:
        """None: there is nothing, or it is of another run or damaged, and training begins anew."""
        try:
            state = json.loads((self.folder / STATE_FILE).read_text("utf-8"))
            if state["digest"] not in (self._digest, self._released):
                return None
            return Saved(tensors=safetensors.torch.load_file(self.folder / Path(state["tensors"]).name), state=state["state"])
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            return None

    def save(self, number: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Killed at any moment, it leaves the one before or this one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"epoch-{number}.safetensors"
        content = safetensors.torch.save({key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()})
        _put(self.folder / name, content)
        told = {"digest": self._digest, "tensors": name, "state": dict(state)}
        _put(self.folder / STATE_FILE, json.dumps(told, indent=1).encode())
        self._remove(keep=name)

    def release(self) -> bool:
        """The run has diverged: those settings may now change that `released` leaves out. False: there is nothing to go on from."""
        saved = self.load()
        if saved is not None:
            state = json.loads((self.folder / STATE_FILE).read_text("utf-8"))
            _put(self.folder / STATE_FILE, json.dumps({**state, "digest": self._released}, indent=1).encode())
        return saved is not None

    def clear(self) -> None:
        """The run is over."""
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        self._remove(keep="")
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _remove(self, keep: str) -> None:
        for path in self.folder.glob("epoch-*.safetensors*"):
            if path.name != keep:
                path.unlink()


def _put(path: Path, content: bytes) -> None:
    """Whole or not at all, and on the disk before it counts."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)

"""The weights of a model directory as tensors. safetensors holds numbers and names only: nothing in it can be run."""

from __future__ import annotations

from safetensors.torch import load as tensors_of
from torch import Tensor

from pipeline.model import WEIGHTS_FILE, Model


def read_weights(model: Model) -> dict[str, Tensor]:
    """By name, on the CPU. Raises EngineMismatch (not the file of model.yaml) and safetensors.SafetensorError (no such file at all)."""
    return tensors_of(model.read(WEIGHTS_FILE))

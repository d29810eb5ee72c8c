"""What every backend refuses: arrays that are not what model.yaml says. A wrong array is a mistake in code, not in data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from operators.errors import ContractError
from pipeline.model import ModelSpec


def check_packets(spec: ModelSpec, stream: str, batch: NDArray[Any], before: NDArray[Any] | None) -> None:
    """batch: (n >= 1, *shape) in the dtype of that input; before: float32 (n, dim) where its encoder carries. Raises ContractError."""
    wanted = spec.inputs.get(stream)
    if wanted is None:
        raise ContractError(f"model {spec.name} has no input {stream!r}, only {sorted(spec.inputs)}")
    if batch.dtype != wanted.dtype or batch.shape[1:] != wanted.shape or batch.ndim == 0 or batch.shape[0] < 1:
        raise ContractError(
            f"input {stream} of model {spec.name} wants {wanted.dtype} (n, {_axes(wanted.shape)}), got {batch.dtype} {batch.shape}"
        )
    if wanted.encoder.carry != (before is not None):
        raise ContractError(
            f"input {stream} of model {spec.name} {'wants' if before is None else 'takes no'} embeddings of the packets before"
        )
    if before is not None:
        _check(f"what was before on {stream}", before, (batch.shape[0], wanted.encoder.dim))


def check_fuse_arrays(spec: ModelSpec, inputs: Mapping[str, NDArray[Any]], presence: Mapping[str, NDArray[Any]]) -> None:
    """inputs: float32 (batch, steps, dim), presence: float32 (batch, steps), of one batch size. Raises ContractError."""
    if set(inputs) != set(spec.inputs) or set(presence) != set(spec.inputs):
        raise ContractError(f"model {spec.name} fuses {sorted(spec.inputs)}, got inputs {sorted(inputs)} and presence {sorted(presence)}")
    batch = next(iter(inputs.values())).shape[:1]
    for name, part in spec.inputs.items():
        _check(f"input {name}", inputs[name], (*batch, part.steps, part.encoder.dim))
        _check(f"presence of {name}", presence[name], (*batch, part.steps))


def _check(what: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.dtype != "float32" or array.shape != shape or array.size == 0:
        raise ContractError(f"{what} wants float32 ({_axes(shape)}) with at least one window, got {array.dtype} {array.shape}")


def _axes(shape: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in shape)

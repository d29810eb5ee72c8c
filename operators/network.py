"""The whole network: an encoder for every input and a fusion head, put together as model.yaml says."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from operators.errors import ContractError
from operators.fusion import InputLayout, Layout

Own = Callable[[str], type[nn.Module]]
"""`module:Class` -> the class, for networks that are somebody's own; only training has one."""
_OWN = "operators.own:OwnModule"
MOST_INPUTS = 8
"""Of a network with offsets: they are a row for each of 2 ** inputs patterns of presence."""


class Spec(Protocol):
    """A parsed model.yaml that can give itself as plain values."""

    def model_dump(self) -> dict[str, Any]: ...


class FusionNetwork(nn.Module):
    """inputs[name]: (B, T, *shape of one packet), presence[name]: (B, T) of 0 or 1 -> logits (B, outputs): labels, then further answers.

    Serving and training call the two halves: `encode` once for each packet, `fuse` on steps gathered from the embeddings.

    offsets: None, or (2 ** inputs, outputs): what is added to the logits, by which inputs have any present step in the window. Bit i of
    the row's number is the i-th input in the order of their names.
    """

    offsets: Tensor | None

    def __init__(self, encoders: Mapping[str, nn.Module], head: nn.Module, dims: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.dims = dict(dims or {})
        self.encoders = nn.ModuleDict(dict(encoders))
        self.head = head
        self.register_buffer("offsets", None)

    def carries(self, name: str) -> bool:
        """Whether that input's embeddings depend on the one before (`operators.encoders_carried`)."""
        return bool(getattr(self.encoders[name], "carries", False))

    def encode(self, name: str, x: Tensor, before: Tensor | None = None) -> Tensor:
        """(N, *shape) -> (N, D). before: (N, D), only for an input that carries."""
        return cast(Tensor, self.encoders[name](x) if before is None else self.encoders[name](x, before))

    def fuse(self, embeddings: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        logits = cast(Tensor, self.head(embeddings, presence))  # (B, T, D) and (B, T) by input -> (B, outputs)
        return logits if self.offsets is None else logits + self._offset(self.offsets, presence)

    def fuse_steps(self, embeddings: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        """What `fuse` would say of each of the window's steps, (B, T, outputs). Raises ContractError for a head that cannot tell."""
        steps = getattr(self.head, "steps", None)
        if steps is None:
            raise ContractError(f"{type(self.head).__name__} decides about one instant only: it has no steps()")
        logits = cast(Tensor, steps(embeddings, presence))
        return logits if self.offsets is None else logits + self._offset(self.offsets, presence).unsqueeze(1)

    def coalitions(self, embeddings: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        """What `fuse` would say of every set of inputs, (B, 2 ** inputs, outputs): bit i of a row is the i-th of `encoders`.

        An input that is not there in a window is not there in any row. Raises ContractError for a head that has no coalitions().
        """
        coalitions = getattr(self.head, "coalitions", None)
        if coalitions is None:
            raise ContractError(f"{type(self.head).__name__} has no coalitions(): give fuse() all sets of inputs as a batch")
        logits = cast(Tensor, coalitions(embeddings, presence))
        return logits if self.offsets is None else logits + self._offsets_of_sets(self.offsets, presence)

    def set_offsets(self, offsets: Mapping[tuple[str, ...], Sequence[float]], outputs: int) -> None:
        """Inputs that are there -> what is added to the first logits then; other patterns and logits stay as they are.

        outputs: how many logits there are. Raises ContractError for more than MOST_INPUTS inputs.
        """
        names = sorted(self.encoders)
        if len(names) > MOST_INPUTS:
            raise ContractError(f"offsets by pattern of presence: at most {MOST_INPUTS} inputs, got {len(names)}")
        table = torch.zeros(1 << len(names), outputs, device=self.device())
        for present, row in offsets.items():
            table[sum(1 << names.index(name) for name in present), : len(row)] = torch.tensor(row)
        self.offsets = table

    def _offset(self, offsets: Tensor, presence: dict[str, Tensor]) -> Tensor:
        """(B, outputs): the pattern's row. Products and a sum, no look-up and no matmul: exact in every engine, int8 and TF32 too."""
        return (self._pattern(presence).unsqueeze(2) * offsets).sum(1)

    def _offsets_of_sets(self, offsets: Tensor, presence: dict[str, Tensor]) -> Tensor:
        """(B, sets, outputs): of each set the row of those in it that are there."""
        names, count = sorted(self.encoders), len(offsets)
        sets = [sum(1 << names.index(name) for bit, name in enumerate(self.encoders) if row >> bit & 1) for row in range(count)]
        rows = torch.tensor([[pattern & chosen for chosen in sets] for pattern in range(count)], device=offsets.device)  # constants all
        return (self._pattern(presence)[:, :, None, None] * offsets[rows]).sum(1)

    def _pattern(self, presence: dict[str, Tensor]) -> Tensor:
        """(B, 2 ** inputs): 1 at the number of the pattern of presence, else 0."""
        first, *others = [presence[name].amax(1, keepdim=True) for name in sorted(self.encoders)]  # (B, 1) each, 0 or 1
        row = torch.cat([1 - first, first], dim=1)
        for there in others:
            row = torch.cat([row * (1 - there), row * there], dim=1)  # at last (B, 2 ** inputs), one 1 in each
        return row

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *others: Any) -> None:  # noqa: ANN401 - torch's own
        """Weights come with offsets or without, whatever the network had."""
        found, self.offsets = state_dict.get(f"{prefix}offsets"), None
        if found is not None and len(self.encoders) <= MOST_INPUTS:
            self.offsets = torch.zeros(1 << len(self.encoders), *found.shape[-1:], dtype=found.dtype, device=self.device())
        super()._load_from_state_dict(state_dict, prefix, *others)

    def forward(self, inputs: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        embeddings = {
            name: self.encode_sequence(name, x) if self.carries(name) else self.encode(name, x.flatten(0, 1)).reshape(*x.shape[:2], -1)
            for name, x in inputs.items()
        }  # (B, T, D)
        return self.fuse(embeddings, presence)

    def encode_sequence(self, name: str, x: Tensor) -> Tensor:
        """Successive packets of an input that carries, from the start of a session: (S, L, *shape) -> (S, L, D)."""
        before = torch.zeros(x.shape[0], self.dims[name], dtype=self._dtype(), device=x.device)
        made = []
        for step in range(x.shape[1]):
            before = self.encode(name, x[:, step], before)
            made.append(before)
        return torch.stack(made, dim=1)

    def device(self) -> torch.device:
        """Where its weights are."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    def _dtype(self) -> torch.dtype:
        return next(self.head.parameters()).dtype


def build_network(spec: Mapping[str, Any] | Spec, own: Own | None = None) -> FusionNetwork:
    """A fresh network with random weights (torch's generator) for a model.yaml. Raises ContractError for what cannot be built."""
    content = spec if isinstance(spec, Mapping) else spec.model_dump()
    encoders = {name: _encoder(name, part, own) for name, part in content["inputs"].items()}
    head = _make("head", content["head"], own, layout=layout_of(content))
    return FusionNetwork(encoders, head, {name: part["encoder"]["dim"] for name, part in content["inputs"].items()})


def layout_of(spec: Mapping[str, Any]) -> Layout:
    """What the head has to know of a model.yaml."""
    window = spec["window"]
    centre_ms = window["length_ms"] - window.get("lag_ms", 0) - window["hop_ms"] / 2
    return Layout(
        inputs={name: InputLayout(steps=part.get("steps", 1), dim=part["encoder"]["dim"]) for name, part in spec["inputs"].items()},
        labels=len(spec["labels"]),
        also={name: len(answers) for name, answers in spec.get("also", {}).items()},
        instant=centre_ms / window["length_ms"],
    )


def _encoder(name: str, part: Mapping[str, Any], own: Own | None) -> nn.Module:
    if hasattr(nn.ModuleDict, name):
        raise ContractError(f"an input cannot be called {name!r}: torch uses that name itself")
    use = {option: value for option, value in part["encoder"].items() if option != "carry"}
    made = _make(f"inputs.{name}.encoder", use, own, shape=tuple(part["shape"]))
    carries, said = bool(getattr(made, "carries", False)), bool(part["encoder"].get("carry", False))
    if carries != said:
        raise ContractError(
            f"inputs.{name}.encoder: {use['use']} {'carries' if carries else 'does not carry'}, so carry: {str(carries).lower()}"
        )
    return made


def _make(key: str, use: Mapping[str, Any], own: Own | None, **given: Any) -> nn.Module:  # noqa: ANN401 - the options of any encoder or head
    """Options are checked against the constructor before it is called: a typo is told from a mistake inside it."""
    made = _class(key, use["use"])
    options = {**{name: value for name, value in use.items() if name != "use"}, **given}
    if use["use"] == _OWN and own is not None:
        made = own(str(options.pop("of", "")))
    try:
        inspect.signature(made).bind(**options)
    except TypeError as error:
        raise ContractError(f"{key}: {use['use']} {error}; it takes {inspect.signature(made)}") from None
    return made(**options)


def _class(key: str, use: str) -> type[nn.Module]:
    """`operators.module:Class`. Only classes written under operators: a model directory must not choose what else gets imported."""
    module, _, name = use.partition(":")
    if not module.startswith("operators."):
        raise ContractError(f"{key}: only modules under operators. may be named, got {use!r}")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        raise ContractError(f"{key}: there is no module {module}") from None
    if not (isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith("operators.")):
        raise ContractError(f"{key}: {use} is not a network of this project")
    return found

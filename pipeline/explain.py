"""`sensorium explain`: one decision of a run, taken apart: which stream, which place in the picture, which sound, which word.

The window is made by the run's own sources, transforms and aligner, as at full speed. Streams get Shapley values
(`operators.attribution`); pictures, sound and numbers integrated gradients of the logit gap; words how far the gap falls without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from operators.align import Aligner
from operators.attribution import attribution, coalitions
from operators.decide import softmax
from operators.errors import ConfigError, ContractError
from operators.network import FusionNetwork
from operators.packet import Dropped, Packet, TextSpan
from operators.tensorize import Tensorizer, packet_array, step_presence
from operators.text import words
from operators.window import AlignedWindow
from pipeline.backends.torch import load_network
from pipeline.plan import Plan
from pipeline.runtime.core import unused
from pipeline.runtime.intake import Intake
from pipeline.runtime.parts import fed_inputs

PATH_STEPS = 32
"""Along the way from the baseline; the check (`Explained.unexplained`) says whether that was enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """label is ahead of rival by gap (logits); streams: Shapley values, they sum to gap - gap_of_nothing.

    packets      input -> (steps, *shape) as the encoder was given them; zeros where nothing stood
    presence     input -> (steps,)
    saliency     input -> like packets, for inputs of numbers: integrated gradients
    unexplained  how much of the gap between window and baseline the gradients do not add up to, as a share of it
    words        the caption's words and how far the gap falls without each
    """

    start_ns: int
    end_ns: int
    label: str
    rival: str
    scores: Mapping[str, float]
    gap: float
    gap_of_nothing: float
    streams: Mapping[str, float]
    packets: Mapping[str, NDArray[Any]]
    presence: Mapping[str, NDArray[np.float32]]
    saliency: Mapping[str, NDArray[np.float64]]
    unexplained: float
    words: Sequence[tuple[str, float]]


def explain(plan: Plan, at_ns: int) -> Explained:
    """The decision about the span that holds at_ns. Raises ConfigError where there is none, SourceError, BackendError."""
    window, captions = window_at(plan, at_ns)
    spec, network = plan.model.spec, load_network(plan.model).double()
    steps = Tensorizer(plan.model).steps(window)
    rules = plan.model.input_rules()
    packets = {name: _stacked(rules[name].shape, rules[name].dtype, chosen) for name, chosen in steps.items()}
    presence = {name: step_presence(chosen) for name, chosen in steps.items()}
    carrying = [name for name, rule in rules.items() if rule.carry]
    if carrying:
        raise ContractError(f"{carrying[0]}: an encoder that carries a state from before the window cannot be explained by the window")
    game = _Game(network, presence)
    names, rows = coalitions({name: there[None] for name, there in presence.items()})
    with torch.no_grad():
        embeddings = {name: network.encode(name, torch.from_numpy(rows_of)) for name, rows_of in packets.items()}
        logits = game.fuse({name: made[None].expand(len(next(iter(rows.values()))), -1, -1) for name, made in embeddings.items()}, rows)
    logits = logits[:, : len(spec.labels)]
    whole = logits[-1].numpy()
    label = int(whole.argmax())
    rival = int(np.argmax(np.where(np.arange(len(whole)) == label, -np.inf, whole)))
    saliency, unexplained = integrated_gradients(game, packets, label, rival)
    start_ns, end_ns = plan.model.decision_span(window)
    return Explained(
        start_ns=start_ns,
        end_ns=end_ns,
        label=spec.labels[label],
        rival=spec.labels[rival],
        scores=dict(zip(spec.labels, softmax(whole, spec.temperature).tolist(), strict=True)),
        gap=float(whole[label] - whole[rival]),
        gap_of_nothing=float(logits[0, label] - logits[0, rival]),
        streams=attribution(names, logits.numpy(), label, list(spec.inputs)),
        packets=packets,
        presence=presence,
        saliency=saliency,
        unexplained=unexplained,
        words=_words(plan, game, packets, captions, window, label, rival),
    )


def window_at(plan: Plan, at_ns: int) -> tuple[AlignedWindow, Mapping[str, Sequence[Packet]]]:
    """The window whose decision is about at_ns, and the text that came before its end, as its source gave it, by input."""
    captions: dict[str, list[Packet]] = {}
    aligner = Aligner(plan.model.align_config(mode="wait", catch_up=1 << 20))
    with ExitStack() as stack:
        intakes = [_opened(plan, name, stack) for name in plan.config.sources]
        first = [(0, close) for close in unused(plan.align, fed_inputs(plan))]
        for _, event in merge(first, *(intake.events() for intake in intakes), key=itemgetter(0)):
            if isinstance(event, Dropped):
                continue
            for out in aligner.process(event):
                if isinstance(out, AlignedWindow):
                    start_ns, end_ns = plan.model.decision_span(out)
                    if start_ns <= at_ns < end_ns:
                        return out, _captions(plan, out.end_ns, captions)
    raise ConfigError(f"--at {at_ns / 1e9:g}", "", "no decision is about that time", "name a time, in seconds, within the recording")


def _opened(plan: Plan, name: str, stack: ExitStack) -> Intake:
    intake = Intake(plan, name)
    if intake.live:
        raise plan.config.error(("sources", name), "is live: there is nothing to look back at", "explain a file")
    stack.callback(intake.close)
    intake.open()
    return intake


def _captions(plan: Plan, until_ns: int, found: dict[str, list[Packet]]) -> Mapping[str, Sequence[Packet]]:
    """A second reading, of the text streams alone and before any transform: tokens do not say what the words were."""
    for name in plan.config.sources:
        texts = {stream: wanted for stream, wanted in plan.source_inputs(name).items() if plan.model.spec.inputs[wanted].kind == "text"}
        source = plan.make_source(name)
        try:
            offered = {spec.name for spec in source.open({stream: plan.wanted(name)[stream] for stream in texts})} if texts else set()
            for due_ns, event in source.events() if offered else ():
                if due_ns > until_ns:
                    break
                if isinstance(event, Packet) and event.stream in texts and isinstance(event.payload, TextSpan):
                    found.setdefault(texts[event.stream], []).append(event)
        finally:
            source.close()
    return found


def _stacked(shape: tuple[int, ...], dtype: str, chosen: Sequence[Packet | None]) -> NDArray[Any]:
    """(steps, *shape), zeros where nothing stands."""
    return np.stack([np.zeros(shape, dtype) if packet is None else packet_array(packet) for packet in chosen])


class _Game:
    """The network for one window: presence is fixed, packets vary."""

    def __init__(self, network: FusionNetwork, presence: Mapping[str, NDArray[np.float32]]) -> None:
        self.network, self._presence = network, presence

    def fuse(self, embeddings: Mapping[str, Tensor], presence: Mapping[str, NDArray[np.float32]]) -> Tensor:
        return self.network.fuse(dict(embeddings), {name: torch.from_numpy(rows).double() for name, rows in presence.items()})

    def gap(self, packets: Mapping[str, Tensor], label: int, rival: int) -> Tensor:
        embeddings = {name: self.network.encode(name, rows)[None] for name, rows in packets.items()}
        logits = self.fuse(embeddings, {name: there[None] for name, there in self._presence.items()})[0]
        return logits[label] - logits[rival]


def integrated_gradients(
    game: _Game, packets: Mapping[str, NDArray[Any]], label: int, rival: int
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Along the straight line from a baseline that says nothing to what was seen and heard, all inputs of numbers together.

    Baseline: a picture of its own mean grey, sound as quiet as the window's quietest, readings at the window's mean.
    Source: Sundararajan et al. 2017, "Axiomatic attribution for deep networks"; the midpoint rule.
    """
    fixed = {name: torch.from_numpy(rows) for name, rows in packets.items() if rows.dtype == np.int64}
    ends = {name: torch.from_numpy(rows.astype(np.float64)) for name, rows in packets.items() if name not in fixed}
    starts = {name: _baseline(rows, packets[name].dtype) for name, rows in ends.items()}
    total = {name: torch.zeros_like(rows) for name, rows in ends.items()}
    for step in range(PATH_STEPS):
        share = (step + 0.5) / PATH_STEPS
        points = {name: (starts[name] + share * (ends[name] - starts[name])).requires_grad_() for name in ends}
        gradients = torch.autograd.grad(game.gap({**fixed, **points}, label, rival), list(points.values()), allow_unused=True)
        for (name, _), gradient in zip(points.items(), gradients, strict=True):
            total[name] += 0 if gradient is None else gradient / PATH_STEPS
    made = {name: ((ends[name] - starts[name]) * total[name]).numpy() for name in ends}
    with torch.no_grad():
        risen = float(game.gap({**fixed, **ends}, label, rival) - game.gap({**fixed, **starts}, label, rival))
    found = sum(float(part.sum()) for part in made.values())
    return made, abs(found - risen) / max(abs(risen), 1e-9)


def _baseline(rows: Tensor, dtype: np.dtype[Any]) -> Tensor:
    if dtype == np.uint8:
        return rows.mean((1, 2), keepdim=True).expand_as(rows).clone()
    if rows.ndim > 2:
        return torch.full_like(rows, float(rows.min()))
    return rows.mean(0, keepdim=True).expand_as(rows).clone()


def _words(
    plan: Plan,
    game: _Game,
    packets: Mapping[str, NDArray[Any]],
    captions: Mapping[str, Sequence[Packet]],
    window: AlignedWindow,
    label: int,
    rival: int,
) -> list[tuple[str, float]]:
    """For inputs of hashed words: each word of the caption that stood, and how far the gap falls when it is taken out."""
    out = []
    given = {name: torch.from_numpy(rows if rows.dtype == np.int64 else rows.astype(np.float64)) for name, rows in packets.items()}
    for name, rows in packets.items():
        standing = window.slots[name].packets
        if rows.dtype != np.int64 or not standing or name not in captions:
            continue
        said = [packet for packet in captions[name] if packet.start_ns == standing[-1].start_ns]
        if not said or not isinstance(said[-1].payload, TextSpan):
            continue
        with torch.no_grad():
            whole = float(game.gap(given, label, rival))
            for at, word in enumerate(words(said[-1].payload.text)[: rows.shape[-1]]):
                without = given[name].clone()
                without[-1, at] = 0
                out.append((word, whole - float(game.gap({**given, name: without}, label, rival))))
    return out

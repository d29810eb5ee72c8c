"""Segments to tensors: the packets of all segments of a step once, and the windows drawn from each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from operators.network import FusionNetwork
from pipeline.training.segment import UNLABELLED, Segment

APART = 1 << 20
"""Between the hops of two sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """packets: input -> (N, *shape); table: input -> int64 (B, steps), -1 where nothing stands; label: int64 (B,).

    around  int64 (B, hops): the label of every hop of the window, UNLABELLED where none is known
    also    question -> the same for its answers
    lengths input -> how many of the packets are each segment's, in order
    place   int64 (B,): number of the window's first hop; hops of one session are neighbours, those of two are far apart
    """

    packets: dict[str, Tensor]
    table: dict[str, Tensor]
    label: Tensor
    around: Tensor
    place: Tensor
    lengths: dict[str, tuple[int, ...]] = field(default_factory=dict)
    also: dict[str, Tensor] = field(default_factory=dict)

    def presence(self) -> dict[str, Tensor]:
        """input -> float32 (B, steps) of 0 or 1."""
        return {name: (rows >= 0).float() for name, rows in self.table.items()}

    def to(self, device: torch.device) -> Batch:
        return Batch(
            packets={name: tensor.to(device) for name, tensor in self.packets.items()},
            table={name: tensor.to(device) for name, tensor in self.table.items()},
            label=self.label.to(device),
            around=self.around.to(device),
            place=self.place.to(device),
            lengths=self.lengths,
            also={name: tensor.to(device) for name, tensor in self.also.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hops:
    """count: how many hops a window is long. decided: which of them its decision is about."""

    count: int
    decided: int


def make_batch(segments: Sequence[Segment], windows: int, hops: Hops, draws: Sequence[np.random.Generator]) -> Batch:
    """At most `windows` labelled windows of each segment, drawn without repetition; each segment by its own of `draws`."""
    chosen = [_drawn(segment, windows, rng) for segment, rng in zip(segments, draws, strict=True)]
    packets, table = {}, {}
    for name in segments[0].packets:
        packets[name] = torch.from_numpy(np.concatenate([segment.packets[name] for segment in segments]))
        table[name] = torch.from_numpy(np.concatenate(_offset_tables(segments, chosen, name)))
    label = torch.from_numpy(np.concatenate([segment.label[rows] for segment, rows in zip(segments, chosen, strict=True)]))
    around, also = _joined([segment.label for segment in segments], chosen, hops), {}
    for name in segments[0].also:
        also[name] = _joined([segment.also[name] for segment in segments], chosen, hops)
    place = np.concatenate([APART * number + rows for number, rows in enumerate(chosen)])
    lengths = {name: tuple(len(segment.packets[name]) for segment in segments) for name in packets}
    return Batch(packets=packets, table=table, label=label, around=around, place=torch.from_numpy(place), lengths=lengths, also=also)


def _joined(
    labels: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]],
    chosen: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]],
    hops: Hops,
) -> Tensor:
    return torch.from_numpy(np.concatenate([_around(label, rows, hops) for label, rows in zip(labels, chosen, strict=True)]))


def _around(
    label: np.ndarray[tuple[int], np.dtype[np.int64]], rows: np.ndarray[tuple[int], np.dtype[np.int64]], hops: Hops
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Hop h of window w is what decision w + h - decided is about."""
    padded = np.pad(label, (hops.decided, hops.count), constant_values=UNLABELLED)
    around: np.ndarray[tuple[int, int], np.dtype[np.int64]] = padded[rows[:, None] + np.arange(hops.count)]
    return around


def forward(network: FusionNetwork, batch: Batch, keep: Collection[str] | None = None, *, every_step: bool = False) -> Tensor:
    """Logits (B, outputs): every packet encoded once, its embedding gathered into all windows that use it. keep: without other inputs.

    every_step: of all the window's steps, (B, steps, outputs)
    """
    presence = {name: there if keep is None or name in keep else torch.zeros_like(there) for name, there in batch.presence().items()}
    features = {}
    for name, packets in batch.packets.items():
        rows = batch.table[name]
        if network.carries(name):
            features[name] = _carried(network, name, packets, batch.lengths[name])[rows.clamp(min=0)]
            continue
        if not len(packets):
            packets = packets.new_zeros((1, *packets.shape[1:]))
        if len(packets) == 1:  # batch normalisation cannot learn from one packet
            packets = packets.repeat(2, *[1] * (packets.ndim - 1))
        features[name] = network.encode(name, packets)[rows.clamp(min=0)]  # (B, steps, D)
    return network.fuse_steps(features, presence) if every_step else network.fuse(features, presence)


def _carried(network: FusionNetwork, name: str, packets: Tensor, lengths: Sequence[int]) -> Tensor:
    """Each segment's packets in turn, all segments beside one another: (N, *shape) -> (at least 1, D)."""
    if not len(packets):
        return network.encode_sequence(name, packets.new_zeros((1, 1, *packets.shape[1:])))[:, 0]
    padded = nn.utils.rnn.pad_sequence(list(torch.split(packets, list(lengths))), batch_first=True)  # (S, L, *shape)
    made = network.encode_sequence(name, padded)  # (S, L, D)
    return torch.cat([part[:length] for part, length in zip(made, lengths, strict=True)])


def _drawn(segment: Segment, windows: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    labelled = np.flatnonzero(segment.label != UNLABELLED)
    return rng.choice(labelled, min(windows, labelled.size), replace=False) if labelled.size else labelled


def _offset_tables(
    segments: Sequence[Segment], chosen: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]], name: str
) -> list[np.ndarray[tuple[int, int], np.dtype[np.int64]]]:
    """Rows counted on through the segments."""
    tables, before = [], 0
    for segment, rows in zip(segments, chosen, strict=True):
        table = segment.table[name][rows]
        tables.append(np.where(table >= 0, table + before, -1))
        before += len(segment.packets[name])
    return tables

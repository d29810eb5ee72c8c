"""What training does to the packets of an input so that the network does not lean on what will not be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pipeline.training.batch import Batch


class Augment(BaseModel):
    """For one input.

    noise  Gaussian noise on every number, in standard deviations of the batch's packets; of a picture, in those of its grey levels.
           Token numbers have none
    spread each session draws its own noise between none and `noise`, instead of all having the same
    drop   share of the window's steps that are taken away
    gone   share of the windows that lack the input altogether; never all inputs of a window
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    noise: float = Field(0.0, ge=0)
    spread: bool = False
    drop: float = Field(0.0, ge=0, lt=1)
    gone: float = Field(0.0, ge=0, lt=1)


def augmented(batch: Batch, rules: Mapping[str, Augment], rng: np.random.Generator) -> Batch:
    """A batch of its own; the one that is given is not touched."""
    packets, table = dict(batch.packets), dict(batch.table)
    for name, rule in rules.items():
        if rule.noise and len(packets[name]) and packets[name].dtype != torch.int64:
            packets[name] = _noisy(packets[name], rule, batch.lengths[name], rng)
        if rule.drop:
            gone = torch.from_numpy(rng.random(tuple(table[name].shape)) < rule.drop)
            table[name] = torch.where(gone, -1, table[name])
    _take_away(table, rules, rng)
    return replace(batch, packets=packets, table=table)


def _take_away(table: dict[str, Tensor], rules: Mapping[str, Augment], rng: np.random.Generator) -> None:
    """Whole inputs from some windows; the last one that would be left stays."""
    left = torch.stack([(rows >= 0).any(1) for rows in table.values()]).sum(0)  # (B,)
    for name, rule in rules.items():
        if rule.gone:
            there = (table[name] >= 0).any(1)
            chosen = torch.from_numpy(rng.random(len(left)) < rule.gone) & there & (left > 1)
            left -= chosen.long()
            table[name] = torch.where(chosen[:, None], -1, table[name])


def _noisy(packets: Tensor, rule: Augment, lengths: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    numbers = packets.double()
    by_channel = numbers.flatten(0, -2).std(0, correction=0) if numbers.ndim > 1 else numbers.std(correction=0)
    deviation = numbers.std(correction=0) if packets.dtype == torch.uint8 else by_channel
    level = np.repeat(rng.uniform(0, rule.noise, len(lengths)), lengths) if rule.spread else np.full(len(packets), rule.noise)
    shape = (-1, *[1] * (packets.ndim - 1))
    noise = torch.from_numpy(rng.standard_normal(tuple(packets.shape)))
    made = numbers + torch.from_numpy(level).reshape(shape) * deviation * noise
    return made.round().clamp(0, 255).to(torch.uint8) if packets.dtype == torch.uint8 else made.to(packets.dtype)

"""The gated recurrent unit's step, for whatever is carried from one step or packet to the next."""

from __future__ import annotations

import torch
from torch import Tensor


def gated(new: Tensor, old: Tensor, before: Tensor) -> Tensor:
    """new, old: (..., 3 W), what was met and what was before, each projected for reset, update and candidate -> the new state, (..., W).

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".
    Written out, so that it exports to plain operations.
    """
    reset, update, fresh = new.chunk(3, dim=-1)
    old_reset, old_update, old_fresh = old.chunk(3, dim=-1)
    keep = torch.sigmoid(update + old_update)
    candidate = torch.tanh(fresh + torch.sigmoid(reset + old_reset) * old_fresh)
    return keep * before + (1 - keep) * candidate

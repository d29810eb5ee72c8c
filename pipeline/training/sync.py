"""What the network is told beside the labels: which streams belong together in time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators.fusion.steps import LocalCorrelation
from operators.network import FusionNetwork
from pipeline.training.batch import Batch

MOST_WINDOWS = 24
"""Of a batch: the loss compares every step with every other, and windows of one session overlap."""
CLOSED = -1e4


class SyncLoss(nn.Module):
    """Teaches every LocalCorrelation of the head to find the step of the other stream that belongs to this one.

    A step of the one stream, in a hop with the label, is to agree with the other's same step more than with any other step of the
    batch: the same sentence delayed, other sentences, silence. The steps just before and after are neither right nor wrong.
    Source: the contrast of SyncNet (Chung and Zisserman 2016) as a softmax over a batch (InfoNCE, van den Oord et al. 2018),
    both ways as in CLIP (Radford et al. 2021). Several processes compare within their own share of the batch.
    """

    def __init__(self, network: FusionNetwork, *, label: int) -> None:
        super().__init__()
        self._label = label
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        correlations = [module for module in network.modules() if isinstance(module, LocalCorrelation)]
        self._hooks = [module.register_forward_hook(self._note) for module in correlations]

    def close(self) -> None:
        """Lets go of the network."""
        for hook in self._hooks:
            hook.remove()
        self._seen.clear()

    def _note(self, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if torch.is_grad_enabled():
            assert isinstance(module, LocalCorrelation)  # noqa: S101 - hooked on no other
            some = [part[:: 1 + (len(out) - 1) // MOST_WINDOWS] for part in given]
            left, right = module.vectors(*some)  # (b, T, V, d) each
            self._seen.append((left, right, some[2] * some[3] > 0.5))

    def forward(self, batch: Batch) -> Tensor:
        """Of the last forward pass, one number; 0 where nothing belonged together."""
        seen, self._seen = self._seen, []
        every = 1 + (len(batch.label) - 1) // MOST_WINDOWS
        losses = [self._loss(left, right, there, batch.around[::every], batch.place[::every]) for left, right, there in seen]
        return torch.stack(losses).mean() if losses else self.log_scale.new_zeros(())

    def _loss(self, left: Tensor, right: Tensor, there: Tensor, around: Tensor, place: Tensor) -> Tensor:
        steps, hops = left.shape[1], around.shape[1]
        per_hop = steps / hops
        step = torch.arange(steps, device=left.device)
        hop = ((step + 0.5) / per_hop).long()
        moment = (place[:, None] * per_hop + step).flatten()  # (b T): equal for the same step seen in two windows
        together = ((around[:, hop] == self._label) & there).flatten()
        if not together.any():
            return left.new_zeros(())
        mine = torch.nonzero(together)[:, 0]  # (r,)
        unlike = (moment[mine, None] - moment[None]).abs() > 1.5  # (r, b T)
        unlike[torch.arange(len(mine), device=left.device), mine] = True
        closed = torch.where(unlike & there.flatten(), 0.0, CLOSED)
        pairs = ((left, right), (right, left))
        return torch.stack([self._contrast(a.flatten(0, 1), b.flatten(0, 1), mine, closed) for a, b in pairs]).mean()

    def _contrast(self, a: Tensor, b: Tensor, mine: Tensor, closed: Tensor) -> Tensor:
        """a, b: (n, V, d); closed: (r, n), 0 or very negative. Cross-entropy of a's `mine` choosing b's `mine` among all of b."""
        cosines = a[mine].transpose(0, 1) @ b.permute(1, 2, 0)  # (V, r, n)
        logits = cosines.float() * self.log_scale.exp() + closed
        return F.cross_entropy(logits.flatten(0, 1), mine.repeat(len(cosines)))

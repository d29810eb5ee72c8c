"""Fusion for reading aloud: what is said, by the streams that share a time axis, against the words of a text that is shown."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from operators.errors import ContractError
from operators.fusion import Layout
from operators.fusion.steps import Attention, Fill, LocalCorrelation, convolutions, open_mask

LEAST = 2e-3
"""Of a probability and of what is left of it, before their logarithms. float16 tells 1 - LEAST from 1; bfloat16 does not: so no matmul."""


class PromptHead(nn.Module):
    """Hears and sees words, looks for them in the prompt, and judges each step; the decided instant's judgement is the answer.

    The streams meet as in SyncHead. At every step the words that could be meant get a probability: they are the answers of the first
    question of `also`. The prompt's words are numbered like those answers (`operators.text:KnownWords`, `operators.encoders:WordRow`), so
    the probabilities of those that it holds sum to how likely the word that is said is one of them. Beside that the steps ask the prompt
    by attention. words: how many words the prompt's embedding is long; the prompt is the one input of one step.
    Source: cross-modal attention as in MulT, Tsai et al. 2019. A comparison that had to learn which number means which word learned nothing
    in 750 steps.
    """

    def __init__(
        self, layout: Layout, *, width: int = 96, words: int = 1, blocks: int = 3, lags: int = 8, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        timed, single = layout.timed(), layout.single()
        if len(timed) != 1 or len(single) != 1 or layout.inputs[single[0]].dim % words:
            problem = f"{single} and step counts {sorted(timed)}"
            raise ContractError(f"PromptHead wants one input of one step, of {words} words, and others on one time axis, got {problem}")
        token = layout.inputs[single[0]].dim // words
        self.asked, self.known = sum(layout.also.values()), next(iter(layout.also.values()), token)
        if token < self.known:
            raise ContractError(f"PromptHead wants the prompt's words numbered like the {self.known} answers, got {token} numbers a word")
        ((steps, self.names),) = timed.items()
        (self.prompt,) = single
        self.words, self.instant_step = words, layout.instant_step(steps)
        self.fill = nn.ModuleDict({name: Fill(layout.inputs[name].dim, width) for name in self.names})
        self.context = nn.ModuleDict({name: convolutions(width, (1, 1, 2)[:blocks] + (2,) * (blocks - 3)) for name in self.names})
        self.pairs = list(combinations(self.names, 2))
        self.agree = nn.ModuleList(LocalCorrelation(width, lags=lags, views=1, dim=width) for _ in self.pairs)
        self.loudness = nn.ParameterList(nn.Parameter(torch.tensor(2.0)) for _ in self.pairs)  # log: cosines are small beside features
        self.join = nn.Linear((width + 1) * len(self.names) + (2 * lags + 1) * len(self.pairs), width)
        self.trunk = convolutions(width, tuple(2**block for block in range(blocks)))
        self.drop = nn.Dropout(dropout)
        self.say = nn.Linear(width, self.asked or self.known)
        self.look, self.null = nn.Linear(token, width), nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.ask = Attention(width, heads, dropout)
        self.weigh = nn.Linear(2 * width + 3, width)
        self.judge = nn.Sequential(*convolutions(width, (1, 2)), nn.Dropout(dropout), nn.Linear(width, layout.labels))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        return self.steps(features, presence)[:, self.instant_step]

    def steps(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        """The same for each of the window's steps as if it were the decided one: (B, T, outputs)."""
        heard = self.trunk(self._meeting(features, presence))  # (B, T, W)
        said = self.say(self.drop(heard))  # (B, T, answers)
        tokens, real = self._prompt(features[self.prompt], presence[self.prompt])  # (B, P, E), (B, P)
        shown = presence[self.prompt].unsqueeze(1).expand(-1, heard.shape[1], -1)  # (B, T, 1)
        inside = self._inside(said[..., : self.known], tokens)  # (B, T, 1)
        match = torch.cat([torch.log(inside) * shown, torch.log(1 - inside) * shown, shown], dim=2)  # (B, T, 3)
        seen = torch.cat([self.null.expand(heard.shape[0], -1, -1), self.look(tokens)], dim=1)  # (B, 1 + P, W)
        told = self.ask(heard, seen, open_mask(real, 1))  # (B, T, W)
        verdict = self.judge(self.weigh(torch.cat([heard, told, match], dim=2)))  # (B, T, labels)
        return torch.cat([verdict, said], dim=2) if self.asked else verdict

    def _meeting(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        context = {name: self.context[name](self.fill[name](features[name], presence[name])) for name in self.names}  # (B, T, W) each
        agreement = [
            loud.exp() * agree(context[a], context[b], presence[a], presence[b])  # (B, T, lags)
            for loud, agree, (a, b) in zip(self.loudness, self.agree, self.pairs, strict=True)
        ]
        present = [presence[name].unsqueeze(-1) for name in self.names]  # (B, T, 1) each
        return self.join(torch.cat([*context.values(), *present, *agreement], dim=2))  # type: ignore[no-any-return]

    def _prompt(self, x: Tensor, presence: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, D) -> the words (B, P, E) and which of them are real (B, P): padding is all 0, as is a missing prompt."""
        tokens = torch.where(presence.unsqueeze(-1) > 0.5, x, torch.zeros_like(x)).reshape(x.shape[0], self.words, -1)
        return tokens, (tokens.abs().amax(-1) > 0).to(tokens.dtype)

    def _inside(self, said: Tensor, tokens: Tensor) -> Tensor:
        """How likely the word said at a step is one of the prompt's: (B, T, K) logits -> (B, T, 1) in [LEAST, 1 - LEAST]."""
        bag = tokens[..., : self.known].sum(1).clamp(0.0, 1.0)  # (B, K): which words the prompt holds
        return (torch.softmax(said, dim=-1) * bag.unsqueeze(1)).sum(-1, keepdim=True).clamp(LEAST, 1 - LEAST)

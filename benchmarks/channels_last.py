"""A training step of FrameCNN with its pictures channels last, against the layout that torch gives them by itself.

    python -m benchmarks.channels_last

Forward and backward of 1920 pictures of 48 x 48 on one thread, by turns; the median of 9 rounds each.
"""

from __future__ import annotations

import statistics

import torch

from operators.encoders import FrameCNN
from pipeline.clock import SystemClock

ROUNDS, PICTURES, SIDE = 9, 1920, 48


def step_s(encoder: FrameCNN, pictures: torch.Tensor, *, bfloat16: bool) -> float:
    clock = SystemClock()
    begun_ns = clock.now_ns()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        made = encoder(pictures)
    made.float().square().mean().backward()
    return (clock.now_ns() - begun_ns) / 1e9


def main() -> None:
    torch.set_num_threads(1)
    pictures = torch.randint(0, 256, (PICTURES, SIDE, SIDE), dtype=torch.uint8)
    for bfloat16 in (True, False):
        plain, last = (FrameCNN(32, (SIDE, SIDE)) for _ in range(2))
        last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rounds = [[step_s(encoder, pictures, bfloat16=bfloat16) for encoder in (plain, last)] for _ in range(ROUNDS)]
        before, after = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
        print(f"{'bfloat16' if bfloat16 else 'float32'}: {before:.2f} s, channels last {after:.2f} s, {before / after:.2f} times as fast")


if __name__ == "__main__":
    main()

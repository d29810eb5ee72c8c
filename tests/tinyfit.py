"""Pictures and readings that tell the label, as segments, and a run of the training loop over them that takes a second."""

from contextlib import contextmanager

import numpy as np
import torch
from tiny_model import tiny_spec

from operators.network import build_network
from pipeline.model import parse_spec
from pipeline.training.batch import Hops
from pipeline.training.loop import LoopConfig, fit
from pipeline.training.segment import Segment

SPEC = parse_spec(tiny_spec(["video", "imu"]), "tiny")
WINDOWS, STEPS = 12, 4


def segment(rng, *, spoilt=False):
    """12 windows of 4 pictures and one reading, bright and high where somebody speaks. spoilt: with readings that are no numbers."""
    label = rng.integers(0, 3, WINDOWS)
    count = WINDOWS + STEPS - 1
    bright = np.concatenate([np.repeat(label[:1], STEPS - 1), label])  # of every picture
    video = (rng.integers(0, 60, (count, 16, 16)) + 60 * bright[:, None, None] * (np.arange(16) < 8)).astype(np.uint8)
    imu = rng.normal(0, 1, (WINDOWS, 3)) + label[:, None]
    if spoilt:
        imu[:] = np.nan
    return Segment(
        name="made",
        packets={"video": video, "imu": imu},
        table={"video": np.arange(WINDOWS)[:, None] + np.arange(STEPS), "imu": np.arange(WINDOWS)[:, None]},
        label=label,
        condition=[""] * WINDOWS,
        start_ns=np.arange(WINDOWS),
    )


def feed_of(spoilt=()):
    """A feed; spoilt: epochs in which the second segment holds what is no number."""

    @contextmanager
    def feed(epoch, count):
        rng = np.random.default_rng((5, epoch + 2))
        yield iter([segment(rng, spoilt=epoch in spoilt and number == 1) for number in range(count)])

    return feed


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(SPEC)


def run(made, *, feed=None, checkpoints=None, spread=None, tell=lambda epoch: None, **loop):
    """Trains `made` for 3 epochs of 2 steps (or as `loop` says) and gives the history."""
    config = LoopConfig.model_validate({"seed": 1, "epochs": 3, "steps": 2, "batch": 2, "windows": 8, "threads": 1, **loop})
    validation = [segment(np.random.default_rng(9))]
    more = {} if spread is None else {"spread": spread}
    with torch.random.fork_rng():
        return fit(
            made,
            config,
            feed or feed_of(),
            validation,
            sample=validation,
            labels=SPEC.labels,
            hops=Hops(count=2, decided=1),
            tell=tell,
            checkpoints=checkpoints,
            **more,
        )

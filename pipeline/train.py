"""`sensorium train`: from a config to a model directory. Models are trained through the same alignment code that serves them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from operators.errors import ConfigError
from operators.network import FusionNetwork, build_network, layout_of
from pipeline.clock import SystemClock
from pipeline.export import save_model
from pipeline.model import Model, ModelSpec
from pipeline.training.batch import Hops
from pipeline.training.card import facts, fit_offsets, fit_temperature, tested
from pipeline.training.config import Training
from pipeline.training.faults import Faults
from pipeline.training.feed import Mix, ahead
from pipeline.training.loop import Epoch, History, Report, fit
from pipeline.training.network import InTraining, begin_with, normalise, shift_logits
from pipeline.training.segment import Cutter, Segment
from pipeline.training.session import Split
from pipeline.training.transforms import chains
from pipeline.yamltext import Override

NORMALISE_OVER = 24
"""Segments whose statistics the encoders are set to."""


def train(config_path: Path, *, out: Path | None = None, progress: bool = True, overrides: Sequence[str | Override] = ()) -> Path:
    """Trains the model of a config and writes its directory; gives its path. Raises ConfigError, SourceError, BackendError."""
    training = Training(Path(config_path), overrides)
    config, clock, console = training.config, SystemClock(), Console(stderr=True, quiet=not progress)
    begun_ns = clock.now_ns()
    torch.manual_seed(config.loop.seed)
    torch.set_num_threads(config.loop.threads)
    console.print("reading and preparing the data")
    mix = training.mix()
    model = Model(training.folder, config.model, "")
    cutter = Cutter(model, chains(config.model, training.file, training.folder))
    network = build_network(config.model)
    if training.start is not None:
        begin_with(network, training.start)
    console.print(f"{sum(p.numel() for p in network.parameters())} parameters; cutting the validation sessions")
    validation = _finite(mix, cutter, "validation", training)
    with _bar(console) as report:
        history = _fit(network, mix, cutter, validation, training, report, console)
    minutes = (clock.now_ns() - begun_ns) / 60e9
    engine = InTraining(network)
    offsets = fit_offsets(engine, validation)
    if shift_logits(network, offsets):
        console.print(f"logits moved by {dict(zip(config.model.labels, offsets, strict=True))}")
    temperature = fit_temperature(engine, validation)
    console.print("testing on the test split")
    labels = list(config.model.labels)
    test = tested(engine, _finite(mix, cutter, "test", training), labels, temperature)
    metrics = {
        "test": test,
        "validation": history.best.validation,
        "epochs": len(history.epochs),
        "training": {**config.loop.model_dump(mode="json"), "minutes": round(minutes, 1)},
    }
    card = f"{config.card.strip()}\n\n{facts(history, test, minutes, config.loop.model_dump())}"
    spec = config.model.model_copy(update={"temperature": temperature})
    made, _ = save_model(network, spec, metrics, card, training.out if out is None else Path(out))
    console.print(f"wrote {made.folder}")
    return made.folder


def _fit(
    network: FusionNetwork, mix: Mix, cutter: Cutter, validation: Sequence[Segment], training: Training, report: Report, console: Console
) -> History:
    config = training.config
    loop = config.loop
    rng = np.random.default_rng((loop.seed, 0))
    faults = Faults(without=dict(loop.without), drop=loop.drop, outage=loop.outage)
    with ahead(lambda: mix.segments(cutter, faults, loop.deadline_share, rng)) as feed:
        first = list(itertools.islice(feed, NORMALISE_OVER))
        if training.start is None:
            normalise(network, first)
        return fit(
            network,
            loop,
            itertools.chain(first, feed),
            validation,
            labels=list(config.model.labels),
            hops=_hops(config.model),
            report=report,
            tell=lambda epoch: console.print(_line(epoch)),
        )


def _hops(spec: ModelSpec) -> Hops:
    count = max(1, round(spec.window.length_ms / spec.window.hop_ms))
    return Hops(count=count, decided=int(layout_of(spec.model_dump()).instant * count))


def _finite(mix: Mix, cutter: Cutter, split: Split, training: Training) -> list[Segment]:
    rng = np.random.default_rng((training.config.loop.seed, 2))
    segments = [cutter.cut(session) for dataset in mix.datasets for session in dataset.sessions(split, rng)]
    if not any((segment.label >= 0).any() for segment in segments):
        raise ConfigError(training.file, "data", f"has no labelled decision in the split {split!r}", "add recordings or labels")
    return segments


def _line(epoch: Epoch) -> str:
    shown = " ".join(f"{name} {value:.3f}" for name, value in epoch.validation.items())
    return f"epoch {epoch.number + 1}: loss {epoch.loss:.3f} (sync {epoch.sync_loss:.3f}); {shown}"


@contextmanager
def _bar(console: Console) -> Iterator[Report]:
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, console=console, disable=console.quiet) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))
        yield lambda step, total, loss: bar.update(task, completed=step, total=total, loss=loss)

"""`sensorium train`: from a config to a model directory. Models are trained through the same alignment code that serves them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from operators.errors import ConfigError, ContractError
from operators.network import FusionNetwork, build_network, layout_of
from pipeline.clock import SystemClock
from pipeline.export import save_model
from pipeline.model import Model, ModelSpec
from pipeline.training.batch import Hops
from pipeline.training.card import facts, fit_temperature, tested
from pipeline.training.charts import draw
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.config import Training
from pipeline.training.descent import Diverged, Report
from pipeline.training.faults import Faults
from pipeline.training.feed import Mix, ahead
from pipeline.training.loop import Epoch, Feed, History, LoopConfig, fit
from pipeline.training.network import InTraining, begin_with, normalise
from pipeline.training.offsets import fit_offsets, told, unsaid
from pipeline.training.own import own_class
from pipeline.training.segment import Cutter, Segment
from pipeline.training.session import Split
from pipeline.training.spread import Spread, spread_out
from pipeline.training.tensorboard import write_events
from pipeline.training.transforms import chains
from pipeline.training.validation import validate
from pipeline.yamltext import Override

MOST_SHOWN = 16
"""Figures by label in the line of an epoch: of many labels, only what is about all of them."""


def train(
    config_path: Path, *, out: Path | None = None, progress: bool = True, overrides: Sequence[str | Override] = (), fresh: bool = False
) -> Path:
    """Trains the model of a config and writes its directory; gives its path. Raises ConfigError, SourceError, BackendError.

    A run of the same config that was killed goes on after its last whole epoch and ends with the same weights; fresh: it does not.
    Under torchrun the processes train together (`pipeline.training.spread`), and the first one does the rest alone.
    """
    training = Training(Path(config_path), overrides)
    config, clock = training.config, SystemClock()
    folder = training.out if out is None else Path(out)
    begun_ns = clock.now_ns()
    torch.manual_seed(config.loop.seed)
    torch.set_num_threads(config.loop.threads)
    network = new_network(training)
    if training.start is not None:
        begin_with(network, training.start)
    cutter = Cutter(Model(training.folder, config.model, ""), chains(config.model, training.file, training.folder))
    checkpoints = Checkpoints(folder.with_name(f"{folder.name}.training"), training.digest, training.released_digest)
    with spread_out(config.loop.device, config.loop.batch, training.fail) as spread:
        console = Console(stderr=True, quiet=not (progress and spread.first))
        if fresh and spread.first:
            checkpoints.clear()
        console.print("reading and preparing the data")
        mix = spread.after_first(training.mix)
        console.print(f"{sum(p.numel() for p in network.parameters())} parameters; cutting the validation sessions")
        validation = split_of(mix, cutter, "validation", training) if spread.first else []
        plain = [segment for segment in validation if not segment.level]
        history = History()
        if config.loop.epochs:
            with _bar(console) as report:
                history = _fit(network, mix, cutter, plain, training, report, console, checkpoints, spread)
    if not spread.first:
        return folder
    minutes = (clock.now_ns() - begun_ns) / 60e9
    engine = InTraining(network)
    labels, also = list(config.model.labels), questions(config.model)
    offsets = unsaid(config.loop.needs, labels, list(config.model.inputs))
    if config.loop.even_recall is not None:
        offsets = fit_offsets(engine, validation, len(labels), cost=config.loop.even_recall, given=offsets)
    if offsets or config.loop.even_recall is not None:
        network.set_offsets(offsets, layout_of(config.model.model_dump()).outputs)
        console.print(told(offsets, labels))
    temperature = fit_temperature(engine, plain, len(labels))
    console.print("testing on the test split")
    test = tested(engine, split_of(mix, cutter, "test", training), labels, temperature, also)
    settings = {**config.loop.model_dump(mode="json"), "device": spread.device.type, "processes": spread.processes}
    metrics = {
        "test": test,
        "validation": validate(network, plain, labels, also),
        "epochs": len(history.epochs),
        "training": {**settings, "minutes": round(minutes, 1)},
    }
    card = f"{config.card.strip()}\n\n{facts(history, test, minutes, settings)}"
    spec = config.model.model_copy(update={"temperature": temperature})
    made, _ = save_model(network.cpu(), spec, metrics, card, folder)
    draw(made.folder, history, test["confusion"], labels)
    if config.loop.tensorboard:
        write_events(made.folder / "events.out.tfevents.sensorium", history)
    checkpoints.clear()
    console.print(f"wrote {made.folder}")
    return made.folder


def new_network(training: Training) -> FusionNetwork:
    try:
        return build_network(training.config.model, own_class)
    except ContractError as error:
        raise training.fail(("model",), str(error), "correct the encoder or head it names") from None


def _fit(
    network: FusionNetwork,
    mix: Mix,
    cutter: Cutter,
    validation: Sequence[Segment],
    training: Training,
    report: Report,
    console: Console,
    checkpoints: Checkpoints,
    spread: Spread,
) -> History:
    config = training.config
    with feed_of(mix, cutter, config.loop)(-2, config.loop.sample) as segments:
        sample = list(segments)
    if training.start is None:
        normalise(network, sample)
    saved = checkpoints.load()
    if saved is not None:
        console.print(f"going on after epoch {len(saved.state['epochs'])} of a run that was cut off ({checkpoints.folder})")
    try:
        return fit(
            network,
            config.loop,
            feed_of(mix, cutter, config.loop, spread),
            validation,
            sample=sample,
            labels=list(config.model.labels),
            hops=hops_of(config.model),
            also=questions(config.model),
            report=report,
            tell=lambda epoch: console.print(_line(epoch)),
            checkpoints=checkpoints,
            spread=spread,
        )
    except Diverged as error:
        if not spread.first:
            return History()  # the first process says it for all; an ending of this one might come before its line
        raise _diverged(error, training, checkpoints) from None


def _diverged(error: Diverged, training: Training, checkpoints: Checkpoints) -> ConfigError:
    loop = training.config.loop
    kept = checkpoints.release()
    on = f"the same command goes on after its last whole epoch ({checkpoints.folder})" if kept else "no epoch was whole yet"
    lower = f"lower it from {loop.learning_rate:g}{', or set bfloat16: false' if loop.bfloat16 else ''}"
    return training.fail(("loop", "learning_rate"), f"{error}: training has diverged", f"{lower}; {on}")


def feed_of(mix: Mix, cutter: Cutter, loop: LoopConfig, spread: Spread = Spread()) -> Feed:  # noqa: B008 - frozen
    faults = Faults(without=dict(loop.without), drop=loop.drop, outage=loop.outage)

    def epoch(number: int, count: int) -> AbstractContextManager[Iterator[Segment]]:
        rng = np.random.default_rng((loop.seed, 0, number + 2))  # of its own, so that an epoch is the same after a restart
        own = len(range(spread.rank, count, spread.processes))
        return ahead(lambda: itertools.islice(mix.segments(cutter, faults, loop.deadline_share, rng, spread.takes), own))

    return epoch


def questions(spec: ModelSpec) -> dict[str, int]:
    """What the model says beside the label -> how many answers that has."""
    return {name: len(answers) for name, answers in spec.also.items()}


def hops_of(spec: ModelSpec) -> Hops:
    count = max(1, round(spec.window.length_ms / spec.window.hop_ms))
    return Hops(count=count, decided=int(layout_of(spec.model_dump()).instant * count))


def split_of(mix: Mix, cutter: Cutter, split: Split, training: Training) -> list[Segment]:
    rng = np.random.default_rng((training.config.loop.seed, 2))
    segments = [cutter.cut(session) for dataset in mix.datasets for session in dataset.sessions(split, rng)]
    if not any((segment.label >= 0).any() for segment in segments):
        raise ConfigError(training.file, "data", f"has no labelled decision in the split {split!r}", "add recordings or labels")
    return segments


def _line(epoch: Epoch) -> str:
    by_label = ("recall_", "ap_")
    long = sum(name.startswith(by_label) for name in epoch.validation) > MOST_SHOWN
    figures = {name: value for name, value in epoch.validation.items() if not (long and name.startswith(by_label))}
    shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
    return f"epoch {epoch.number + 1}: loss {epoch.loss:.3f} (sync {epoch.sync_loss:.3f}); {shown}"


@contextmanager
def _bar(console: Console) -> Iterator[Report]:
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, console=console, disable=console.quiet) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"))
        yield lambda step, total, loss: bar.update(task, completed=step, total=total, loss=loss)

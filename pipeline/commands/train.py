"""`sensorium train`: a model directory from a training config."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.yamltext import parse_override


def train_config(config: str, sets: Sequence[str], out: str | None, fresh: bool) -> None:
    """Prints the folder of the model it made (of several processes, the first does). Raises ConfigError, SourceError, BackendError."""
    overrides = [parse_override(text) for text in sets]  # before torch is waited for
    from pipeline.train import train
    from pipeline.training.spread import rank

    folder = train(Path(config), out=None if out is None else Path(out), progress=sys.stderr.isatty(), overrides=overrides, fresh=fresh)
    if rank() == 0:
        print(folder)

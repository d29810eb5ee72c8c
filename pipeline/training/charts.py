"""The pictures of a model directory: how training went, and what is taken for what on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import draw as drawing
from pipeline.training.loop import History

SHOWN = ("score", "accuracy")


def draw(folder: Path, history: History, confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """Writes confusion.png and, if there was an epoch, curves.png."""
    counts = np.array(confusion, np.int64)
    (folder / "confusion.png").write_bytes(
        drawing.png(drawing.matrix(counts, labels, title="truth (rows), decision (columns), test split"))
    )
    if not history.epochs:
        return
    lines = {"loss": [epoch.loss for epoch in history.epochs]}
    for name in history.epochs[0].validation:
        if name in SHOWN or name.startswith("recall_"):
            lines[name] = [epoch.validation[name] for epoch in history.epochs]
    (folder / "curves.png").write_bytes(drawing.png(drawing.curves(lines, title="training loss and validation by epoch")))

"""A small labelled table and a config that trains on it in a second or two: two noisy streams that tell the label."""

import textwrap

import numpy as np
import pyarrow as pa

CONFIG = """
model:
  name: tiny
  labels: [low, high]
  window: {{length_ms: 300, hop_ms: 100, lag_ms: 100}}
  inputs:
    a: {{kind: series, steps: 3, shape: [4], dtype: float64, encoder: {{use: "operators.encoders:SeriesMLP", dim: 8, dropout: 0.2}}}}
    b: {{kind: series, steps: 3, shape: [3], dtype: float64, encoder: {{use: "operators.encoders:SeriesMLP", dim: 8}}}}
  head: {{use: "operators.fusion.product:ProductHead", width: 8}}
data_root: .
data:
  - use: pipeline.training.table:LabelledTable
    path: ${{data}}/rows.arrow
    session: session
    label: label
    streams: {{a: a_features, b: [b0, b1, b2]}}
out: made
loop: {{seed: 3, epochs: 4, steps: 6, batch: 2, windows: 6, threads: 1, learning_rate: 0.02, deadline_share: 0, drop: 0, outage: 0, without: {{a: 0.2, b: 0.2}}{loop}}}
card: Tiny.
"""


def table(rows_a_session=20, sessions=9):
    """Sessions 0 to 5 train, 6 validation, 7 and 8 test; a row of each label in turn, features around -1 or 1."""
    rng = np.random.default_rng(0)
    rows = []
    for session in range(sessions):
        for _ in range(rows_a_session):
            high = bool(rng.random() < 0.5)
            a, b = rng.normal(1.0 if high else -1.0, 1.5, 4), rng.normal(1.0 if high else -1.0, 2.0, 3)
            split = "train" if session < 6 else "validation" if session == 6 else "test"
            row = {"session": f"s{session}", "split": split, "label": "high" if high else "low", "a_features": a.tolist()}
            rows.append({**row, **{f"b{number}": value for number, value in enumerate(b.tolist())}})
    return pa.Table.from_pylist(rows)


def write(folder, loop="", rows=None):
    """Writes rows.arrow and train.yaml; gives the config's path. loop: more keys of the loop, as `, key: value`."""
    made = table() if rows is None else rows
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
        writer.write_table(made)
    path = folder / "train.yaml"
    path.write_text(textwrap.dedent(CONFIG.format(loop=loop)))
    return path

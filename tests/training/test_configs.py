"""The training configs and examples that ship, and the script that makes their tables."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import load_config
from pipeline.training.config import Training

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_training_config_is_right_and_its_head_can_be_built(path):
    from pipeline.train import new_network

    training = Training(path)
    assert sum(part.numel() for part in new_network(training).parameters()) > 1000
    assert training.config.card.strip()


@pytest.mark.parametrize("path", sorted((CONFIGS / "tables").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_of_a_run_is_right(path):
    assert load_config(path).sources


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("make_tables", CONFIGS / "tables" / "make_tables.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_lidar_and_radar_rows_become_two_columns_with_a_label_by_the_turn(tables, tmp_path):
    lines = [
        "L\t1.0\t2.0\t1000000\t0\t0\t0\t0\t0\t0.5",
        "R\t1.0\t0.5\t-2.0\t1050000\t0\t0\t0\t0\t0\t-0.5",
        "L\t3.0\t4.0\t1100000\t0\t0\t0\t0\t0\t0.0",
    ]
    (tmp_path / "rows.txt").write_text("\n".join(lines) + "\n")
    rows = tables.radar(tmp_path / "rows.txt").to_pylist()
    assert [(row["since_us"], row["label"], row["lidar"], row["radar"]) for row in rows] == [
        (0, "left", [1.0, 2.0], None),
        (50_000, "right", None, [1.0, 0.5, -2.0]),
        (100_000, "straight", [3.0, 4.0], None),
    ]


def test_a_room_log_keeps_its_times_and_puts_the_last_fifth_of_training_aside(tables, tmp_path):
    head = '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"'
    for name in ("datatraining", "datatest", "datatest2"):
        rows = [f'"{n}","2015-02-04 17:5{n}:00",23.1,27.2,{400 * (n % 2)},700,0.004,{n % 2}' for n in range(5)]
        (tmp_path / f"{name}.txt").write_text("\n".join([head, *rows]) + "\n")
    rows = tables.occupancy(tmp_path).to_pylist()
    assert [row["split"] for row in rows] == ["train"] * 4 + ["validation"] + ["test"] * 10
    assert [row["label"] for row in rows[:3]] == ["empty", "occupied", "empty"]
    assert rows[1]["time"].minute == 51


def test_an_icu_record_is_scaled_by_the_gains_of_its_header(tables, tmp_path):
    (tmp_path / "a103l.hea").write_text(
        "a103l 3 250 2\na.mat 16+24 100/mV 16 0 0 0 0 II\na.mat 16+24 200/mV 16 0 0 0 0 V\na.mat 16+24 50/NU 16 0 0 0 0 P\n"
    )
    (tmp_path / "a103l.mat").write_bytes(b"\0" * 24 + np.array([[100, 100, 100], [200, -200, 0]], "<i2").tobytes())
    assert tables.icu(tmp_path).to_pylist() == [{"ecg_ii": 1.0, "ecg_v": 0.5, "pleth": 2.0}, {"ecg_ii": 2.0, "ecg_v": -1.0, "pleth": 0.0}]

"""Brings public recordings into one form: an Arrow table a set, which `LabelledTable` trains on and `TableRows` replays.

python configs/tables/make_tables.py mosi FOLDER mosi.arrow            CMU-MOSI utterance features of the bc-LSTM line
python configs/tables/make_tables.py occupancy FOLDER occupancy.arrow  room occupancy, Candanedo and Feldheim 2016
python configs/tables/make_tables.py radar FILE radar.arrow            interleaved lidar and radar rows at 20 Hz
python configs/tables/make_tables.py icu FOLDER icu.arrow              PhysioNet/CinC 2015, record a103l
"""

import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from operators.errors import ContractError
from operators.sentence import SentenceEmbedding


def mosi(folder: Path) -> pa.Table:
    """One row an utterance, in the order of its video; every seventh training video is for validation. No video is in two splits.

    Where the sentence encoder is installed, `sentence` is what it makes of the transcript: unlike text_features and video_features, which
    their authors trained on the labels of the training videos, it has seen none of them.
    """
    transcripts = _csv(folder / "transcripts.csv")
    rows = []
    for split in ("train", "test"):
        numbers = [int(row[0]) for row in _csv(folder / f"text_{split}.csv")]
        features = {
            name: np.loadtxt(_unquoted(folder / name / f"{name}_{split}0.csv"), delimiter=",") for name in ("text", "audio", "video")
        }
        for at, number in enumerate(numbers):
            name, _, utterance = transcripts[number][0].rpartition("_")
            said = {f"{stream}_features": part[at, :-1].tolist() for stream, part in features.items()}
            label = "positive" if features["text"][at, -1] == 1 else "negative"
            rows.append(
                {"split": split, "video": name, "utterance": int(utterance), "said": transcripts[number][1], "label": label, **said}
            )
    videos = sorted({row["video"] for row in rows if row["split"] == "train"})
    held_out = set(videos[::7])
    for row in rows:
        if row["split"] == "train" and row["video"] in held_out:
            row["split"] = "validation"
    rows.sort(key=lambda row: (row["split"], row["video"], row["utterance"]))
    try:
        encoder = SentenceEmbedding()
    except ContractError as error:
        print(f"without sentence embeddings: {error}")
    else:
        rows = [{**row, "sentence": encoder.embed(row["said"].lower()).tolist()} for row in rows]
    return pa.Table.from_pylist(rows)


def _csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _unquoted(path: Path) -> list[str]:
    return path.read_text("utf-8").replace('"', "").splitlines()


def occupancy(folder: Path) -> pa.Table:
    """A row a minute; the last fifth of the training days is for validation, both test files are for testing."""
    rows = []
    for name, split in (("datatraining", "train"), ("datatest", "test"), ("datatest2", "test")):
        lines = _csv(folder / f"{name}.txt")
        for at, line in enumerate(lines[1:]):
            numbers = dict(zip(lines[0][1:], map(float, line[2:]), strict=True))
            part = "validation" if split == "train" and at >= 0.8 * (len(lines) - 1) else split
            label = "occupied" if numbers.pop("Occupancy") else "empty"
            rows.append({"split": part, "file": f"{name}-{part}", "time": np.datetime64(line[1], "s"), "label": label, **numbers})
    return pa.Table.from_pylist([{**row, "time": row["time"].item()} for row in rows])


def radar(file: Path) -> pa.Table:
    """Lidar (x, y) and radar (range, angle, speed) take turns. Label: does the tracked thing turn left, right or go straight (truth)?"""
    rows = []
    for line in file.read_text("utf-8").split("\n"):
        cells = line.split()
        if not cells:
            continue
        count = 2 if cells[0] == "L" else 3
        numbers = [float(cell) for cell in cells[1 : 1 + count]]
        turn = float(cells[-1])  # rad/s
        label = "straight" if abs(turn) < 0.1 else "left" if turn > 0 else "right"
        sensor = {"lidar": numbers, "radar": None} if cells[0] == "L" else {"lidar": None, "radar": numbers}
        rows.append({"time_us": int(cells[1 + count]), "label": label, "turn": turn, **sensor})
    parts, first_us = len(rows), rows[0]["time_us"]
    for at, row in enumerate(rows):
        row["since_us"] = row["time_us"] - first_us
        row["split"] = "train" if at < 0.6 * parts else "validation" if at < 0.75 * parts else "test"
    return pa.Table.from_pylist(rows)


def icu(folder: Path) -> pa.Table:
    """Two leads of ECG (mV) and the pulse (PLETH) at 250 Hz. The record's one label: its asystole alarm is false."""
    header = (folder / "a103l.hea").read_text("ascii").splitlines()
    gains = [float(line.split()[2].partition("/")[0]) for line in header[1:4]]
    samples = np.fromfile(folder / "a103l.mat", dtype="<i2", offset=24).reshape(-1, 3)
    ecg = (samples[:, :2] / gains[:2]).astype(np.float32)
    pulse = (samples[:, 2] / gains[2]).astype(np.float32)
    return pa.table({"ecg_ii": ecg[:, 0], "ecg_v": ecg[:, 1], "pleth": pulse})


def main() -> None:
    kind, source, out = sys.argv[1:]
    table = {"mosi": mosi, "occupancy": occupancy, "radar": radar, "icu": icu}[kind](Path(source))
    with pa.OSFile(out, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    print(f"{out}: {table.num_rows} rows of {', '.join(table.column_names)}")


if __name__ == "__main__":
    main()

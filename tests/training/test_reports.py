"""What a training run leaves behind for people: pictures, card, event file."""

import struct

import cv2
import numpy as np
import pytest
import tinytable
import torch

from pipeline.train import train
from pipeline.training.card import facts
from pipeline.training.loop import Epoch, History
from pipeline.training.tensorboard import crc32c, write_events


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    threads = torch.get_num_threads()
    losses = ", tensorboard: true, losses: [{kind: focal}, {kind: regression, weight: 0.5, values: {low: 0, high: 1}}, {kind: alone, weight: 0.3}]"
    yield train(tinytable.write(folder, losses), progress=False, overrides=["loop.batch=6", "loop.steps=12"])
    torch.set_num_threads(threads)


def test_a_table_trains_a_model_that_has_learnt_it(made):
    card = (made / "README.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| all |"))
    assert float(row.split("|")[2]) > 0.8


def test_the_pictures_are_there_and_the_card_shows_them(made):
    for name in ("confusion.png", "curves.png"):
        picture = cv2.imread(str(made / name))
        assert min(picture.shape[:2]) > 100
        assert picture.std() > 5
        assert f"({name})" in (made / "README.md").read_text()


@pytest.mark.parametrize(("keep", "said"), [("best", "the best on validation was number 1"), ("last", "the last one kept")])
def test_the_card_says_which_epoch_was_kept(keep, said):
    history = History([Epoch(number=n, loss=0.0, sync_loss=0.0, score=-n, validation={}) for n in range(3)])
    test = {"decisions": 5, "by_presence": {"all": {"accuracy": 0.5}}, "by_condition": {}}
    assert f"seed 4; 3 epochs of 7 steps, {said}.\n" in facts(history, test, 1.0, {"seed": 4, "steps": 7, "keep": keep})


def test_the_event_file_holds_every_figure_of_every_epoch(tmp_path):
    epochs = [Epoch(number=n, loss=0.5 / (n + 1), sync_loss=0.0, score=n / 300, validation={"accuracy": n / 300}) for n in (0, 1, 200)]
    write_events(tmp_path / "events", History(epochs))
    content, at, found = (tmp_path / "events").read_bytes(), 0, []
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        found.append(content[at + 12 : at + 12 + length])
        at += 16 + length
    assert len(found) == 1 + 3 * 3
    last = found[-1]
    assert last[:1] == b"\x09"
    assert last[9:12] == b"\x10\xc8\x01"  # field 2, step 200 as a varint
    assert b"validation/accuracy" in last
    assert struct.unpack("<f", last[-4:])[0] == pytest.approx(200 / 300)


def test_the_checksum_is_that_of_iscsi():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(np.zeros(32, np.uint8).tobytes()) == 0x8A9136AA

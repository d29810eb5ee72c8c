"""The graph that fuses every set of inputs: written for heads that have one, optional, and in attribution what the batch of sets is."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from fakeplan import MS
from tiny_model import tiny_spec, write_tiny_model

from operators.attribution import attribution
from operators.errors import BackendError, EngineMismatch
from operators.network import build_network
from operators.packet import Packet, Series
from operators.window import AlignedWindow, Slot
from pipeline.backends import Fallback, make_backend
from pipeline.backends.torch import load_network
from pipeline.clock import FakeClock
from pipeline.export import attribute_graph, shares_coalitions
from pipeline.model import ATTRIBUTE_FILE, Model, load_model, parse_spec
from pipeline.parity import check_parity
from pipeline.ports import Attributing
from pipeline.runtime.batcher import Work, infer
from pipeline.runtime.coalitions import Fusable, ask
from pipeline.runtime.graphs import ATTRIBUTE, FUSE, Graphs
from pipeline.runtime.inference import Inference

SYNC = "operators.fusion.sync:SyncHead"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine two threads wait for each other: of seconds they make minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> Model:
    return load_model(write_tiny_model(tmp_path_factory.mktemp("sync") / "tiny", head=SYNC))


@pytest.fixture(scope="module")
def without(model: Model, tmp_path_factory: Any) -> Model:
    """The same, as it was exported before there was such a graph."""
    folder = shutil.copytree(model.folder, tmp_path_factory.mktemp("without") / "tiny")
    (folder / ATTRIBUTE_FILE).unlink()
    return load_model(changed(folder, lambda files: files.pop(ATTRIBUTE_FILE)))


def changed(folder: Path, change: Any) -> Path:
    content = yaml.safe_load((folder / "model.yaml").read_text())
    change(content["files"])
    (folder / "model.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def readings(number: int) -> AlignedWindow:
    """Four readings of imu, other ones for each number."""
    packets = tuple(
        Packet(
            stream="imu", seq=seq, start_ns=seq * 40 * MS, end_ns=seq * 40 * MS, payload=Series(values=np.sin(np.arange(3) + seq * number))
        )
        for seq in range(4)
    )
    slot = Slot(packets=packets, missing=None, age_ns=0, complete=True)
    return AlignedWindow(index=0, start_ns=0, end_ns=160 * MS, slots={"imu": slot})


def put(model: Model, folder: Path, graph: bytes) -> Model:
    """A copy with another graph, whose digest model.yaml has."""
    shutil.copytree(model.folder, folder)
    (folder / ATTRIBUTE_FILE).write_bytes(graph)
    return load_model(changed(folder, lambda files: files.update({ATTRIBUTE_FILE: hashlib.sha256(graph).hexdigest()})))


def graphs(model: Model, name: str = "onnx") -> Graphs:
    return Graphs(model, make_backend(name, model), FakeClock())


def windows(model: Model, count: int, missing: tuple[str, ...] = ()) -> list[Fusable]:
    rng = np.random.default_rng(3)
    made = []
    for _ in range(count):
        inputs = {name: rng.normal(size=(1, part.steps, part.encoder.dim)).astype(np.float32) for name, part in model.spec.inputs.items()}
        presence = {name: (rng.random((1, part.steps)) < 0.9).astype(np.float32) for name, part in model.spec.inputs.items()}
        made.append((inputs, {name: there * np.float32(name not in missing) for name, there in presence.items()}))
    return made


def values(model: Model, made: Graphs, window: Fusable) -> dict[str, float]:
    ((present, rows),) = ask(made, [window])
    return attribution(present, rows, 0, list(model.spec.inputs))


def test_the_graph_is_one_of_the_models_files_and_goes_by_their_rules(model: Model) -> None:
    assert ATTRIBUTE_FILE in model.spec.file_names()
    graph = onnx.load_model_from_string(model.read(ATTRIBUTE_FILE))
    onnx.checker.check_model(graph)
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 18)]
    assert {"If", "Loop", "Scan", "NonZero"}.isdisjoint(node.op_type for node in graph.graph.node)
    batch, *axes = graph.graph.output[0].type.tensor_type.shape.dim
    assert batch.dim_param
    assert [axis.dim_value for axis in axes] == [8, 3]


def test_a_head_that_cannot_share_has_none_and_is_asked_with_a_batch(tmp_path: Path) -> None:
    plain = load_model(write_tiny_model(tmp_path / "tiny"))
    assert ATTRIBUTE_FILE not in plain.spec.file_names()
    made = graphs(plain)
    assert not made.shares
    assert len(ask(made, windows(plain, 1))[0][1]) == 8


def test_it_is_compared_with_the_network_like_the_others(model: Model, tmp_path: Path) -> None:
    report = check_parity(load_network(model), model)
    assert report.by_graph[ATTRIBUTE] < 1e-5
    assert report.cases == 3 * 10 + 2 * 3**3
    strange = attribute_graph(build_network(model.spec), model.spec)  # other random weights
    report = check_parity(load_network(model), put(model, tmp_path / "strange", strange))
    assert report.by_graph[ATTRIBUTE] > 1e-2
    assert report.worst_case.startswith("attribute")


def test_one_that_was_changed_or_lost_is_refused(model: Model, tmp_path: Path) -> None:
    folder = shutil.copytree(model.folder, tmp_path / "copy")
    with (folder / ATTRIBUTE_FILE).open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(EngineMismatch, match=r"attribute.onnx is not the file that was exported"):
        load_model(folder)
    (folder / ATTRIBUTE_FILE).unlink()
    with pytest.raises(EngineMismatch, match=r"attribute.onnx cannot be read \(No such file"):
        load_model(folder)


def test_one_of_another_shape_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(EngineMismatch, match=r"attribute.onnx gives .*3,.* model.yaml says .*8, 3"):
        make_backend("onnx", put(model, tmp_path / "copy", model.read("fuse.onnx")))


@pytest.mark.parametrize("name", ["onnx", "int8", "torch"])
def test_engines_answer_it_where_the_model_has_it_and_only_there(model: Model, without: Model, name: str) -> None:
    assert isinstance(make_backend(name, model), Attributing)
    assert isinstance(Fallback(make_backend(name, model), "other", "no"), Attributing)
    assert not isinstance(make_backend(name, without), Attributing)
    assert not isinstance(Fallback(make_backend(name, without), "other", "no"), Attributing)


@pytest.mark.parametrize("missing", [(), ("video",), ("text",), ("video", "audio"), ("video", "audio", "text")])
@pytest.mark.parametrize(("name", "off"), [("onnx", 1e-5), ("torch", 1e-5), ("int8", 0.05)])
def test_attribution_is_that_of_the_batch_and_sums_to_the_gap(
    model: Model, without: Model, name: str, off: float, missing: tuple[str, ...]
) -> None:
    shared, batch = graphs(model, name), graphs(without, name)
    assert (shared.shares, batch.shares) == (True, False)
    for window in windows(model, 5, missing):
        found, wanted = values(model, shared, window), values(model, batch, window)
        assert found == pytest.approx(wanted, abs=off)
        assert all(found[stream] == 0.0 for stream in missing)
        nothing = {stream: np.zeros_like(there) for stream, there in window[1].items()}
        whole, empty = (shared.fuse(window[0], there, [1])[0].astype(float) for there in (window[1], nothing))
        rival = 1 if whole[1] > whole[2] else 2
        assert sum(found.values()) == pytest.approx(whole[0] - whole[rival] - empty[0] + empty[rival], abs=2 * off)


def test_windows_in_company_are_asked_one_by_one_and_give_the_same_bits(model: Model) -> None:
    made, some = graphs(model), windows(model, 5)
    made.batches[ATTRIBUTE].clear()
    before = made.batches[FUSE].total()
    together = ask(made, some)
    assert made.batches[ATTRIBUTE] == {1: 5}
    assert made.batches[FUSE].total() == before
    assert made.rules[ATTRIBUTE] == "one"
    for window, (present, rows) in zip(some, together, strict=True):
        ((alone, bits),) = ask(made, [window])
        assert (alone, bits.tobytes()) == (present, rows.tobytes())


def test_decisions_are_the_same_to_the_bit_with_and_without_and_in_company(tmp_path: Path) -> None:
    steps = {"imu": {"take": "window", "steps": 4}}
    made = graphs(load_model(write_tiny_model(tmp_path / "tiny", ("imu",), SYNC, takes=steps)))
    assert made.shares
    sessions = [readings(number) for number in range(5)]
    company = list(infer([Work(inference=Inference(made, attribute=True), window=window) for window in sessions]))
    for window, (_, one) in zip(sessions, company, strict=True):
        ((_, asked),) = infer([Work(inference=Inference(made, attribute=True), window=window)])
        ((_, plain),) = infer([Work(inference=Inference(made), window=window)])
        assert one.logits.tobytes() == asked.logits.tobytes() == plain.logits.tobytes() == one.coalitions[-1].tobytes()
        assert one.coalitions.tobytes() == asked.coalitions.tobytes()
        assert plain.coalitions is None


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_whoever_is_asked_why_fuses_once(model: Model, name: str) -> None:
    made = graphs(model, name)
    assert made.decides
    made.batches[FUSE].clear()
    made.batches[ATTRIBUTE].clear()
    mixed = [Work(inference=Inference(made, attribute=asked), window=blank(model)) for asked in (True, False, True)]
    outcomes = [one for _, one in infer(mixed)]
    assert len({one.logits.tobytes() for one in outcomes}) == 1
    assert (made.batches[FUSE].total(), made.batches[ATTRIBUTE].total()) == (1, 2)


@pytest.mark.parametrize("name", ["onnx", "torch"])
@pytest.mark.parametrize("missing", [(), ("video",), ("audio",), ("text",), ("video", "audio"), ("video", "audio", "text")])
def test_the_row_of_all_inputs_has_the_bits_of_fuse(model: Model, name: str, missing: tuple[str, ...]) -> None:
    made = graphs(model, name)
    for inputs, presence in windows(model, 20, missing):
        ((_, rows),) = ask(made, [(inputs, presence)])
        assert rows[-1].tobytes() == made.fuse(inputs, presence, [1])[0].tobytes()


def test_where_it_has_other_bits_fuse_decides(model: Model) -> None:
    backend = make_backend("onnx", model)

    class Rounding:
        name, encode, fuse = "rounding", backend.encode, backend.fuse

        def coalitions(self, inputs: Any, presence: Any) -> np.ndarray:
            return np.nextafter(backend.coalitions(inputs, presence), np.float32(9))

    made = Graphs(model, Rounding(), FakeClock())
    assert not made.decides
    ((_, asked),) = infer([Work(inference=Inference(made, attribute=True), window=blank(model))])
    ((_, plain),) = infer([Work(inference=Inference(made), window=blank(model))])
    assert asked.logits.tobytes() == plain.logits.tobytes() != asked.coalitions[-1].tobytes()


def blank(model: Model) -> AlignedWindow:
    """Without a packet."""
    slots = {name: Slot(packets=(), missing="empty", age_ns=None, complete=True) for name in model.spec.inputs}
    return AlignedWindow(index=0, start_ns=0, end_ns=160 * MS, slots=slots)


def test_scores_of_a_set_that_are_not_finite_fail_that_window(model: Model) -> None:
    backend = make_backend("onnx", model)

    class Broken:
        name, encode, fuse = "broken", backend.encode, backend.fuse

        def coalitions(self, inputs: Any, presence: Any) -> np.ndarray:
            return np.full((1, 8, 3), np.nan, np.float32)

    made = Graphs(model, Broken(), FakeClock())
    ((_, outcome),) = infer([Work(inference=Inference(made, attribute=True), window=blank(model))])
    assert isinstance(outcome, BackendError)
    assert "without some of the streams" in str(outcome)


def test_a_model_with_more_inputs_than_attribution_takes_has_no_such_graph() -> None:
    part = tiny_spec(("imu",))["inputs"]["imu"] | {"take": "window", "steps": 4}
    for count, shares in ((8, True), (9, False)):
        spec = parse_spec({**tiny_spec(("imu",), SYNC), "inputs": {f"imu{number}": part for number in range(count)}}, "tiny")
        assert shares_coalitions(build_network(spec)) is shares

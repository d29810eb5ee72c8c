import copy
import json
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from headgraphs import head_graph, head_names, head_network
from tiny_model import tiny_spec, write_tiny_model
from torch import nn

from operators.errors import EngineMismatch
from operators.network import build_network
from pipeline import parity
from pipeline.backends.torch import load_network
from pipeline.export import save_model
from pipeline.model import load_model, parse_spec
from pipeline.parity import check_parity

FORBIDDEN = {"NonZero", "Loop", "If", "Scan", "Attention", "DFT", "STFT", "Resize", "Unique"}
SMALL = ("text",)  # one input of one step: the quickest to export


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


def graphs(model):
    return {name: onnx.load_model_from_string(model.read(name)) for name in model.spec.file_names() if name.endswith(".onnx")}


def test_graphs_are_opset_18_with_only_the_batch_free(model):
    for graph in graphs(model).values():
        assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 18)]
        for value in [*graph.graph.input, *graph.graph.output]:
            axes = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            assert isinstance(axes[0], str)
            assert all(isinstance(size, int) and size > 0 for size in axes[1:])


def test_graphs_hold_nothing_that_tensorrt_cannot_parse(model):
    used = {node.op_type for graph in graphs(model).values() for node in graph.graph.node}
    assert FORBIDDEN.isdisjoint(used)


def test_a_picture_is_cast_before_anything_else(model):
    assert graphs(model)["encode_video.onnx"].graph.node[0].op_type == "Cast"


def test_graphs_name_their_inputs_as_the_runtime_feeds_them(model):
    assert [value.name for value in graphs(model)["fuse.onnx"].graph.input] == [
        "video",
        "audio",
        "text",
        "video_presence",
        "audio_presence",
        "text_presence",
    ]


def test_graphs_hold_no_trace_of_the_machine_that_exported_them(model):
    for name in model.spec.file_names():
        assert re.search(rb"\.py|/home|site-packages|Traceback", model.read(name)) is None
    for graph in graphs(model).values():
        onnx.checker.check_model(graph)


def test_encoders_and_head_are_all_compared(model):
    report = check_parity(load_network(model), model, seed=1)
    assert report.worst < 1e-5
    assert set(report.by_graph) == {"encode video", "encode audio", "encode text", "fuse"}
    assert report.cases == 3 * 10 + 3**3


@pytest.mark.parametrize("head", head_names())
def test_every_head_exports_by_the_rules_and_agrees_with_float64_whatever_is_missing(head):
    network, spec = head_network(head)
    graph = onnx.load_model_from_string(head_graph(head))
    assert FORBIDDEN.isdisjoint(node.op_type for node in graph.graph.node)
    session = onnxruntime.InferenceSession(head_graph(head), providers=["CPUExecutionProvider"])
    exact = copy.deepcopy(network).double()
    for _, inputs, presence in parity.fuse_cases(spec, np.random.default_rng(1)):
        feed = {**inputs, **{f"{name}_presence": array for name, array in presence.items()}}
        with torch.inference_mode():
            wanted = exact.fuse(*({name: torch.tensor(x).double() for name, x in part.items()} for part in (inputs, presence)))
        assert parity.relative_error(session.run(None, feed)[0], wanted.numpy()) < 1e-5


def test_the_saved_directory_tells_what_was_measured(model):
    assert json.loads((model.folder / "metrics.json").read_text())["parity"]["worst"] < 1e-5
    card = (model.folder / "README.md").read_text()
    assert card.startswith("# tiny 1\n\nAn untrained model for tests.")
    assert model.digest in card


def test_weights_come_back_exactly_and_the_same_weights_give_the_same_files(model, tmp_path):
    network = load_network(model)
    again, _ = save_model(network, model.spec, {"accuracy": 1.0}, "Again.", tmp_path / "again")
    assert again.digest == model.digest
    assert again.metrics()["accuracy"] == 1.0
    back = load_network(again)
    assert all(torch.equal(weight, back.state_dict()[name]) for name, weight in network.state_dict().items())


def test_an_input_may_be_called_like_a_part_of_the_graph(tmp_path):
    spec = tiny_spec(SMALL)
    spec = parse_spec({**spec, "inputs": {"embedding": spec["inputs"]["text"]}}, "tiny")
    assert save_model(build_network(spec), spec, {}, "Card.", tmp_path / "made")[1].worst < 1e-5


def test_graphs_that_compute_something_else_leave_no_model_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.export.LARGEST_ERROR", 0.0)
    spec = parse_spec(tiny_spec(SMALL), "tiny")
    with pytest.raises(EngineMismatch, match="the graphs are off by a relative"):
        save_model(build_network(spec), spec, {}, "Card.", tmp_path / "made")
    assert not (tmp_path / "made" / "model.yaml").exists()


def test_parity_notices_a_graph_that_computes_something_else(model):
    network = load_network(model)
    with torch.no_grad():
        network.head.read_out[0].bias += 0.01
    report = check_parity(network, model)
    assert report.worst_case.startswith("fuse, ")
    assert report.by_graph["fuse"] > parity.LARGEST_ERROR > report.by_graph["encode text"]


class Branching(nn.Module):
    """Asks for a value while it runs: no fixed graph does what it does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x.float()) if x.sum().item() > 0 else x.float()


def test_a_network_that_branches_on_values_is_told_so(tmp_path):
    spec = parse_spec(tiny_spec(SMALL), "tiny")
    network = build_network(spec)
    network.encoders["text"] = Branching()
    with pytest.raises(EngineMismatch, match=r"encode_text.onnx does not export: .*no branch on values") as caught:
        save_model(network, spec, {}, "Card.", tmp_path / "made")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_without_the_exporter_it_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['onnxscript'] = None\nfrom tiny_model import tiny_spec\nfrom operators.network import build_network\n"
        "from operators.errors import BackendUnavailable\nfrom pipeline.export import export_graphs\nfrom pipeline.model import parse_spec\n"
        "spec = parse_spec(tiny_spec(('text',)), 'tiny')\n"
        "try: export_graphs(build_network(spec).eval(), spec)\nexcept BackendUnavailable as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}, check=False)
    assert "pip install 'sensorium[train]'" in ran.stdout, ran.stderr

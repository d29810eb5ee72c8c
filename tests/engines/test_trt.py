"""TensorRT's builder on a machine without a GPU: it parses and types every head, builds, and names what it refuses."""

import importlib.util

import pytest
from headgraphs import head_graph, head_names
from onnx import TensorProto, helper
from parts import MISSING
from tiny_model import write_tiny_model

from operators.errors import BackendUnavailable, EngineMismatch
from pipeline.engines.trt import BATCHES, find_library
from pipeline.model import load_model


@pytest.fixture(scope="module")
def library():
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip(f"{MISSING}: tensorrt-rtx")
    return find_library(("tensorrt_rtx",))


@pytest.mark.parametrize("head", head_names())
def test_every_head_is_parsed_and_typed(library, head):
    assert library.check(head_graph(head), "fuse.onnx") > 5


def test_every_encoder_is_parsed_also_one_of_float64(library, tmp_path):
    model = load_model(write_tiny_model(tmp_path / "tiny", ("video", "audio", "text", "imu")))
    for name in model.spec.inputs:
        assert library.check(model.read(f"encode_{name}.onnx"), f"encode_{name}.onnx") > 1


def test_the_same_graph_is_built_twice_to_plans_of_one_size(library):
    # Not to the same bytes: TensorRT-RTX 1.7.1 numbers values of its own anew at every build, and orders some of them at random.
    graph = head_graph("operators.fusion.product:ProductHead")
    first, second = (library.build(graph, "fuse.onnx") for _ in range(2))
    assert len(second) == pytest.approx(len(first), rel=1e-3)
    assert len(first) > 10_000
    assert BATCHES == (1, 32, 256)


def graph_of(*nodes, shape=("batch", 4)):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    made = helper.make_model(helper.make_graph(list(nodes), "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)])
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Det", ["a"], ["logits"], name="the_det")], r"node 1 .*Det"),
        ([helper.make_node("Sinus", ["x"], ["logits"], domain="mine")], r"node 0 .*Sinus"),
        ([helper.make_node("Gemm", ["x", "nowhere"], ["logits"])], "node 0"),
    ],
)
def test_what_it_cannot_run_is_refused_with_the_node_named(library, nodes, said):
    with pytest.raises(EngineMismatch, match=rf"^fuse.onnx: tensorrt_rtx .* refuses {said}") as caught:
        library.check(graph_of(*nodes), "fuse.onnx")
    assert "\n" not in str(caught.value)


def test_what_is_no_graph_is_refused(library):
    with pytest.raises(EngineMismatch, match=r"^fuse.onnx: is no ONNX graph"):
        library.check(b"not a graph", "fuse.onnx")


def test_without_the_package_it_says_what_to_install():
    with pytest.raises(BackendUnavailable, match=r"pip install 'sensorium\[tensorrt-rtx\]'"):
        find_library(("tensorrt_of_nobody",))

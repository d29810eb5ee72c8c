"""TensorRT's builder on a machine without a GPU: it parses and types every head, builds, and names what it refuses."""

import importlib.util
from types import SimpleNamespace

import pytest
from headgraphs import head_graph, head_names
from onnx import TensorProto, helper
from parts import MISSING
from tiny_model import write_tiny_model

from operators.errors import BackendUnavailable, EngineMismatch
from pipeline.engines.builder import build_apart
from pipeline.engines.trt import Library, find_library
from pipeline.model import load_model


@pytest.fixture(scope="module")
def library():
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip(f"{MISSING}: tensorrt-rtx")
    return find_library(("tensorrt_rtx",))


@pytest.mark.parametrize("head", head_names())
def test_every_head_is_parsed_typed_and_built_twice_to_the_same_bytes(library, head):
    graph = head_graph(head)
    assert library.check(graph, "fuse.onnx") > 5
    first, second = (build_apart(library, graph, "fuse.onnx") for _ in range(2))
    assert len(first) > 10_000
    assert first == second


def test_every_encoder_is_parsed_also_one_of_float64(library, tmp_path):
    model = load_model(write_tiny_model(tmp_path / "tiny", ("video", "audio", "text", "imu")))
    for name in model.spec.inputs:
        assert library.check(model.read(f"encode_{name}.onnx"), f"encode_{name}.onnx") > 1


def test_a_builder_apart_names_the_node_that_it_refuses_too(library):
    with pytest.raises(EngineMismatch, match=r"^fuse.onnx: tensorrt_rtx .* refuses node 0 .*Sinus"):
        build_apart(library, graph_of(helper.make_node("Sinus", ["x"], ["logits"], domain="mine")), "fuse.onnx")


def test_a_builder_that_dies_is_told_of():
    gone = Library(SimpleNamespace(__version__="0"), "tensorrt_that_nobody_has")
    with pytest.raises(EngineMismatch, match=r"^fuse.onnx: the builder of tensorrt_that_nobody_has 0 ended with 1: .*not installed"):
        build_apart(gone, b"", "fuse.onnx")


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

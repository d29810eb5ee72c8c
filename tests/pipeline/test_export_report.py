"""`sensorium export`: three precisions against float64, with a verdict."""

import json

import onnx
import pytest
from tiny_model import write_tiny_model

from pipeline.cli import main
from pipeline.export_report import Precision


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    write_tiny_model(folder / "tiny", ("text", "imu"), head="operators.fusion.gated:GatedHead")
    code = main(["export", str(folder / "tiny"), "--half", str(folder / "half"), "--out", str(folder / "report.json")])
    return code, json.loads((folder / "report.json").read_text()), folder


def test_fp32_and_fp16_hold_and_int8_is_shown(report, capsys):
    code, told, _ = report
    assert code == 0
    by_name = {made["name"]: made for made in told["precisions"]}
    assert list(by_name) == ["fp32", "fp16", "int8"]
    assert max(by_name["fp32"]["error"].values()) < 1e-5
    assert 1e-5 < max(by_name["fp16"]["error"].values()) < 5e-3
    assert 1e-4 < max(by_name["int8"]["error"].values()) < 0.5
    assert set(by_name["fp16"]["error"]) == {"encode_text.onnx", "encode_imu.onnx", "fuse.onnx"}
    assert by_name["fp32"]["cases"] == 2 * 5 * 2 + 4 * 5


def test_the_half_graphs_hold_half_weights_and_take_float32(report):
    _, _, folder = report
    graph = onnx.load(folder / "half" / "fuse.onnx").graph
    kinds = {tensor.data_type for tensor in graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("name", "error", "agreement", "holds"), [("fp32", 2e-4, 1.0, False), ("fp16", 1e-3, 0.99, False), ("int8", 0.9, 0.5, True)]
)
def test_what_is_off_does_not_hold(name, error, agreement, holds):
    assert Precision(name=name, error={"fuse.onnx": error}, agreement=agreement, bytes=1, cases=1).holds is holds

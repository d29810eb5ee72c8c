import copy
import shutil
import subprocess
import sys

import pytest
import yaml
from tiny_model import tiny_spec, write_tiny_model

from operators.align import Aligner
from operators.errors import ConfigError, EngineMismatch
from operators.packet import Closed
from operators.window import AlignedWindow
from pipeline.model import SHIPPED, list_models, load_model
from pipeline.model_spec import parse_spec
from pipeline.ports import Wanted

MS = 1_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def changed(*path, **values):
    """tiny_spec with the mapping at `path` updated."""
    spec = copy.deepcopy(tiny_spec(("video", "audio", "text", "imu")))
    place = spec
    for key in path:
        place = place[key]
    place.update(values)
    return spec


def test_a_model_directory_loads_by_its_path(folder):
    model = load_model(folder)
    assert (model.name, list(model.spec.inputs), model.spec.labels) == (
        "tiny",
        ["video", "audio", "text"],
        ["silent", "speaking", "voice-off"],
    )
    assert load_model(str(folder)).digest == model.digest
    assert "parity" in model.metrics()


def test_loading_imports_no_engine(folder):
    code = (
        f"import sys\nfrom pipeline.model import load_model\nload_model({str(folder)!r})\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'ray', 'cv2', 'av') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_all_shipped_models_load_and_are_named_like_their_folder():
    models = list_models()
    assert [model.name for model in models] == [path.parent.name for path in sorted(SHIPPED.glob("*/model.yaml"))]
    assert [load_model(model.name).digest for model in models] == [model.digest for model in models]


@pytest.mark.parametrize("name", ["nothing", "", ".", "..", "../models", "/", "x" * 5000, "a\0b", "~"])
def test_an_unknown_model_is_one_clear_line(name):
    with pytest.raises(ConfigError, match="no model of that name") as caught:
        load_model(name)
    assert caught.value.key == "model"


def test_decision_n_is_about_hop_n_of_the_session_and_the_look_ahead_comes_after_it(folder):
    #  length 160, hop 80, lag 40:   -40 [--------(====)--) 120     window 0 decides about [0, 80)
    model = load_model(folder)
    align = model.align_config(mode="wait")
    assert (align.start_ns, align.length_ns, align.hop_ns, align.tail_ns, align.mode) == (-40 * MS, 160 * MS, 80 * MS, 40 * MS, "wait")
    aligner = Aligner(align)
    closes = [Closed(stream=name, time_ns=240 * MS) for name in model.spec.inputs]
    windows = [out for close in closes for out in aligner.process(close) if isinstance(out, AlignedWindow)]
    assert [model.decision_span(window) for window in windows] == [(0, 80 * MS), (80 * MS, 160 * MS), (160 * MS, 240 * MS)]


def test_align_config_takes_deadline_and_revision(folder):
    align = load_model(folder).align_config(mode="deadline", deadline_ns=5, revise_ns=6, catch_up=7)
    assert (align.mode, align.deadline_ns, align.revise_ns, align.catch_up) == ("deadline", 5, 6, 7)
    assert {rule.stream: (rule.take, rule.ttl_ns) for rule in align.streams} == {
        "video": ("window", None),
        "audio": ("window", None),
        "text": ("state", 10_000 * MS),
    }


def test_input_rules_and_wanted_say_what_model_yaml_says(folder):
    model = load_model(folder)
    video = model.input_rules()["video"]
    assert (video.steps, video.hold_ns, video.shape, video.dtype) == (4, 120 * MS, (16, 16), "uint8")
    assert model.wanted("video") == Wanted(pixels="gray", max_width=640)
    assert model.wanted("audio") == Wanted(rate_hz=16000, channels=1)


def test_the_digest_follows_every_file_that_decides(folder, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    (copied / "README.md").write_text("Another card.")
    assert load_model(copied).digest == load_model(folder).digest
    (copied / "model.yaml").write_text((copied / "model.yaml").read_text() + "temperature: 2.0\n")
    assert load_model(copied).digest != load_model(folder).digest


@pytest.mark.parametrize("file", ["weights.safetensors", "encode_video.onnx", "fuse.onnx"])
def test_a_file_that_is_missing_or_was_changed_is_a_mismatch(folder, tmp_path, file):
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    with (copied / file).open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(EngineMismatch, match="is not the file that was exported"):
        load_model(copied)
    (copied / file).unlink()
    with pytest.raises(EngineMismatch, match=r"cannot be read \(No such file"):
        load_model(copied)


def test_a_file_without_a_digest_is_a_mismatch(folder, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    content = yaml.safe_load((copied / "model.yaml").read_text())
    del content["files"]["fuse.onnx"]
    (copied / "model.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(EngineMismatch, match=r"names no digest for fuse.onnx"):
        load_model(copied)


@pytest.mark.parametrize(
    "text", [b"{", b"\xff\xfe\x00", b"- a\n- b", b"", b"!!python/object/apply:os.system ['true']", b"[" * 50_000, b" " * 70_000]
)
def test_a_model_yaml_that_is_no_mapping_is_one_clear_line(tmp_path, text):
    (tmp_path / "model.yaml").write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        (changed(name="../speaking"), "name"),
        (changed(name="Speaking"), "name"),
        (changed(labels=["one"]), "labels"),
        (changed(labels=["one", "one"]), ""),
        (changed(labels=["one", "two\nlines"]), "labels.1"),
        (changed(temperature=0), "temperature"),
        (changed(temperature=float("inf")), "temperature"),
        (changed(extra=1), "extra"),
        (changed("window", lag_ms=100), "window"),
        (changed("window", hop_ms=0), "window.hop_ms"),
        (changed("inputs", **{"../../up": tiny_spec()["inputs"]["text"]}), "inputs.../../up.[key]"),
        (changed("inputs", sight_presence=tiny_spec()["inputs"]["text"]), ""),
        (changed("inputs", logits=tiny_spec()["inputs"]["text"]), ""),
        (changed("inputs", "video", kind="smell"), "inputs.video.kind"),
        (changed("inputs", "video", shape=[]), "inputs.video.shape"),
        (changed("inputs", "video", shape=[0, 4]), "inputs.video.shape.0"),
        (changed("inputs", "video", dtype="object"), "inputs.video.dtype"),
        (changed("inputs", "video", steps=0), "inputs.video.steps"),
        (changed("inputs", "text", steps=2), "inputs.text"),
        (changed("inputs", "text", hold_ms=2), "inputs.text"),
        (changed("inputs", "text", take="interpolate"), "inputs.text"),
        (changed("inputs", "video", encoder={"use": "operators.encoders:FrameCNN"}), "inputs.video.encoder.dim"),
        (changed("head", use="torch.nn:Linear"), "head.use"),
        (changed("head", use="operators:x"), "head.use"),
        (changed("head", use="operatorsx.evil:x"), "head.use"),
        (changed("head", use="operators.fusion.concat:ConcatHead.__init__"), "head.use"),
        (changed("head", use="operators..os:system"), "head.use"),
        (changed("inputs", "audio", transforms=[{"use": "os:system"}]), "inputs.audio.transforms.0.use"),
        (changed(files={"fuse.onnx": "abc"}), "files.fuse.onnx"),
    ],
)
def test_a_wrong_field_is_named(spec, key):
    with pytest.raises(ConfigError) as caught:
        parse_spec(spec, "model.yaml")
    assert (caught.value.file, caught.value.key) == ("model.yaml", key)
    assert "\n" not in str(caught.value)


def test_loading_a_model_never_imports_what_it_names(tmp_path):
    (tmp_path / "canary.py").write_text("raise SystemExit('sung')")
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(changed("head", use="canary:Head")))
    code = f"from pipeline.model import load_model\nload_model({str(tmp_path)!r})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}, check=False)
    assert "sung" not in ran.stderr
    assert "a model may only name classes of this project" in ran.stderr


def test_a_spec_written_out_reads_back_equal():
    spec = parse_spec(tiny_spec(("video", "audio", "text", "imu")), "tiny")
    assert parse_spec(spec.model_dump(mode="json", exclude_defaults=True), "tiny") == spec
    assert spec.inputs["audio"].transforms[0].options() == {"rate_hz": 16000}

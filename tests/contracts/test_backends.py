"""What every engine in pipeline/backends must do; a new file there is tested by being there."""

import hashlib
import importlib
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_model import write_tiny_model

import pipeline.backends
from operators.errors import BackendUnavailable, ContractError, EngineMismatch
from pipeline.backends import make_backend
from pipeline.backends.torch import eager, load_network
from pipeline.engines.cuda_graphs import network_calls
from pipeline.engines.gpu import find_gpu
from pipeline.model import load_model
from pipeline.ports import Bucketed

FILES = sorted(path.stem for path in Path(pipeline.backends.__file__).parent.glob("*.py"))
ALL = [name for name in FILES if hasattr(importlib.import_module(f"pipeline.backends.{name}"), f"{name.capitalize()}Backend")]
NAMES = [name for name in ALL if name != "tensorrt" or not isinstance(find_gpu(), str)]  # its fallback is tested in tests/engines
LOOSE = {"int8": 0.1}
"""How far an engine may be off the network, relative to the largest number; others 1e-5."""
INPUTS = ("video", "audio", "text", "imu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny", INPUTS))


@pytest.fixture(scope="module")
def network(model):
    """The yardstick: the network itself, on the CPU."""
    return {file: eager(call) for file, call in network_calls(load_network(model), model.spec).items()}


@pytest.fixture(scope="module", params=NAMES)
def backend(request, model):
    return make_backend(request.param, model)


def packets(model, name, count, seed=0):
    spec = model.spec.inputs[name]
    return np.random.default_rng(seed).integers(0, 60, (count, *spec.shape)).astype(spec.dtype)


def windows(model, count, missing=()):
    rng = np.random.default_rng(1)
    features = {name: rng.normal(size=(count, spec.steps, spec.encoder.dim)).astype(np.float32) for name, spec in model.spec.inputs.items()}
    presence = {name: np.full((count, spec.steps), name not in missing, np.float32) for name, spec in model.spec.inputs.items()}
    return features, presence


def test_the_folder_has_the_engines_that_the_configs_name():
    assert {"onnx", "torch", "int8", "tensorrt"} <= set(ALL)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_the_name_it_is_chosen_by(name, model):
    assert make_backend(name, model).name == name


@pytest.mark.skipif(not isinstance(find_gpu(), str), reason="this machine has a GPU")
def test_auto_is_onnx(model):
    assert make_backend("auto", model).name == "onnx"


@pytest.mark.parametrize("name", ["", "nothing", "checks", "../onnx", "os.path", "onnx:OnnxBackend"])
def test_an_unknown_engine_is_unavailable(name, model):
    with pytest.raises(BackendUnavailable, match="say auto, onnx, int8, torch or tensorrt"):
        make_backend(name, model)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("name", INPUTS)
def test_encode_gives_one_float32_vector_a_packet(backend, model, name, count):
    out = backend.encode(name, packets(model, name, count))
    assert out.shape == (count, model.spec.inputs[name].encoder.dim)
    assert out.dtype == np.float32


@pytest.mark.parametrize("name", INPUTS)
def test_the_same_packet_gives_the_same_bits_again(backend, model, name):
    batch = packets(model, name, 1)
    before = backend.encode(name, batch).tobytes()
    backend.encode(name, packets(model, name, 1, seed=9))
    assert backend.encode(name, batch).tobytes() == before


def test_what_it_gave_is_not_overwritten_by_the_next_call(backend, model):
    first = backend.encode("audio", packets(model, "audio", 1))
    kept = first.copy()
    backend.encode("audio", packets(model, "audio", 1, seed=9))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    "missing", [subset for size in product((0, 1), repeat=4) for subset in [tuple(n for n, out in zip(INPUTS, size, strict=True) if out)]]
)
def test_fuse_gives_finite_logits_whatever_is_missing_as_all_engines_do(backend, model, network, missing):
    features, presence = windows(model, 3, missing)
    logits = backend.fuse(features, presence)
    assert logits.shape == (3, 3)
    assert logits.dtype == np.float32
    near(backend, logits, network["fuse.onnx"](features | {f"{name}_presence": there for name, there in presence.items()}))


@pytest.mark.parametrize("count", [1, 5, 33, 300])
@pytest.mark.parametrize("name", INPUTS)
def test_encode_agrees_with_the_other_engines(backend, model, network, name, count):
    batch = packets(model, name, count)
    near(backend, backend.encode(name, batch), network[f"encode_{name}.onnx"]({name: batch}))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
def test_on_a_gpu_torch_runs_there_and_says_so_by_its_bucket(model):
    assert make_backend("torch", model).bucket == 32


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch has a GPU here")
def test_on_a_cpu_torch_gains_nothing_from_full_batches_and_has_no_bucket(model):
    assert not isinstance(make_backend("torch", model), Bucketed)


def near(backend, found, wanted):
    loose = LOOSE.get(backend.name, 1e-5)
    np.testing.assert_allclose(found, wanted, rtol=loose, atol=loose * max(1.0, float(np.abs(wanted).max())))


def test_read_only_and_sliced_arrays_are_as_good_as_any(backend, model):
    whole = packets(model, "video", 4)
    whole.setflags(write=False)
    assert np.allclose(backend.encode("video", whole[::2]), backend.encode("video", whole[::2].copy()), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("video", np.zeros((1, 16, 16), np.float32)),
        ("video", np.zeros((1, 16, 15), np.uint8)),
        ("video", np.zeros((16, 16), np.uint8)),
        ("video", np.zeros((0, 16, 16), np.uint8)),
        ("audio", np.zeros((1, 4, 40), np.float64)),
        ("text", np.zeros((1, 8), np.int32)),
        ("smell", np.zeros((1, 8), np.int64)),
        ("video", np.uint8(0)),
    ],
)
def test_a_wrong_packet_array_breaks_the_contract(backend, name, batch):
    with pytest.raises(ContractError):
        backend.encode(name, batch)


@pytest.mark.parametrize(
    "damage",
    [
        lambda features, presence: features.pop("text"),
        lambda features, presence: presence.pop("text"),
        lambda features, presence: features.update(smell=features["text"]),
        lambda features, presence: features.update(video=features["video"].astype(np.float64)),
        lambda features, presence: features.update(video=features["video"][:, :3]),
        lambda features, presence: features.update(video=features["video"][:1]),
        lambda features, presence: presence.update(audio=presence["audio"].astype(bool)),
        lambda features, presence: presence.update(audio=presence["audio"][0]),
    ],
)
def test_wrong_fuse_arrays_break_the_contract(backend, model, damage):
    features, presence = windows(model, 2)
    damage(features, presence)
    with pytest.raises(ContractError):
        backend.fuse(features, presence)


def damaged(model, folder, change):
    """A copy of the model directory after change(folder, content of model.yaml), sealed again: its digests are right."""
    shutil.copytree(model.folder, folder)
    path = folder / "model.yaml"
    content = yaml.safe_load(path.read_text())
    change(folder, content)
    content["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in content["files"]}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_model(folder)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change",
    [
        lambda folder, content: content["labels"].append("shouting"),
        lambda folder, content: content["inputs"]["audio"]["encoder"].update(dim=9),
    ],
)
def test_a_model_yaml_that_does_not_fit_the_files_is_a_mismatch(name, model, tmp_path, change):
    with pytest.raises(EngineMismatch, match="model tiny: "):
        make_backend(name, damaged(model, tmp_path / "copy", change))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda folder, content: content["inputs"]["video"].update(shape=[16, 17]), "encode_video.onnx takes"),
        (lambda folder, content: content["inputs"]["video"].update(steps=5), "fuse.onnx takes"),
        (lambda folder, content: content["labels"].pop(), "fuse.onnx gives"),
        (lambda folder, content: (folder / "fuse.onnx").write_bytes(b"not a graph"), "fuse.onnx is not a graph that ONNX Runtime can run"),
        (lambda folder, content: shutil.copy(folder / "encode_text.onnx", folder / "encode_audio.onnx"), "encode_audio.onnx takes"),
    ],
)
def test_graphs_that_are_not_what_model_yaml_says_are_a_mismatch(model, tmp_path, change, problem):
    with pytest.raises(EngineMismatch, match=problem) as caught:
        make_backend("onnx", damaged(model, tmp_path / "copy", change))
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_safetensors_are_a_mismatch(model, tmp_path):
    with pytest.raises(EngineMismatch, match=r"weights.safetensors does not fit"):
        make_backend(
            "torch", damaged(model, tmp_path / "copy", lambda folder, _: (folder / "weights.safetensors").write_bytes(b"\x80\x04pickle"))
        )


@pytest.mark.parametrize(("name", "file"), [("onnx", "fuse.onnx"), ("onnx", "encode_text.onnx"), ("torch", "weights.safetensors")])
def test_a_file_changed_after_loading_is_a_mismatch(model, tmp_path, name, file):
    shutil.copytree(model.folder, tmp_path / "copy")
    loaded = load_model(tmp_path / "copy")
    with (tmp_path / "copy" / file).open("ab") as handle:
        handle.write(b"\0")
    with pytest.raises(EngineMismatch, match="is not the file that was exported"):
        make_backend(name, loaded)


@pytest.mark.parametrize(("name", "library"), [("onnx", "onnxruntime"), ("torch", "torch")])
def test_an_engine_whose_library_is_missing_says_what_to_install(model, name, library):
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from pipeline.backends import make_backend\nfrom pipeline.model import load_model\nfrom operators.errors import BackendUnavailable\n"
        f"try: make_backend({name!r}, load_model({str(model.folder)!r}))\nexcept BackendUnavailable as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"pip install {library}" in said


def test_the_onnx_engine_says_nothing_and_needs_no_torch(model):
    code = (
        "import sys\nfrom pipeline.backends import make_backend\nfrom pipeline.model import load_model\n"
        f"make_backend('onnx', load_model({str(model.folder)!r}))\nassert 'torch' not in sys.modules and 'ray' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")

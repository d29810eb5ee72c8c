"""The plan cache: ours alone, and nothing that was not built here is ever handed on."""

import os
from functools import partial

import pytest
from tiny_model import write_tiny_model

from operators.errors import EngineMismatch
from pipeline.backends import choose_backend, make_backend, tensorrt
from pipeline.engines.gpu import Gpu, find_gpu
from pipeline.engines.plans import PlanCache, plan_name
from pipeline.model import load_model


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "plans"


def test_a_plan_comes_back_also_in_the_next_process_and_all_files_are_ours_alone(folder):
    PlanCache(folder).save("a", b"plan")
    assert PlanCache(folder).load("a") == b"plan"
    assert PlanCache(folder).load("b") is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("at", [0, 31, 32, -1])
def test_a_changed_byte_anywhere_is_noticed(folder, at):
    cache = PlanCache(folder)
    cache.save("a", b"plan" * 100)
    content = bytearray((folder / "a.plan").read_bytes())
    content[at] ^= 1
    (folder / "a.plan").write_bytes(content)
    with pytest.raises(EngineMismatch, match="is not the plan that was built here"):
        cache.load("a")


def test_a_plan_of_another_name_of_another_key_or_cut_short_is_not_ours(folder, tmp_path):
    cache, other = PlanCache(folder), PlanCache(tmp_path / "other")
    cache.save("a", b"plan")
    other.save("a", b"plan")
    for content in [(tmp_path / "other" / "a.plan").read_bytes(), (folder / "a.plan").read_bytes()[:20], b""]:
        (folder / "b.plan").write_bytes(content)
        with pytest.raises(EngineMismatch):
            cache.load("b")
    (folder / "b.plan").write_bytes((folder / "a.plan").read_bytes())
    with pytest.raises(EngineMismatch):
        cache.load("b")


def test_a_folder_or_key_that_others_may_read_is_refused(folder):
    PlanCache(folder)
    os.chmod(folder / "key", 0o644)
    with pytest.raises(EngineMismatch, match="damaged or readable by others"):
        PlanCache(folder)
    os.chmod(folder, 0o755)
    with pytest.raises(EngineMismatch, match="is not ours alone"):
        PlanCache(folder)


def test_a_name_depends_on_every_part_and_on_where_one_ends():
    names = {plan_name("d", "f", "v", "g"), plan_name("d", "fv", "", "g"), plan_name("e", "f", "v", "g"), plan_name("d", "f", "v", "h")}
    assert len(names) == 4


class Fake:
    """A library that counts what it builds."""

    version = "fake 1"

    def __init__(self):
        self.built = []

    def build(self, graph, file):
        self.built.append(file)
        return b"plan of " + file.encode()


@pytest.fixture
def model(tmp_path):
    return load_model(write_tiny_model(tmp_path / "tiny", ("text",)))


def test_a_plan_is_built_once_and_a_tampered_one_anew_without_being_used(model, folder):
    library, gpu, plans = Fake(), Gpu(name="G", capability=(9, 0)), PlanCache(folder)
    plan_of = partial(tensorrt.plan_of, build=Fake.build)
    made = [plan_of(model, library, gpu, plans, "fuse.onnx") for _ in range(2)]
    assert made == [b"plan of fuse.onnx"] * 2
    assert library.built == ["fuse.onnx"]
    (path,) = folder.glob("*.plan")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert plan_of(model, library, gpu, plans, "fuse.onnx") == b"plan of fuse.onnx"
    assert library.built == ["fuse.onnx"] * 2
    plan_of(model, library, Gpu(name="G", capability=(8, 9)), plans, "fuse.onnx")
    assert library.built == ["fuse.onnx"] * 3


NO_GPU = isinstance(find_gpu(), str)


@pytest.mark.skipif(not NO_GPU, reason="this machine has a GPU")
def test_without_a_gpu_it_falls_back_and_says_so(model):
    backend = make_backend("tensorrt", model)
    assert backend.name == f"onnx (tensorrt refused: the tensorrt backend needs an NVIDIA GPU: {find_gpu()})"
    assert choose_backend(model).why == find_gpu()
    assert choose_backend(model).backend.name == "onnx"


def test_a_driver_that_is_not_there_is_said():
    assert find_gpu("libcuda_of_nobody.so.1") == "no NVIDIA driver on this machine"


def test_a_gpu_that_cannot_be_used_costs_a_line_not_the_run(model, monkeypatch, tmp_path):
    monkeypatch.setattr(tensorrt, "find_gpu", lambda: Gpu(name="Old GPU", capability=(3, 0)))
    monkeypatch.setattr("pipeline.engines.gpu.find_gpu", lambda: Gpu(name="Old GPU", capability=(3, 0)))
    monkeypatch.setattr(tensorrt, "default_folder", lambda: tmp_path / "plans")
    monkeypatch.setattr(tensorrt, "_need_cuda_torch", lambda: None)
    monkeypatch.setattr(tensorrt, "find_library", lambda packages: Fake())
    monkeypatch.setattr(tensorrt, "build_apart", refusing)
    choice = choose_backend(model)
    assert choice.backend.name == "onnx"
    assert choice.why == "Old GPU is not used: encode_text.onnx: does not like it"


def refusing(library, graph, file):
    raise EngineMismatch(f"{file}: does not like it")

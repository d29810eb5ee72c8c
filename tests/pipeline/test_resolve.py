"""`use: module:Class` and its options: imported, judged by the annotations, told in one line when wrong."""

from pathlib import Path

import pytest

from operators.errors import ConfigError
from operators.packet import Packet, TextSpan, Watermark
from pipeline.resolve import Part, require

CODE = """
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from operators.errors import ContractError

@dataclass(frozen=True)
class Fault:
    __pydantic_config__ = {"extra": "forbid"}
    drop: float = 0.0

class Thing:
    def __init__(self, *, path: Path, paths: list[Path] = [], count: int = 1, share: float = 0.5, mode: Literal["a", "b"] = "a",
                 pairs: tuple[tuple[int, int], ...] = (), faults: dict[str, Fault] | None = None, clock: object = None, what=None):
        if count < 0:
            raise ContractError(f"count >= 0 wanted, got {count}")
        self.__dict__.update(locals())

class Needy:
    def __init__(self, call: "Missing"): ...

def shout(packet, *, mark: str = "!"):
    return replace(packet, payload=replace(packet.payload, text=packet.payload.text.upper() + mark))
"""


def fail(path, problem, hint):
    return ConfigError("f.yaml", ".".join(map(str, path)), problem, hint)


@pytest.fixture
def part(tmp_path, monkeypatch):
    (tmp_path / "things_of_a_user.py").write_text(CODE)
    (tmp_path / "broken_of_a_user.py").write_text("1 / 0\n")
    (tmp_path / "wanting_of_a_user.py").write_text("import no_such_package_at_all.deep\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda use, **options: Part(use, options, path=("sources", "s"), folder=tmp_path, fail=fail)


def error_of(part, use, **options):
    with pytest.raises(ConfigError) as caught:
        part(use, **options).make()
    return caught.value


def test_options_arrive_as_their_annotations_say(part, tmp_path):
    thing = part("things_of_a_user:Thing", path="a.mp4", paths=["b", "/c"], share=1, pairs=[[1, 2]], faults={"video": {"drop": 0.5}}).make()
    assert thing.path == tmp_path / "a.mp4"
    assert thing.paths == [tmp_path / "b", Path("/c")]
    assert (thing.share, thing.pairs, thing.faults["video"].drop) == (1.0, ((1, 2),), 0.5)


def test_each_object_is_a_new_one(part):
    made = part("things_of_a_user:Thing", path="x")
    assert made.make() is not made.make()


@pytest.mark.parametrize(
    ("options", "key", "problem"),
    [
        ({"path": 5}, "sources.s.path", "got 5, expected text"),
        ({"path": "x", "count": "5"}, "sources.s.count", 'got "5", expected a whole number'),
        ({"path": "x", "count": True}, "sources.s.count", "got true, expected a whole number"),
        ({"path": "x", "mode": "c"}, "sources.s.mode", "got \"c\", expected 'a' or 'b'"),
        ({"path": "x", "cuont": 1}, "sources.s.cuont", "is not an option of Thing"),
        ({}, "sources.s.path", "is missing: Thing needs it"),
        ({"path": "x", "count": -1}, "sources.s", "things_of_a_user:Thing does not take these options (count >= 0 wanted, got -1)"),
        ({"path": "x", "pairs": [[1]]}, "sources.s.pairs.0", "got [1], expected more entries"),
        ({"path": "x", "pairs": [[1, 2, 3]]}, "sources.s.pairs.0", "got [1, 2, 3], expected at most 2 entries"),
        ({"path": "x", "faults": {"video": {"drpo": 1}}}, "sources.s.faults.video.drpo", "is not a key that is known here"),
        ({"path": "x", "faults": {"video": {"drop": "x"}}}, "sources.s.faults.video.drop", 'got "x", expected a number'),
    ],
)
def test_a_wrong_option_is_named(part, options, key, problem):
    error = error_of(part, "things_of_a_user:Thing", **options)
    assert error.key == key
    assert error.problem.startswith(problem)


def test_a_misspelt_option_is_recognised(part):
    assert "did you mean 'count'?" in error_of(part, "things_of_a_user:Thing", path="x", cuont=1).hint


@pytest.mark.parametrize(
    ("use", "problem", "hint"),
    [
        ("things_of_a_user:Thign", "there is no Thign in things_of_a_user", "did you mean 'Thing'?"),
        ("no_such_module_of_a_user:X", "there is no module no_such_module_of_a_user", "PYTHONPATH"),
        ("pipeline.sources.flie:MediaFile", "there is no module pipeline.sources.flie", "did you mean 'file'?"),
        ("pipeline.no_such_folder.file:X", "there is no module pipeline.no_such_folder.file", "PYTHONPATH"),
        ("broken_of_a_user:X", "importing broken_of_a_user failed (ZeroDivisionError: division by zero)", "mend"),
        ("wanting_of_a_user:X", "needs the package no_such_package_at_all, which is not installed", "pip install"),
    ],
)
def test_what_cannot_be_imported_says_why(part, use, problem, hint):
    error = error_of(part, use)
    assert error.key == "sources.s.use"
    assert problem in error.problem
    assert hint in error.hint


def test_a_plain_function_of_packets_is_a_transform(part):
    operator = part("things_of_a_user:shout", mark="?").make_operator()
    packet = Packet(stream="t", seq=0, start_ns=0, end_ns=1, payload=TextSpan(text="hello"))
    assert next(operator.process(packet)).payload.text == "HELLO?"
    assert list(operator.process(Watermark(stream="t", time_ns=1))) == [Watermark(stream="t", time_ns=1)]


def test_an_object_without_process_is_no_transform(part):
    with pytest.raises(ConfigError, match="is no transform: it has no process"):
        part("things_of_a_user:Thing", path="x").make_operator()


def test_a_class_that_lacks_a_method_of_the_protocol_is_refused(part):
    with pytest.raises(ConfigError, match=r"is no source: it has no open\(\)"):
        require(part("things_of_a_user:Thing", path="x"), ("open", "close"), "source", ("sources", "s"), fail)


def test_an_annotation_that_nobody_can_read_is_not_a_traceback(part):
    assert error_of(part, "things_of_a_user:Needy", call=1).key == "sources.s.use"

"""From `use: module:Class` and its options to an object, with every mistake told in one line that names the key.

Options are keyword arguments; each is checked against the annotation of the constructor. Options annotated as a Path are taken
relative to the config's folder. Nothing is registered anywhere: a new part is a new file.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from operators.errors import ConfigError, ContractError
from operators.operator import Each, Operator
from pipeline.configerrors import did_you_mean, first_mistake
from pipeline.ports import Kind
from pipeline.yamltext import KeyPath

Fail = Callable[[KeyPath, str, str], ConfigError]
"""Makes the ConfigError for a key: (path, problem, hint) -> error."""

Role = tuple[str, Sequence[str]]
"""source, backend or sink, and the methods that one has."""

_EXTRA_OF = {
    "sounddevice": "mic",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "onnx": "train",
    "onnxscript": "train",
    "websockets": "text",
    "paho": "text",
    "pocketsphinx": "speech",
    "aiortc": "webrtc",
    "confluent_kafka": "kafka",
}


class Part:
    """A named class or function with checked options, ready to be made as often as wanted.

    path: where it stands in the config (`sources.media`). folder: what its relative paths are relative to.
    role: what it must be, where its class can tell.
    """

    def __init__(
        self, use: str, options: Mapping[str, object], *, path: KeyPath, folder: Path, fail: Fail, role: Role | None = None
    ) -> None:
        self.use, self._path, self._fail = use, path, fail
        self._target = _import(use, (*path, "use"), fail)
        if role is not None:  # before the options: those of something else altogether would only puzzle
            require(self, role[1], role[0], path, fail)
        self._options = _checked(self._target, options, path=path, folder=folder, fail=fail)

    @property
    def takes(self) -> Kind | None:
        """What a transform that makes another kind of its stream says it takes (`takes = "audio"` of its class)."""
        takes: Kind | None = getattr(self._target, "takes", None)
        return takes

    @property
    def target(self) -> Callable[..., Any]:
        return self._target

    def make(self, **given: object) -> Any:  # noqa: ANN401 - what it is depends on the config
        """A new object. `given`: options that the caller adds, where the constructor takes them and the config does not say."""
        wanted = {name: value for name, value in given.items() if name in _parameters(self._target) and name not in self._options}
        try:
            return self._target(**self._options, **wanted)
        except (ContractError, ValueError, TypeError, OverflowError) as error:
            problem = f"{self.use} does not take these options ({_one_line(error)})"
            raise self._fail(self._path, problem, "correct the option it names") from None
        except OSError as error:
            problem = f"{self.use} cannot be made ({error.strerror or error}{f': {error.filename}' if error.filename else ''})"
            raise self._fail(self._path, problem, "check that the path exists and may be used") from None

    def make_operator(self) -> Operator:
        """A transform: an object with process(), or a plain function of packets with its options filled in."""
        if inspect.isclass(self._target):
            made = self.make()
            if not callable(getattr(made, "process", None)):
                raise self._fail((*self._path, "use"), f"{self.use} is no transform: it has no process()", "name a class of operators/")
            return made  # type: ignore[no-any-return]
        return Each(partial(self._target, **self._options))


def require(part: Part, methods: Sequence[str], what: str, path: KeyPath, fail: Fail) -> None:
    """Refuses a class that has not the methods of a protocol, before anything is started with it."""
    missing = [name for name in methods if not callable(getattr(part.target, name, None))]
    if not inspect.isclass(part.target) or missing:
        why = f"it has no {missing[0]}()" if missing else "it is no class"
        raise fail((*path, "use"), f"{part.use} is no {what}: {why}", f"name a class of pipeline/{what}s/, or one like it")


def _import(use: str, path: KeyPath, fail: Fail) -> Callable[..., Any]:
    module_name, _, name = use.partition(":")
    module = _module(module_name, path, fail)
    found = getattr(module, name, None)
    if found is None or not callable(found):
        public = [known for known, value in vars(module).items() if _defined_in(value, module) and not known.startswith("_")]
        raise fail(path, f"there is no {name} in {module_name}", did_you_mean(name, public, "it has"))
    return found  # type: ignore[no-any-return]


def _defined_in(value: object, module: types.ModuleType) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__


def _module(name: str, path: KeyPath, fail: Fail) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        _not_found(name, error, path, fail)
    except Exception as error:  # noqa: BLE001 - importing runs a user's own file, which may raise anything
        raise fail(path, f"importing {name} failed ({type(error).__name__}: {_one_line(error)})", "mend that file") from None


def _not_found(name: str, error: ModuleNotFoundError, path: KeyPath, fail: Fail) -> NoReturn:
    missing = error.name or name
    if name == missing or name.startswith(f"{missing}."):
        raise fail(path, f"there is no module {name}", _modules_near(name)) from None
    package = missing.partition(".")[0]
    extra = _EXTRA_OF.get(package)
    hint = f"pip install 'sensorium[{extra}]'" if extra else f"pip install {package}"
    raise fail(path, f"{name} needs the package {package}, which is not installed", hint) from None


def _modules_near(name: str) -> str:
    """The modules beside the one that was meant, from the nearest package that exists."""
    holder = sys.modules.get(name.rpartition(".")[0])
    folders = list(getattr(holder, "__path__", []))
    names = [f.stem for folder in folders for f in Path(folder).glob("*.py") if not f.stem.startswith("_")]
    if not names:
        return "check its spelling, or put its folder on PYTHONPATH"
    return did_you_mean(name.rpartition(".")[2], names, f"in {name.rpartition('.')[0]}")


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The options by name: keyword parameters. For a function, the first parameter is the packet and is none."""
    parameters = list(inspect.signature(target).parameters.values())
    if not inspect.isclass(target):
        parameters = parameters[1:]
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name: parameter for parameter in parameters if parameter.kind in kinds}


def _checked(target: Callable[..., Any], options: Mapping[str, object], *, path: KeyPath, folder: Path, fail: Fail) -> dict[str, Any]:
    parameters = _parameters(target)
    for name in options:
        if name not in parameters:
            raise fail((*path, name), f"is not an option of {target.__name__}", did_you_mean(name, parameters, "its options"))
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            played = path[0] == "sources" and name in ("path", "paths")
            hint = "name the file: --input FILE" if played else f"write {name}: ..."
            raise fail((*path, name), f"is missing: {target.__name__} needs it", hint)
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError as error:
        raise fail((*path, "use"), f"the annotations of {target.__name__} cannot be read ({error})", "import what they name") from None
    return {name: _value(hints.get(name, Any), value, (*path, name), folder, fail) for name, value in options.items()}


def _value(annotation: Any, value: object, path: KeyPath, folder: Path, fail: Fail) -> object:  # noqa: ANN401 - a type form
    """One option, as its annotation says. Judged as JSON is: a list may become a tuple, text a Path, but '5' no number."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except PydanticSchemaGenerationError:
        raise fail(path, "cannot be set in a config", "leave it out") from None
    try:
        return _in_folder(adapter.validate_json(json.dumps(value), strict=True), folder)
    except ValidationError as error:
        mistake = first_mistake(error, annotation, value, str(path[-1]))
        raise fail((*path, *mistake.path), mistake.problem, mistake.hint) from None


def _in_folder(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, list | tuple) and any(isinstance(item, Path) for item in value):
        return type(value)(_in_folder(item, folder) for item in value)
    return value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

"""A model directory: its files, their digest, and what the runtime asks it. No torch, no ONNX in here.

model.yaml            `pipeline.model_spec.ModelSpec`, with the SHA-256 of every file below it
weights.safetensors   what training goes on from and what the torch backend runs
encode_<input>.onnx   one packet of an input -> embedding
fuse.onnx             embeddings and presence by step -> logits
attribute.onnx        the same -> logits of every set of inputs; where the head can share work between them, and it is in model.yaml
metrics.json          what was measured on it
README.md             the model card
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from operators.errors import ConfigError, EngineMismatch
from operators.tensorize import InputRule
from operators.window import AlignConfig, AlignedWindow, Mode
from pipeline.model_spec import ATTRIBUTE_FILE, FUSE_FILE, MS, SPEC_FILE, WEIGHTS_FILE, ModelSpec, before_name, encoder_file, parse_spec
from pipeline.ports import Wanted

__all__ = [
    "ATTRIBUTE_FILE",
    "FUSE_FILE",
    "SPEC_FILE",
    "WEIGHTS_FILE",
    "Model",
    "ModelSpec",
    "before_name",
    "encoder_file",
    "list_models",
    "load_model",
    "parse_spec",
]

SHIPPED = Path(__file__).parent / "models"
_MAX_SPEC_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Model:
    """A model directory whose files are all there and are the ones that model.yaml names."""

    folder: Path
    spec: ModelSpec
    digest: str

    @property
    def name(self) -> str:
        return self.spec.name

    def align_config(self, *, mode: Mode, deadline_ns: int = 0, revise_ns: int = 0, catch_up: int = 100) -> AlignConfig:
        """Windows such that decision i is about [i * hop, (i + 1) * hop) of the session."""
        window = self.spec.window
        return AlignConfig(
            streams=tuple(spec.stream_rule(name) for name, spec in self.spec.inputs.items()),
            length_ns=window.length_ms * MS,
            hop_ns=window.hop_ms * MS,
            start_ns=(window.lag_ms + window.hop_ms - window.length_ms) * MS,
            mode=mode,
            deadline_ns=deadline_ns,
            tail_ns=window.lag_ms * MS,
            revise_ns=revise_ns,
            catch_up=catch_up,
        )

    def decision_span(self, window: AlignedWindow) -> tuple[int, int]:
        """[start_ns, end_ns) of the session that the window's decision is about."""
        end_ns = window.end_ns - self.spec.window.lag_ms * MS
        return end_ns - self.spec.window.hop_ms * MS, end_ns

    def input_rules(self) -> dict[str, InputRule]:
        return {name: spec.input_rule(name) for name, spec in self.spec.inputs.items()}

    def wanted(self, name: str) -> Wanted:
        return Wanted(**self.spec.inputs[name].wanted.model_dump())

    def read(self, file: str) -> bytes:
        """A file's bytes, checked against the digest in model.yaml. Raises EngineMismatch."""
        return _checked_bytes(self.folder, self.spec, file)

    def metrics(self) -> dict[str, Any]:
        """metrics.json, or {} where there is none."""
        path = self.folder / "metrics.json"
        return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def load_model(name_or_path: str | Path) -> Model:
    """A shipped model by its name, or any model directory by its path.

    Raises ConfigError (nothing there, or model.yaml is wrong) and EngineMismatch (a file is missing or not the one that was exported).
    """
    folder = _find(name_or_path)
    path = folder / SPEC_FILE
    text = _read_spec(path)
    spec = parse_spec(_parse_yaml(text, str(path)), str(path))
    digest = hashlib.sha256(text)
    for file in spec.file_names():
        digest.update(hashlib.sha256(_checked_bytes(folder, spec, file)).digest())
    return Model(folder, spec, digest.hexdigest())


def list_models() -> list[Model]:
    """The models that ship with Sensorium, by name."""
    return [load_model(path.parent) for path in sorted(SHIPPED.glob(f"*/{SPEC_FILE}"))]


def _find(name_or_path: str | Path) -> Path:
    """A plain name is a shipped model first; anything else is a path."""
    text = str(name_or_path)
    plain = isinstance(name_or_path, str) and "/" not in text and text not in ("", ".", "..")
    for folder in [SHIPPED / text] * plain + [Path(name_or_path)]:
        if text and _is_model(folder):
            return folder
    shipped = ", ".join(sorted(path.parent.name for path in SHIPPED.glob(f"*/{SPEC_FILE}"))) or "none"
    problem = f"no model of that name and no {SPEC_FILE} at that path"
    raise ConfigError(text, "model", problem, f"shipped models: {shipped}; or give the path of a model directory")


def _is_model(folder: Path) -> bool:
    try:
        return (folder / SPEC_FILE).is_file()
    except OSError:  # a name too long for the file system
        return False


def _read_spec(path: Path) -> bytes:
    if path.stat().st_size > _MAX_SPEC_BYTES:
        raise ConfigError(str(path), "", f"{path.stat().st_size} bytes", f"a model.yaml has at most {_MAX_SPEC_BYTES}")
    return path.read_bytes()


def _parse_yaml(text: bytes, file: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(file, "", f"not YAML: {' '.join(str(error).split())[:200]}", "restore the file from the export") from None


def _checked_bytes(folder: Path, spec: ModelSpec, file: str) -> bytes:
    wanted = spec.files.get(file)
    if wanted is None:
        raise EngineMismatch(f"model {spec.name}: {folder / SPEC_FILE} names no digest for {file}; export the model again")
    try:
        content = (folder / file).read_bytes()
    except OSError as error:
        raise EngineMismatch(f"model {spec.name}: {folder / file} cannot be read ({error.strerror}); export the model again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        digests = f"sha256 {found[:12]}, wanted {wanted[:12]}"
        raise EngineMismatch(f"model {spec.name}: {folder / file} is not the file that was exported ({digests}); export the model again")
    return content

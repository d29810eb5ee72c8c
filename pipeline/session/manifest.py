"""manifest.json: what was run, with what, from when. Written once, when the recording begins; secrets are taken out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from operators.errors import NotASession, SessionError, UnsupportedVersion
from pipeline.mask import is_secret, mask
from pipeline.ports import Kind
from pipeline.session.layout import MANIFEST

FORMAT, VERSION = "sensorium-session", 1
BYTE_LIMIT = 4 << 20
Text = Annotated[str, Field(max_length=4096)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RecordedModel(_Strict):
    """name@digest decides; folder is where it was found, empty for one that ships. windows: a digest of what windows it wants."""

    name: Text
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    windows: Text
    folder: Text = ""


class RecordedInput(_Strict):
    """One input of the model: its kind, the source and stream that fed it (empty: none did), and a digest of how it was prepared."""

    kind: Kind
    stream: Text = ""
    preparation: Text = ""


class Manifest(_Strict):
    """version: readers take their own and older ones. paced: the run kept to a clock; else it read as fast as it could.

    plan: the digest that decision ids are made with. deadline_ms, revise_ms, hold: what windows and labels depend on beside the model.
    imported: the name of the file that it was made from. plan, model: null for an imported media file, which nothing was decided about.
    """

    format: Literal["sensorium-session"] = "sensorium-session"
    version: int = VERSION
    session: Text
    created: Text
    software: Text
    paced: bool
    plan: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    model: RecordedModel | None
    inputs: dict[Text, RecordedInput]
    deadline_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    revise_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    hold: Annotated[int, Field(ge=1, le=1000)]
    attribution: bool = False
    config: dict[str, Any] = {}
    imported: Text = ""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """As a whole or not at all. Raises OSError."""
    path = folder / MANIFEST
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(manifest.model_dump(mode="json"), file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_manifest(folder: Path) -> Manifest:
    """Raises NotASession, UnsupportedVersion, SessionError."""
    path = folder / MANIFEST
    try:
        if path.is_symlink() or not path.is_file():
            raise NotASession(str(folder), f"holds no {MANIFEST}; name the folder of one recorded session")
        if path.stat().st_size > BYTE_LIMIT:
            raise SessionError(str(folder), f"its {MANIFEST} is larger than {BYTE_LIMIT >> 20} MiB")
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise NotASession(str(folder), f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise SessionError(str(folder), f"its {MANIFEST} is damaged: not JSON; the logs beside it can still be read") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise NotASession(str(folder), f"its {MANIFEST} is not that of a recorded session")
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        raise UnsupportedVersion(str(folder), f"is of version {version}; this Sensorium reads up to {VERSION}: use a newer one")
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise SessionError(str(folder), f"its {MANIFEST} is damaged: {key}: {first['msg']}") from None


def redacted(value: object, key: str = "") -> Any:  # noqa: ANN401 - plain values
    """A config without passwords, tokens and user:password in addresses."""
    if is_secret(key) and value is not None:
        return "***"
    if isinstance(value, dict):
        return {name: redacted(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, key) for item in value]
    return mask(value) if isinstance(value, str) else value

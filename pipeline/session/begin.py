"""The beginning of a recording: its folder and its manifest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from operators.errors import ConfigError
from pipeline import __version__
from pipeline.clock import wall_utc
from pipeline.model import SHIPPED
from pipeline.session.layout import Recording
from pipeline.session.manifest import Manifest, RecordedInput, RecordedModel, redacted, write_manifest
from pipeline.session.preparation import preparation, windows_of
from pipeline.session.retention import Retention

if TYPE_CHECKING:
    from pipeline.plan import Plan

MB = 1_000_000
DAY_NS = 86_400_000_000_000


def begin_recording(plan: Plan) -> Recording:
    """A new folder in the config's `record.folder`, with a manifest. Raises ConfigError, also where nothing is to be recorded."""
    record, store = plan.config.record, store_of(plan)
    if record is None:
        raise plan.config.error(("record",), "is missing", "name a folder, with --record FOLDER")
    created = wall_utc()
    try:
        folder = new_folder(store, f"{plan.config.session or 'session'}-{created[:19].replace(':', '').replace('-', '')}Z")
        _begin(folder, manifest_of(plan, created))
    except OSError as error:
        problem = f"cannot be recorded to ({error.strerror})"
        raise plan.config.error(("record", "folder"), problem, "name a folder that can be written, with --record FOLDER") from None
    return Recording(
        folder=str(folder),
        segment_ns=round(record.segment * 1e9),
        segment_bytes=round(record.segment_mb * MB),
        free_bytes=round(record.free_mb * MB),
    )


def _begin(folder: Path, manifest: Manifest) -> None:
    """A folder that cannot get its manifest goes again."""
    try:
        write_manifest(folder, manifest)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def store_of(plan: Plan) -> Path:
    """The folder of the config's recordings."""
    record = plan.config.record
    return plan.config.folder / Path("" if record is None else record.folder).expanduser()


def retention_of(plan: Plan) -> Retention | None:
    record = plan.config.record
    if record is None or (record.keep_days is None and record.keep_gb is None):
        return None
    return Retention(
        store=store_of(plan),
        keep_ns=None if record.keep_days is None else round(record.keep_days * DAY_NS),
        keep_bytes=None if record.keep_gb is None else round(record.keep_gb * 1000 * MB),
    )


def new_folder(store: Path, name: str) -> Path:
    """An empty folder NAME, or NAME-2, NAME-3 ... in the store. Raises OSError, ConfigError."""
    store.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = store / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise ConfigError(str(store), "record.folder", "holds a thousand recordings of this second", "name another folder")


def manifest_of(plan: Plan, created: str) -> Manifest:
    config, model = plan.config, plan.model
    shipped = model.folder.parent == SHIPPED
    return Manifest(
        session=config.session or "session",
        created=created,
        software=f"sensorium {__version__}",
        paced=config.run.speed != "max",
        plan=plan.digest,
        model=RecordedModel(
            name=model.name, digest=model.digest, windows=windows_of(model), folder="" if shipped else str(model.folder.absolute())
        ),
        inputs={
            name: RecordedInput(kind=spec.kind, stream=config.inputs.get(name, ""), preparation=preparation(model, name))
            for name, spec in model.spec.inputs.items()
        },
        deadline_ms=config.align.deadline_ms,
        revise_ms=config.align.revise_ms,
        hold=config.decide.hold,
        attribution=config.decide.attribution,
        config=redacted(config.model_dump(mode="json", exclude={"origin"})),
    )

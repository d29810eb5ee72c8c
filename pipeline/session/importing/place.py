"""Where an imported session is put together: out of sight until it is whole, and gone if it does not become so."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operators.errors import SessionError
from pipeline.session.begin import new_folder

HIDDEN = ".importing-"


class Place:
    """folder: the session being made. final: where it is once `place` has ended well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.final = folder


@contextmanager
def place(store: Path, name: str) -> Iterator[Place]:
    """Becomes the folder NAME (or NAME-2 ...) of the store as a whole, or not at all. Raises SessionError where it cannot be written."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        made = Place(Path(tempfile.mkdtemp(prefix=HIDDEN, dir=store)))
    except OSError as error:
        raise SessionError(str(store), f"cannot be imported to ({error.strerror}); name a folder that can be written") from None
    try:
        yield made
        made.final = new_folder(store, name)
        made.folder.replace(made.final)  # an empty folder of ours gives way
    finally:
        shutil.rmtree(made.folder, ignore_errors=True)

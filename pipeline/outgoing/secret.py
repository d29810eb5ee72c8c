"""Secrets of sinks: from a file that only its owner may read, or from an environment variable; never from a config."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from operators.errors import ContractError

MOST_BYTES = 65_536


def private_text(path: Path) -> str:
    """What is in the file, without the blanks around it. Raises ContractError, without a word of it."""
    try:
        about = path.stat()
        if stat.S_IMODE(about.st_mode) & 0o077 or about.st_uid != os.getuid():
            raise ContractError(f"{path} holds a secret and can be read by others; chmod 600 it, and make it yours")
        if about.st_size > MOST_BYTES:
            raise ContractError(f"{path} is no secret: {MOST_BYTES} bytes at most wanted, got {about.st_size}")
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise ContractError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ContractError(f"{path} is no UTF-8 text") from None


def secret_of(file: Path | None, variable: str | None, *, least: int = 16) -> bytes:
    """The secret, from the one that is given. Raises ContractError if not exactly one is, or it has under `least` bytes."""
    if (file is None) == (variable is None):
        raise ContractError("either secret_file or secret_env wanted")
    text = private_text(file) if file is not None else os.environ.get(variable or "", "").strip()
    if len(text.encode()) < least:
        raise ContractError(f"{file or f'the environment variable {variable}'} wants a secret of {least} bytes or more")
    return text.encode()

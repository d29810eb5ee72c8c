"""Real parts that a test needs: a command of the system, a server, a browser."""

import shutil

import pytest

MISSING = "missing part"


def part(command: str) -> str:
    """The path of a command; skips the test where it is missing (and `.ci/run`, which installs it, fails)."""
    path = shutil.which(command)
    if path is None:
        pytest.skip(f"{MISSING}: {command}")
    return path

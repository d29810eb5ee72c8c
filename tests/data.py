"""Where the real recordings are: the folder named by SENSORIUM_DATA, or ../shared/data beside the checkout."""

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("SENSORIUM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def recording(name: str) -> Path:
    """The path of a recording; skips the test, with a reason, where it is not there."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no recording {name}: set SENSORIUM_DATA to the folder that holds it")
    return path

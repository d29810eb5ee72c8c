"""Every command and every piece of Python that README.md and the page on sessions as data show is run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SHELL = [
    line[2:]
    for block in re.findall(r"```console\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith("$ sensorium ")
]
SESSIONS = (ROOT / "docs" / "sessions-api.md").read_text()
PYTHON = [
    code for page in (README, (ROOT / "docs" / "time.md").read_text(), SESSIONS) for code in re.findall(r"```python\n(.*?)```", page, re.S)
]


def test_the_readme_shows_commands_and_python():
    assert len(SHELL) >= 3
    assert PYTHON


@pytest.mark.parametrize("command", SHELL)
def test_a_command_of_the_readme_works(command, tmp_path):
    words = shlex.split(command.split("  #")[0])
    program = shutil.which("sensorium", path=str(Path(sys.executable).parent))
    assert program, "the command `sensorium` stands beside the interpreter"
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    done = subprocess.run([program, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("code", PYTHON)
def test_python_of_the_readme_and_of_the_page_on_time_runs(code, tmp_path):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(240)
def test_the_commands_of_the_page_on_sessions_work_one_after_the_other(tmp_path):
    lines = [line[2:] for block in re.findall(r"```console\n(.*?)```", SESSIONS, re.S) for line in block.splitlines()]
    assert len(lines) >= 7
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = ["bash", "-euc", "\n".join(lines)]  # a shell: the page names sessions by patterns
    done = subprocess.run(words, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"scene.mcap", "scene.rrd", "scene"} <= {path.name for path in tmp_path.iterdir()}

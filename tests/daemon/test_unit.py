"""The systemd unit says what the daemon does."""

from __future__ import annotations

import os
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from operators.errors import ConfigError
from pipeline.cli import cli
from pipeline.commands.daemon import PATIENCE_NS
from pipeline.runtime.supervisor import STOP_NS

UNIT = Path(__file__).parents[2] / "configs" / "systemd" / "sensorium.service"
S = 1_000_000_000


@pytest.fixture
def service() -> dict[str, str]:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(UNIT.read_text())
    return dict(unit["Service"])


def test_its_command_is_one_that_the_commands_know(service: dict[str, str], tmp_path: Path) -> None:
    command, *words = service["ExecStart"].split()
    assert command.endswith("/sensorium")
    (tmp_path / "service.yaml").write_text("listen: nowhere\n")
    asked = [str(tmp_path / "service.yaml") if word.endswith("service.yaml") else word for word in words]
    said = CliRunner().invoke(cli, asked)
    assert isinstance(said.exception, ConfigError)  # it has read its settings: no word before was wrong
    assert "ADDRESS:PORT" in str(said.exception)
    assert service["RestartPreventExitStatus"] == str(ConfigError.exit_code)


def test_it_is_given_the_time_that_it_takes(service: dict[str, str]) -> None:
    assert service["Type"] == "notify"
    assert service["Restart"] == "always"
    assert int(service["TimeoutStartSec"]) * S >= 2 * PATIENCE_NS
    assert int(service["TimeoutStopSec"]) * S >= 3 * STOP_NS


def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    program = shutil.which("true")
    copy = tmp_path / "sensorium.service"
    copy.write_text(UNIT.read_text().replace("%h/.local/bin/sensorium", str(program)))
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")

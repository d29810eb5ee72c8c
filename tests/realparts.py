"""Real parts for the tests of live sources: a private sound server, a camera below the C library, an RTSP server, and a watched source.

What each needs of the system is in .ci/run; a test whose part is missing skips and says which.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from parts import MISSING, part
from waiting import until

HERE = Path(__file__).parent / "real"
ROOT = HERE.parents[1]


class Watched:
    """A source in a process of its own (tests/real/watch.py) and all that it said."""

    def __init__(self, use: str, options: dict[str, Any], env: dict[str, str]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.epoch_ns = time.monotonic_ns()  # session time 0
        words = [sys.executable, str(HERE / "watch.py"), use, json.dumps(options), "--again"]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            words,
            env={**os.environ, **env, "PYTHONPATH": path, "WATCH_EPOCH_NS": str(self.epoch_ns)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.errors: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.rows.append(json.loads(line))

    def _read_errors(self) -> None:
        self.errors.extend(self.process.stderr or ())

    def packets(self, stream: str, since: int = 0) -> list[dict[str, Any]]:
        return [row for row in self.rows[since:] if row.get("packet") == stream]

    def states(self, stream: str) -> list[str]:
        """Each once, in order."""
        found: list[str] = []
        for row in list(self.rows):
            state = row.get("health", {}).get(stream, {}).get("state")
            if state is not None and found[-1:] != [state]:
                found.append(state)
        return found

    def state(self, stream: str) -> str:
        return (self.states(stream) or [""])[-1]

    def health(self, stream: str) -> dict[str, Any]:
        return next(row["health"][stream] for row in reversed(self.rows) if "health" in row)

    def now_ms(self) -> float:
        return (time.monotonic_ns() - self.epoch_ns) / 1e6

    def when(self, stream: str, state: str, since: int = 0) -> float:
        """When, in ms of the session, the stream was first said to be so."""
        return next(float(row["at_ms"]) for row in self.rows[since:] if row.get("health", {}).get(stream, {}).get("state") == state)

    def wait_state(self, stream: str, state: str, seconds: float) -> None:
        until(lambda: self.state(stream) == state, seconds, f"{stream} is {state}, not {self.states(stream)} {self.errors[-3:]}")

    def wait_packets(self, stream: str, count: int, seconds: float = 20) -> None:
        begun = len(self.packets(stream))
        until(lambda: len(self.packets(stream)) >= begun + count, seconds, f"{count} packets of {stream} {self.errors[-3:]}")

    def said(self) -> str:
        """All of it, for looking for what must not be in there."""
        return json.dumps(self.rows) + "".join(self.errors)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


class SoundServer:
    """A PulseAudio of its own with a speaker `vspk` that plays to nobody and a microphone `vmic` that hears it."""

    def __init__(self, folder: Path) -> None:
        for command in ("pulseaudio", "pactl", "pacat"):
            part(command)
        self.folder = folder
        self.socket = folder / "s"
        alsa = folder / "alsa.conf"
        alsa.write_text('</usr/share/alsa/alsa.conf>\npcm.vmic { type pulse device vmic hint { show on description "virtual" } }\n')
        (folder / "start.pa").write_text(
            f"load-module module-native-protocol-unix socket={self.socket} auth-anonymous=1\n"
            "load-module module-null-sink sink_name=vspk rate=48000 channels=1 norewinds=1\n"
            "load-module module-remap-source source_name=vmic master=vspk.monitor\n"
        )
        self.env = {
            "PULSE_SERVER": f"unix:{self.socket}",
            "ALSA_CONFIG_PATH": str(alsa),
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
        }
        self.players: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        words = ["pulseaudio", "-n", "-F", str(self.folder / "start.pa"), "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        words += ["--realtime=no", "--high-priority=no"]
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(words, env={**os.environ, **self.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self.control("info").returncode == 0, 10, "the sound server answers")

    def control(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["pactl", *words], env={**os.environ, **self.env}, capture_output=True, check=False, timeout=10)

    def speaker(self, *, latency_ms: int = 100) -> subprocess.Popen[bytes]:
        """Takes 48 kHz mono s16le on its stdin, and as much of it ahead of time."""
        words = ["pacat", "-p", "-d", "vspk", "--raw", "--rate=48000", "--channels=1", "--format=s16le", f"--latency-msec={latency_ms}"]
        nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.players.append(subprocess.Popen(words, env={**os.environ, **self.env}, stdin=subprocess.PIPE, **nowhere))
        return self.players[-1]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        for process in (self.process, *self.players):
            process.kill()
            process.wait()
        for player in self.players:
            with contextlib.suppress(OSError):  # what it had not taken
                player.stdin.close()  # type: ignore[union-attr]


class Sender:
    """A program that says `ready` and sends until it is ended: an RTSP server, an encoder."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.start()

    @classmethod
    def rtsp(cls, port: int) -> Sender:
        python = "/usr/bin/python3"
        about = "import gi; gi.require_version('GstRtspServer', '1.0'); import numpy"
        if not Path(python).exists() or subprocess.run([python, "-c", about], capture_output=True, check=False).returncode:
            pytest.skip(f"{MISSING}: gir1.2-gst-rtsp-server-1.0, python3-gi, python3-numpy")
        return cls(python, str(HERE / "rtsp_server.py"), str(port))

    @classmethod
    def plain(cls, kind: str, port: int) -> Sender:
        return cls(sys.executable, str(HERE / "senders.py"), kind, str(port))

    def start(self) -> None:
        self.process = subprocess.Popen(self.words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class FakeCamera:
    """/dev/video0 "Fake Camera", 640x360 YUYV at 30 fps, for processes with `env`; each picture carries its own time."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.control = folder / "control"
        self.env = {"LD_PRELOAD": str(library), "FAKEV4L2_CTL": str(self.control)}

    def be(self, word: str) -> None:
        """stall: no pictures; unplug: gone; "": as it should."""
        self.control.write_text(word)

    @staticmethod
    def build(folder: Path) -> Path:
        library = folder / "fakev4l2.so"
        words = [part("gcc"), "-O2", "-w", "-shared", "-fPIC", "-o", str(library), str(HERE / "fakev4l2.c"), "-ldl", "-lpthread"]
        subprocess.run(words, check=True, capture_output=True)
        return library

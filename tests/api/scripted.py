"""Starts the real API process with an invented supervisor behind it, for whoever works on the page.

    .venv/bin/python tests/api/scripted.py [--port 8700] [--recordings FOLDER] [--folder FOLDER] [--per-minute 600]

It prints an address with a one-time code; Enter prints another one. Ctrl-C ends it; --folder keeps token, cookies and recordings across starts.

Sessions `desk` and `hall` say 10 decisions and 4 statuses a second and publish pictures, levels, words and marks while a page looks; every 20 s
the microphone is silent for 1 s (degraded, presence "timeout"). Asks are answered: start (a second one of a name is refused, `heavy` is
refused with 503), stop, record, attach (preset `browser`), detach, configs, presets, replay (1x, ends after 10 s), purge. Text in is taken by a real
`Post` source if a session has one: here it is refused. Recordings: those in the folder; without one the demo clip is imported (no decisions in it).
The page's files are served from pipeline/api/page/ as they are at each request: edit and reload.

What the sockets say (text frames; binary frames of .../live are pictures: 4 bytes big-endian header length, header JSON, JPEG):
  /api/live                   {"type": "engine", "state", "restarts", "why", "cores", "fusion" ...}   {"type": "sessions", "sessions": [as GET /api/sessions]}
  /api/sessions/desk/live     first {"type": "session", ...}, {"type": "status", "status": {...}}, then as it happens
    {"type": "decision", "decision": {...}} {"type": "status", "status"} {"type": "session", ...} {"type": "gone", "session", "why", "exit_code"}
    {"type": "level", "source", "stream", "at_ns", "rms_db", "peak_db"} {"type": "text", "stream", "start_ns", "end_ns", "text"}
    {"type": "marks", "input", "spans", "dropped"} {"type": "missed", "dropped": {kind: count}}: this page was too slow for so many
  ?after=DECISION_ID resumes. A session that is not there: the socket is closed with 4404. The page sends nothing.
A session that has ended stays in the list with "gone": {"why", "exit_code"} until 8 later ones have.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import inventedsession as script  # noqa: E402
import zmq  # noqa: E402
from fakesupervisor import FakeSupervisor  # noqa: E402

MS, S = script.MS, script.S
CONFIGS = [
    {"name": "desk", "title": "Camera and microphone of this machine", "sources": ["desk", "notes"], "model": "speaking"},
    {"name": "demo", "title": "The demo scene", "sources": ["file"], "model": "speaking"},
    {"name": "heavy", "title": "More than this machine can do", "sources": ["cam"], "model": "speaking"},
]


class Play:
    """The invented supervisor's sessions."""

    def __init__(self, folder: Path, port: int, recordings: Path | None, per_minute: int = 600) -> None:
        service = {
            "listen": f"127.0.0.1:{port}",
            "log": "text",
            "limits": {"per_minute": per_minute},
            **({} if recordings is None else {"recordings": str(recordings)}),
        }
        self.supervisor = FakeSupervisor(folder, self.answer, **service)
        self.running: dict[str, dict[str, Any]] = {}
        self.lock = threading.RLock()
        self.life = f"{time.time()}"

    def begin(self, name: str, **changed: Any) -> None:
        with self.lock:
            self.running[name] = {
                "since": time.monotonic_ns(),
                "session": script.session(name, **changed),
                "decided": 0,
                "step": 0,
                "life": self.life,
            }
            self.supervisor.say(self.running[name]["session"])

    def finish(self, name: str, why: str = "", exit_code: int = 0) -> None:
        with self.lock:
            now_ns = time.monotonic_ns() - self.running[name]["since"]
            self.supervisor.say({"type": "status", "session": name, "status": script.status(name, now_ns, final=True, state="ended")})
            self.supervisor.say({"type": "gone", "session": name, "why": why, "exit_code": exit_code})
            del self.running[name]

    def change(self, name: str, **changed: Any) -> None:
        with self.lock:
            self.running[name]["session"].update(changed)
            self.supervisor.say(self.running[name]["session"])

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        (kind, values), *_ = request.items()
        with self.lock:
            name = values.get("session") or values.get("config") or f"replay-{len(self.running)}"
            if kind in ("stop", "record", "attach", "detach") and name not in self.running:
                return {"refused": f"no session {name} runs", "status": 404}
            return getattr(self, f"_{kind}")(name, values)

    def _configs(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        return {"done": "", "values": {"configs": CONFIGS}}

    def _presets(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        return {"done": "", "values": {"presets": ["browser"]}}

    def _start(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        if values["config"] not in [config["name"] for config in CONFIGS]:
            return {"refused": f"there is no config {values['config']}", "status": 409}
        if values["config"] == "heavy":
            return {"refused": "heavy needs 1.4 cores, 0.6 of 1.8 are free", "status": 503}
        if name in self.running:
            return {"refused": f"a session {name} runs already", "status": 409}
        self.begin(name, config=values["config"], recording=f"{name}-20261125T040000Z" if values["record"] else "")
        return {"done": f"{name} starts", "values": {"session": name}}

    def _replay(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        self.begin(name, config=values["recording"], replay=values["recording"], live=False)
        return {"done": f"{name} replays {values['recording']}", "values": {"session": name}}

    def _stop(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        self.finish(name)
        return {"done": f"{name} has stopped"}

    def _record(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        self.change(name, recording=f"{name}-20261125T040000Z" if values["on"] else "")
        return {"done": f"{name} is {'recorded' if values['on'] else 'not recorded any more'}"}

    def _attach(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        self.change(name, sources={**self.running[name]["session"]["sources"], values["preset"]: ["video", "audio"]})
        return {"done": f"{values['preset']} is attached"}

    def _detach(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        kept = {source: inputs for source, inputs in self.running[name]["session"]["sources"].items() if source not in values["sources"]}
        self.change(name, sources=kept)
        return {"done": f"{', '.join(values['sources'])} detached"}

    def _purge(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        return {"refused": "this is only a script: nothing is deleted", "status": 409}

    def play(self, stop: threading.Event) -> None:
        """Says and publishes what is due, in steps of 50 ms."""
        context = zmq.Context()
        socket = context.socket(zmq.XPUB)
        socket.setsockopt(zmq.SNDHWM, 16)
        socket.connect(self.supervisor.view)
        watched: set[bytes] = set()
        turn = 0
        while not stop.wait(0.05):
            with contextlib.suppress(zmq.Again):
                while True:
                    said = socket.recv(zmq.NOBLOCK)
                    (watched.add if said[:1] == b"\1" else watched.discard)(said[1:])
            if turn % 20 == 0:
                self.supervisor.say(script.engine())
            turn += 1
            with self.lock:
                for name, session in list(self.running.items()):
                    self._step(name, session, socket if f"{name}\n".encode() in watched else None)
        socket.close(0)
        context.term()

    def _step(self, name: str, session: dict[str, Any], socket: Any) -> None:
        now_ns = time.monotonic_ns() - session["since"]
        session["step"] += 1
        while (session["decided"] + 1) * script.HOP_NS + script.LAG_NS < now_ns:
            self.supervisor.say(
                {"type": "decision", "session": name, "decision": script.decision(name, session["decided"], session["life"])}
            )
            session["decided"] += 1
        if session["step"] % 5 == 0:
            recording = "on" if session["session"]["recording"] else ""
            values = script.status(name, now_ns, recording=recording, epoch_ns=session["since"])
            self.supervisor.say({"type": "status", "session": name, "status": values})
        for parts in () if socket is None else script.published(name, now_ns, session["step"]):
            with contextlib.suppress(zmq.Again):
                socket.send_multipart(parts, zmq.NOBLOCK)
        if session["session"]["replay"] and now_ns > 10 * S:
            self.finish(name)


def with_a_recording(folder: Path) -> Path:
    from pipeline.session.importing.media import import_media

    store = folder / "recordings"
    store.mkdir(exist_ok=True)
    if not any(store.iterdir()):
        import_media(ROOT / "configs/demo/scene.mp4", store)
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8700, help="0: any that is free")
    parser.add_argument("--recordings", type=Path)
    parser.add_argument("--folder", type=Path, help="for token, cookies and recordings; default: a new one that goes again")
    parser.add_argument("--per-minute", type=int, default=600, help="requests that one browser may make")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts it in the background has it ignored
    with tempfile.TemporaryDirectory(prefix="sensorium-") as scratch:
        folder = asked.folder or Path(scratch)
        folder.mkdir(exist_ok=True)
        play = Play(folder, asked.port, asked.recordings or with_a_recording(folder), asked.per_minute)
        supervisor = play.supervisor.start()
        if not supervisor.address:
            sys.exit("".join(supervisor.errors))
        play.begin("desk")
        play.begin("hall", config="demo", recording="hall-20261125T040000Z")
        stop = threading.Event()
        threading.Thread(target=play.play, args=[stop], daemon=True).start()
        threading.Thread(target=show, args=[supervisor], daemon=True).start()
        print(f"token: {folder}/state/sensorium/token")
        with contextlib.suppress(KeyboardInterrupt):
            print(supervisor.enter(), flush=True)
            while sys.stdin.readline():
                print(supervisor.enter(), flush=True)
            supervisor.process.wait()
        stop.set()
        supervisor.end()


def show(supervisor: FakeSupervisor) -> None:
    shown = 0
    while True:
        for line in supervisor.errors[shown:]:
            print(line, end="", file=sys.stderr, flush=True)
            shown += 1
        time.sleep(0.2)


if __name__ == "__main__":
    main()

"""docs/daemon.md: its table has every route, and its commands do what they say, with curl and a real API process."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import inventedsession as invented
import pytest
from fakesupervisor import FakeSupervisor
from guarded import GOLDEN, Guarded, walk
from parts import part
from waiting import until

from pipeline.live.text import TextBox
from pipeline.session.importing.media import import_media
from pipeline.sources.text_post import _Serving

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| `(GET|POST|DELETE|WS) (/\S*)` \|.*\| `(.*)` \|$", (ROOT / "docs" / "daemon.md").read_text(), re.M)
DONE = {"done": "done", "values": {"configs": [], "presets": []}}


def test_the_table_has_every_route_and_no_other(tmp_path):
    routes = {(method, route.path) for route in walk(Guarded(tmp_path).app.routes) for method in getattr(route, "methods", None) or ["WS"]}
    told = {(method, path) for method, path, _ in ROWS}
    assert routes - {("GET", "/api/openapi.json"), ("HEAD", "/api/openapi.json"), ("GET", "/{name:path}")} == told


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a command of the table as a person would."""
    part("curl")
    folder = tmp_path_factory.mktemp("api")
    store = folder / "recordings"
    store.mkdir()
    shutil.copytree(GOLDEN, store / "story")
    import_media(ROOT / "configs" / "demo" / "scene.mp4", store).rename(store / "scene")
    supervisor = FakeSupervisor(folder, lambda request: DONE).start()
    text = _Serving(0, supervisor.token, TextBox(lambda: 0, 1000), 1000)
    supervisor.say(invented.engine())
    supervisor.say(invented.session("desk"))
    doors = {"notes": {"text": text.address}}
    supervisor.say({"type": "status", "session": "desk", "status": invented.status("desk", 1, doors=doors)})
    (folder / "home" / ".local" / "state").parent.mkdir(parents=True)
    (folder / "home" / ".local" / "state").symlink_to(folder / "state")
    (folder / "offer.sdp").write_text("v=0")
    head = f'A={supervisor.address}; H="Authorization: Bearer $(cat ~/.local/state/sensorium/token)"; J="Content-Type: application/json"; '

    def run(command):
        quiet = command.replace("curl", "curl -s -m 3 -o body -w '%{http_code}'", 1)
        done = subprocess.run(
            ["bash", "-c", head + quiet],
            cwd=folder,
            env={**os.environ, "HOME": str(folder / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        return int(done.stdout or 0), (folder / "body").read_bytes()

    until(lambda: json.loads(run('curl -H "$H" $A/api/sessions')[1])[0]["status"], 5)
    yield run
    text.close()
    supervisor.end()


@pytest.mark.parametrize(("method", "path", "command"), [row for row in ROWS if row[2].startswith("curl")])
def test_each_command_works(shell, method, path, command):
    status, body = shell(command)
    expected = {"/": 401, "/api/sessions/{session}/offer": 409}.get(path)
    assert status == expected if expected else 200 <= status < 300, body
    if path.endswith("/picture"):
        assert body.startswith(b"\xff\xd8")

"""From the first click to the replay: the real daemon, a real browser with a made-up camera and microphone, and nothing between them."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from browsing import Visitor, chromium
from waiting import until

ROOT = Path(__file__).parents[2]
CONFIG = """
# A browser's camera and microphone
model: speaking
sources:
  me: {use: "pipeline.sources.webrtc:Browser", port: 0}
inputs: {video: me.video, audio: me.audio, text: me.text}
decide: {attribution: true}
"""


class Daemon:
    """A daemon of its own: its folders, its port, its configs, its recordings."""

    def __init__(self, folder: Path) -> None:
        (folder / "run").mkdir(mode=0o700)
        (folder / "configs").mkdir()
        (folder / "configs" / "booth.yaml").write_text(CONFIG)
        (folder / "service.yaml").write_text("listen: 127.0.0.1:0\nconfigs: configs\nrecordings: recordings\nadmission: {cores: 64}\n")
        self.folder = folder
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}
        said = self.command("run", "--daemon", "--service", "service.yaml")
        self.entrance = re.search(r"http://\S+", said)[0]
        self.address = self.entrance.partition("/enter")[0]

    def command(self, *words):
        run = [sys.executable, "-m", "pipeline.cli", *words]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(run, cwd=self.folder, env={**self.env, "PYTHONPATH": path}, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kill(self, module):
        """The process of this daemon that runs it."""
        pid = int(re.search(r"pid (\d+)", self.command("status"))[1])
        (victim,) = [child for child in psutil.Process(pid).children() if module in child.cmdline()]
        victim.kill()

    def end(self):
        self.command("stop", "--all")


@pytest.fixture
def daemon(tmp_path):
    running = Daemon(tmp_path)
    yield running
    running.end()


@pytest.fixture
def visitor(daemon):
    pytest.importorskip("aiortc", reason="missing part: aiortc")
    with chromium() as browser:
        visitor = Visitor(browser, daemon.address)
        visitor.page.goto(daemon.entrance)
        yield visitor
        print(visitor.page.url, visitor.text("#stage"), visitor.problems)  # shown where the test fails
        visitor.close()


def test_from_the_first_click_to_the_replay(visitor, daemon):
    page = visitor.page
    visitor.wait_text("#empty-title", "No session runs", 30)
    page.click("#empty-start")
    page.wait_for_selector("#start-config option[value=booth]", state="attached")
    page.select_option("#start-config", "booth")
    page.click("#start-go")
    visitor.wait_text("#title", "booth", 60)
    visitor.wait_text("#state", "degraded", 60)
    visitor.wait_text("#health", "video is connecting")
    assert "No picture yet" in visitor.text("#picture")

    page.click("#send")
    visitor.wait_text("#sender-text", "Sending", 30)
    visitor.wait_text("#state", "running", 20)
    until(lambda: page.get_attribute("#picture-canvas", "data-at") not in ("", None), 20, "a picture")
    before = visitor.pixels("#picture-canvas")
    until(lambda: visitor.pixels("#picture-canvas") != before, 5, "the picture moves")
    before = visitor.text("#scores")
    until(lambda: visitor.text("#scores") != before, 10, "decisions change")
    visitor.wait_text("#level-text", "dB")

    page.click("#record")
    visitor.wait_text("#recording-flag", "Recording booth", 20)
    again(lambda: say(page, "grüße aus dem browser"), lambda: "grüße aus dem browser" in visitor.text("#texts"))
    page.wait_for_timeout(4000)
    again(lambda: page.click("#record[aria-pressed=true]", timeout=20_000), lambda: page.is_hidden("#recording-flag"))
    page.click("#stop")
    page.click("#sure-go")
    visitor.wait_text("#state", "ended", 30)
    visitor.wait_text("#sender-text", "nothing is sent any more")
    assert page.is_hidden("#sender-stop")

    page.click("#recordings a:has-text('booth')")
    visitor.wait_text("#facts", "me.video")
    until(lambda: page.locator("#scores .chosen").count() == 1 or seek(page, 0.6), 20, "a decision under the thumb")
    until(lambda: page.get_attribute("#picture-canvas", "data-at") not in ("", None), 20, "a picture under the thumb")
    first = visitor.pixels("#picture-canvas")
    seek(page, 0.9)
    until(lambda: visitor.pixels("#picture-canvas") != first, 20, "another picture under the thumb")
    visitor.wait_text("#texts", "grüße aus dem browser")
    seek(page, 0.6)
    thumb_s = int(page.input_value("#thumb")) / 1000

    page.click("#replay")
    visitor.wait_text("#about", "replay of booth-", 30)
    visitor.wait_text("#verdict-presence", "audio", 30)
    until(lambda: page.get_attribute("#picture-canvas", "data-at") not in ("", None), 20, "a picture of the replay")
    assert thumb_s - 0.2 <= seconds(visitor.text("#decided-when"))  # from where the thumb was, and not from the beginning
    visitor.wait_text("#state", "ended", 60)
    assert visitor.problems == []

    page.click("#recordings a:has-text('booth')")
    page.click("#purge")
    page.click("#sure-go")
    visitor.wait_text("#sure-title", "Deleted", 20)
    page.click("#sure-dialog .close")
    until(lambda: page.locator("#recordings a").count() == 0, 10, "it is gone from the list")
    assert list((daemon.folder / "recordings").glob("booth*")) == []


def test_the_camera_is_offered_again_when_the_engine_was_killed(visitor, daemon):
    page = visitor.page
    page.click("#start")
    page.wait_for_selector("#start-config option[value=booth]", state="attached")
    page.select_option("#start-config", "booth")
    page.click("#start-go")
    visitor.wait_text("#title", "booth", 60)
    page.click("#send")
    visitor.wait_text("#sender-text", "Sending", 40)
    visitor.wait_text("#state", "running", 30)
    daemon.kill("pipeline.runtime.engine_main")
    visitor.wait_text("#picture-stale", "Not live", 20)  # what is left is not shown as if it were now
    visitor.wait_text("#events", "engine is started again", 30)
    until(lambda: visitor.text("#events").count("connected (browser") == 2, 60, "nobody clicked, and it is sent again")
    visitor.wait_text("#sender-text", "Sending", 20)
    visitor.wait_text("#state", "running", 30)
    page.wait_for_selector("#picture-stale", state="hidden", timeout=20_000)


def again(press, is_so):
    """Until it is so: on a busy machine a text may come too late for its stream, and a recording may still be beginning."""
    for _ in range(4):
        press()
        with contextlib.suppress(AssertionError):
            return until(is_so, 6)
    raise AssertionError("it is not so")


def say(page, text):
    page.fill("#say-text", text)
    page.press("#say-text", "Enter")


def seek(page, share):
    page.eval_on_selector("#thumb", f"e => {{ e.value = e.max * {share}; e.dispatchEvent(new Event('input')); }}")


def seconds(text):
    minutes, rest = re.match(r"(\d+):([\d.]+)", text).groups()
    return 60 * int(minutes) + float(rest)

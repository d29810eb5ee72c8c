"""docs/pictures/dashboard-*.png: the page during a real run of the demo scene by a real daemon.

    python docs/pictures/make.py [FOLDER]

Light and dark, desktop and phone, each at one moment of a session of its own. Wants Chromium and the extra `dev`; looks best where the font
Inter is installed (Debian: fonts-inter). The daemon has its own folders and any free port, and ends with this script.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
SHOT_S = 36.4
"""Of the session: she speaks, and all of the last half minute is known. It ends at 39.5."""
CLOCK_S = "document.getElementById('clock').textContent.split(':').reduce((all, part) => 60 * all + Number(part), 0)"
CONFIG = f"""
# A drawn face that talks, an off-screen voice and captions
model: speaking
sources:
  media: {{use: "pipeline.sources.file:MediaFile", path: {ROOT / "configs/demo/scene.mp4"}}}
inputs: {{video: media.video, audio: media.audio, text: media.text}}
decide: {{attribution: true}}
"""
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><include>/etc/fonts/fonts.conf</include>
{}</fontconfig>"""
INTER = """<match target="pattern"><test qual="any" name="family"><string>{}</string></test>
<edit name="family" mode="prepend" binding="strong"><string>Inter</string></edit></match>
"""
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1440, "height": 1236}, "device_scale_factor": 1.5},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


def sensorium(folder: Path, *words: str) -> str:
    places = {"XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipeline.cli", *words]
    return subprocess.run(command, cwd=folder, env={**os.environ, **places}, capture_output=True, text=True, check=True).stdout


def begin(folder: Path) -> str:
    """Starts the daemon; gives the address that lets a browser in."""
    (folder / "run").mkdir(mode=0o700)
    (folder / "configs").mkdir()
    (folder / "configs" / "scene.yaml").write_text(CONFIG)
    (folder / "service.yaml").write_text("listen: 127.0.0.1:0\nconfigs: configs\n")
    found = re.search(r"http://\S+", sensorium(folder, "run", "--daemon", "--service", "service.yaml"))
    assert found is not None
    return found[0]


def photograph(page: Page, out: Path) -> None:
    """Starts the session, takes the picture, waits for its end."""
    page.click("#start")
    page.wait_for_selector("#start-config option[value=scene]", state="attached")
    page.select_option("#start-config", "scene")
    page.click("#start-go")
    page.wait_for_selector("#title:text-is('scene')")
    while page.evaluate(CLOCK_S) < SHOT_S:
        page.wait_for_timeout(50)
    page.screenshot(path=out)
    page.wait_for_selector("#state:text-is('ended')")


def photograph_all(browser: Browser, entrance: str, out: Path) -> None:
    """One after the other: four pages that draw at a time would slow down what they show."""
    door = browser.new_context()
    door.new_page().goto(entrance)
    kept = door.storage_state()
    door.close()
    for theme in ("light", "dark"):
        for size, options in SIZES.items():
            context = browser.new_context(storage_state=kept, color_scheme=theme, **options)
            page = context.new_page()
            page.goto(entrance.partition("/enter")[0] + "/#/")
            page.wait_for_selector("#empty-start:visible")
            if size == "phone":
                page.click("#menu")
            photograph(page, out / f"dashboard-{theme}-{size}.png")
            context.close()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the daemon ends with us
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        (folder / "fonts.conf").write_text(FONTS.format("".join(INTER.format(name) for name in ("sans", "sans-serif", "system-ui"))))
        entrance = begin(folder)
        try:
            found = shutil.which("chromium")
            env = {**os.environ, "FONTCONFIG_FILE": str(folder / "fonts.conf")}
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"], env=env)
            photograph_all(browser, entrance, out)
            browser.close()
        finally:
            sensorium(folder, "stop", "--all")


if __name__ == "__main__":
    main()

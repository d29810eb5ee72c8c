"""The page in a real browser, before the real API with an invented supervisor behind it (tests/api/scripted.py)."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from browsing import PHONE, Visitor, chromium
from waiting import until

ROOT = Path(__file__).parents[2]
THEMES = ("light", "dark")


class Scripted:
    """The server, and addresses that let in."""

    def __init__(self, folder: Path) -> None:
        recordings = folder / "recordings"
        recordings.mkdir()
        shutil.copytree(ROOT / "tests" / "golden" / "session", recordings / "golden")
        words = [
            sys.executable,
            str(ROOT / "tests" / "api" / "scripted.py"),
            "--port",
            "0",
            "--folder",
            str(folder),
            "--per-minute",
            "6000",
        ]
        env = {**os.environ, "XDG_STATE_HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        with_demo = "from pipeline.session.importing.media import import_media; from pathlib import Path; import sys"
        with_demo += "; import_media(Path(sys.argv[1]), Path(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", with_demo, str(ROOT / "configs/demo/scene.mp4"), str(recordings)], cwd=ROOT, check=True)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*words, "--recordings", str(recordings)], env=env, cwd=ROOT, text=True, **pipes)
        assert self.process.stdout.readline().startswith("token: ")
        self.entrance = self.process.stdout.readline().strip()
        self.address = self.entrance.partition("/enter")[0]

    def signal_api(self, number):
        for child in psutil.Process(self.process.pid).children():
            child.send_signal(number)

    def end(self):
        self.signal_api(signal.SIGCONT)
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def scripted(browser, tmp_path_factory):
    server = Scripted(tmp_path_factory.mktemp("s"))
    yield server
    server.end()


@pytest.fixture(scope="module")
def cookies(browser, scripted):
    """Of a browser that came by the one-time address."""
    visitor = Visitor(browser, scripted.address)
    visitor.page.goto(scripted.entrance)
    found = visitor.context.cookies()
    visitor.close()
    return found


@pytest.fixture
def visit(browser, scripted, cookies):
    """Opens a place of the page; at the end nothing may have gone wrong in any."""
    visitors = []

    def begin(place="", **options):
        visitors.append(Visitor(browser, scripted.address, cookies, **options))
        visitors[-1].open(place)
        return visitors[-1]

    yield begin
    for visitor in visitors:
        visitor.close()
    assert [line for visitor in visitors for line in visitor.problems] == []


def start(visitor, name, *, record=False, config="demo"):
    page = visitor.page
    page.click("#start")
    page.wait_for_selector("#start-config option", state="attached")
    page.select_option("#start-config", config)
    page.fill("#start-name", name)
    page.set_checked("#start-record", record)
    page.click("#start-go")
    page.wait_for_selector(f"#title:text-is('{name}')")


# -- what is shown


def test_the_picture_moves_and_decisions_change(visit):
    visitor = visit("#/session/desk")
    visitor.wait_text("#verdict-presence", "video")
    for canvas in ("#picture-canvas", "#level-canvas", "#timeline"):
        before = visitor.pixels(canvas)
        until(lambda canvas=canvas, before=before: visitor.pixels(canvas) != before, 5, canvas)
    before = visitor.text("#decided-when")
    until(lambda: visitor.text("#decided-when") != before, 5)
    assert visitor.page.title().endswith("desk – Sensorium")
    labels = visitor.page.locator("#scores .name").all_inner_texts()
    assert labels == ["speaking", "dubbed", "silent"]
    assert visitor.text("#verdict-label") in labels
    assert visitor.page.locator("#attribution .name").all_inner_texts() == ["video", "audio", "text"]
    assert visitor.page.locator("#latency tbody th").all_inner_texts() == ["transport", "align", "encode", "fuse", "attribute", "total"]
    assert visitor.page.locator("#streams [role=rowheader]").all_inner_texts() == ["video", "audio", "text"]
    assert "+12.5 ppm" in visitor.text("#streams")
    assert "of 2 cores" in visitor.text("#cores")


WATCH = """() => {
    window.said = { state: [], sick: [], health: [], presence: [], texts: [] };
    const note = (name, text) => said[name].includes(text) || said[name].push(text);
    setInterval(() => {
        note("state", document.getElementById("state").textContent);
        note("sick", document.getElementById("banner-sick").textContent);
        for (const each of document.querySelectorAll("#health li")) note("health", each.textContent);
        for (const each of document.querySelectorAll("#verdict-presence li")) note("presence", each.textContent);
        for (const each of document.querySelectorAll("#texts li")) note("texts", each.textContent);
    }, 50);
}"""


def test_a_degraded_second_is_said_with_its_reason_and_text_is_never_markup(visit):
    visitor = visit("#/session/desk")
    visitor.page.evaluate(WATCH)

    def have(name, text):
        return any(text in each for each in visitor.page.evaluate("said")[name])

    # It comes every 20 s and lasts for one: a busy machine may miss some of it once.
    until(lambda: have("presence", "audio timeout") and have("state", "degraded"), 70)
    until(lambda: have("health", "audio is stalled") and have("sick", "session desk is degraded"), 70)
    until(lambda: visitor.text("#state") == "running", 10)
    until(lambda: have("texts", '<b>not bold</b> & "quoted"'), 30)
    assert visitor.page.locator("#texts b").count() == 0


def test_what_is_recorded_is_said_in_words_everywhere(visit):
    visitor = visit("#/session/desk")
    visitor.wait_text("#recording-flag", "Recording hall")  # another session than the one that is looked at
    visitor.page.click("#sessions a:has-text('hall')")
    visitor.wait_text("#record", "Stop recording")
    assert visitor.page.get_attribute("#record", "aria-pressed") == "true"
    assert visitor.page.title() == "● Recording – hall – Sensorium"


def test_a_moment_of_the_timeline_is_read_out_by_pointer_and_by_keyboard(visit):
    visitor = visit("#/session/desk")
    page = visitor.page
    visitor.wait_text("#streams", "video")
    page.wait_for_timeout(1500)
    box = page.locator("#timeline").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 20)
    visitor.wait_text("#reading", "video: present")
    assert "decided" in visitor.text("#reading")
    page.mouse.move(0, 0)
    page.focus("#cursor")
    for _ in range(3):
        page.keyboard.press("PageDown")
    visitor.wait_text("#reading", "s ago")
    assert "s ago" in page.get_attribute("#cursor", "aria-valuetext")
    page.click("#table-wrap summary")
    page.wait_for_selector("#table tbody tr")
    assert page.locator("#table thead th").all_inner_texts() == ["time", "label", "score", "video", "audio", "text", "total ms"]


def test_a_held_timeline_stands_while_the_session_goes_on(visit):
    visitor = visit("#/session/desk")
    visitor.wait_text("#streams", "video")
    visitor.page.click("#hold")
    visitor.page.wait_for_timeout(1500)  # what was under way when it was held
    before, clock = visitor.pixels("#timeline"), visitor.text("#clock")
    visitor.page.wait_for_timeout(1000)
    assert visitor.pixels("#timeline") == before
    assert visitor.text("#clock") != clock
    visitor.page.click("#hold")
    until(lambda: visitor.pixels("#timeline") != before, 5)


# -- what the buttons do


def test_a_session_is_started_recorded_and_stopped(visit):
    visitor = visit("#/session/desk")
    page = visitor.page
    start(visitor, "one", record=True)
    visitor.wait_text("#recording-flag", "one")
    page.click("#record")
    visitor.wait_text("#said", "one is not recorded any more")
    visitor.wait_text("#record:not([aria-busy])", "Record")
    until(lambda: "one" not in visitor.text("#recording-flag"), 5)
    page.click("#record")
    visitor.wait_text("#recording-flag", "one")
    page.click("#stop")
    visitor.wait_text("#sure-text", "its recording, which is kept")
    page.click("#sure-go")
    visitor.wait_text("#state", "ended")
    visitor.wait_text("#health", "Ended")
    assert page.is_disabled("#record")
    assert "Ended: the last picture" in visitor.text("#picture")
    visitor.wait_text("#sessions li:has-text('one') .word", "ended")


def test_a_session_that_is_refused_says_why_in_its_dialog(visit):
    visitor = visit("#/session/desk")
    page = visitor.page
    page.click("#start")
    page.wait_for_selector("#start-config option", state="attached")
    page.select_option("#start-config", "heavy")
    page.click("#start-go")
    visitor.wait_text("#start-problem", "heavy needs 1.4 cores, 0.6 of 1.8 are free")
    page.select_option("#start-config", "desk")
    page.click("#start-go")
    visitor.wait_text("#start-problem", "a session desk runs already")
    page.keyboard.press("Escape")
    assert not page.is_visible("#start-dialog")
    visitor.problems = [line for line in visitor.problems if "503" not in line and "409" not in line]  # the browser's own note


def test_sources_are_attached_and_detached(visit):
    visitor = visit("#/session/desk")
    start(visitor, "two")
    page = visitor.page
    page.click("#sources")
    page.wait_for_selector("#sources-preset option", state="attached")
    page.click("#sources-go")
    visitor.wait_text("#sources-note", "browser is attached")
    visitor.wait_text("#sources-list", "browser → video, audio")
    page.click("#sources-list li:has-text('browser') button")
    visitor.wait_text("#sources-note", "browser detached")
    until(lambda: "browser" not in visitor.text("#sources-list"), 5)
    page.click("#sources-dialog .close")
    page.click("#send")
    visitor.wait_text("#said", "No source of this session takes a browser just now")


def test_the_scrubber_shows_what_was_at_that_time_and_replays_from_there(visit):
    visitor = visit()
    page = visitor.page
    page.click("#recordings a:has-text('scene-')")
    visitor.wait_text("#facts", "1.2 MB")
    seek(page, 2000)
    visitor.wait_text("#texts", "Hello. I am drawn")
    until(lambda: page.get_attribute("#picture-canvas", "data-at") not in ("", None), 10)
    before = visitor.pixels("#picture-canvas")
    seek(page, 12_000)
    visitor.wait_text("#thumb-text", "0:12.0")
    until(lambda: visitor.pixels("#picture-canvas") != before, 10)
    visitor.wait_text("#texts li:first-child", "Now somebody")
    visitor.wait_text("#level-text", "dB", 10)
    page.focus("#thumb")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#thumb") == "12040"
    page.click("#replay")
    visitor.wait_text("#about", "replay of scene-", 10)
    assert page.is_hidden("#record")
    visitor.wait_text("#state", "running")
    until(lambda: page.get_attribute("#picture-canvas", "data-at") not in ("", None), 10)


def test_a_recording_shows_its_decisions_under_the_thumb(visit):
    visitor = visit("#/recording/golden")
    page = visitor.page
    visitor.wait_text("#facts", "decisions read")
    seek(page, 500)
    until(lambda: page.locator("#scores .name").count() >= 2, 5)
    first = visitor.text("#decided-when")
    seek(page, 900)
    until(lambda: visitor.text("#decided-when") != first, 5)


def seek(page, ms):
    page.eval_on_selector("#thumb", f"e => {{ e.value = {ms}; e.dispatchEvent(new Event('input')); }}")


def test_what_is_not_deleted_is_said_where_it_was_asked(visit):
    visitor = visit("#/recording/golden")
    visitor.wait_text("#title", "golden")
    visitor.page.click("#purge")
    visitor.page.click("#sure-go")
    visitor.wait_text("#sure-problem", "nothing is deleted")
    visitor.page.click("#sure-dialog .close")
    visitor.problems = [line for line in visitor.problems if "409" not in line]  # the browser's own note


def test_what_is_not_there_is_said(visit):
    visitor = visit("#/session/nobody")
    visitor.wait_text("#empty-title", "There is no session “nobody”")


# -- when all is not well


def test_a_server_that_falls_silent_is_said_and_what_is_shown_is_not_shown_as_live(visit, scripted):
    visitor = visit("#/session/desk")
    page = visitor.page
    visitor.wait_text("#verdict-presence", "video")
    scripted.signal_api(signal.SIGSTOP)
    try:
        visitor.wait_text("#picture-stale", "Not live", 15)
        visitor.wait_text("#banner-line", "Disconnected from the daemon", 15)
        visitor.wait_text("#line-text", "Disconnected")
        assert "is" in visitor.text("#banner-line")
        assert "old" in visitor.text("#banner-line")
        visitor.wait_text("#state", "not live")
        assert page.title().startswith("Disconnected")
    finally:
        scripted.signal_api(signal.SIGCONT)
    visitor.wait_text("#line-text", "Connected", 30)
    visitor.wait_text("#state", "running", 20)
    assert page.is_hidden("#banner-line")
    page.click("#table-wrap summary")  # the decisions of the time that it was away are there, each once
    page.wait_for_selector("#table tbody tr:nth-child(12)")

    def is_whole():
        times = [each.split(":") for each in page.locator("#table tbody tr th").all_inner_texts()]
        seconds = [60 * int(minutes) + int(float(rest)) for minutes, rest in times]
        return seconds == list(range(seconds[0], seconds[0] - len(seconds), -1))

    until(is_whole, 10, "every second has its decision, once")


def test_a_browser_that_is_not_let_in_is_told_how(browser, scripted):
    visitor = Visitor(browser, scripted.address)
    assert visitor.open().inner_text("body").count("sensorium status") == 1
    visitor.close()


# -- for everybody


def test_the_theme_is_chosen_and_remembered(visit):
    visitor = visit("#/session/desk", color_scheme="dark")
    page = visitor.page
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    assert visitor.text("#theme") == "Theme: light"
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light
    page.click("#theme")
    assert page.evaluate(ground) == dark
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == dark
    page.click("#theme")
    assert page.evaluate(ground) == light


def test_a_phone_needs_no_scrolling_sideways(visit):
    visitor = visit("#/session/desk", viewport=PHONE)
    visitor.wait_text("#streams", "video")
    visitor.page.click("#table-wrap summary")
    wide = {"session": visitor.sideways()}
    visitor.page.click("#menu")
    visitor.page.wait_for_selector("#sessions a")
    wide["menu"] = visitor.sideways()
    for place in ("#/recording/golden", "#/session/nobody", "#/"):
        visitor.open(place)
        visitor.page.wait_for_timeout(700)
        wide[place] = visitor.sideways()
    assert wide == dict.fromkeys(wide, 0)


def test_a_session_is_started_looked_at_and_stopped_without_a_mouse(visit):
    visitor = visit("#/session/desk")
    page = visitor.page
    visitor.wait_text("#state", "running")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to what is shown"

    def go(where):
        for _ in range(60):
            if page.evaluate("document.activeElement.id") == where:
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{where} is not reached by Tab")

    go("start")
    page.keyboard.press("Enter")
    page.wait_for_selector("#start-config option", state="attached")
    go("start-name")
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    page.wait_for_selector("#title:text-is('keys')")
    go("hold")
    page.keyboard.press("Space")
    assert page.get_attribute("#hold", "aria-pressed") == "true"
    page.focus("#theme")
    go("stop")
    page.keyboard.press("Enter")
    go("sure-go")
    page.keyboard.press("Enter")
    visitor.wait_text("#state", "ended")


def test_nothing_moves_by_itself_where_the_system_says_so(visit):
    visitor = visit("#/session/desk", reduced_motion="reduce")
    visitor.wait_text("#recording-flag", "Recording")
    assert visitor.page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("viewport", [PHONE, {"width": 1440, "height": 900}], ids=["phone", "desktop"])
def test_axe_finds_nothing_in_any_view(visit, theme, viewport):
    visitor = visit("#/session/desk", color_scheme=theme, viewport=viewport)
    page = visitor.page
    visitor.wait_text("#streams", "video")
    page.wait_for_timeout(1000)
    page.click("#table-wrap summary")
    found = {"session": visitor.accessible()}
    if viewport is PHONE:
        page.click("#menu")
    page.click("#start")
    page.wait_for_selector("#start-config option", state="attached")
    found["start"] = visitor.accessible()
    page.keyboard.press("Escape")
    page.click("#sources")
    page.wait_for_selector("#sources-preset option", state="attached")
    found["sources"] = visitor.accessible()
    page.keyboard.press("Escape")
    page.click("#stop")
    found["sure"] = visitor.accessible()
    page.keyboard.press("Escape")
    visitor.open("#/recording/golden")
    visitor.wait_text("#facts", "decisions read")
    seek(page, 500)
    page.wait_for_timeout(500)
    found["recording"] = visitor.accessible()
    visitor.open("#/")
    visitor.wait_text("#empty-title", "Choose a session")
    found["nothing"] = visitor.accessible()
    assert {view: lines for view, lines in found.items() if lines} == {}


# -- its parts


def test_gaps_quantiles_and_the_clock_of_the_page(visit):
    page = visit("#/").page
    found = page.evaluate("""async () => {
        const { gaps, SessionClock, Moments } = await import("/moments.js"), { quantile, clock, ms, span } = await import("/format.js");
        const steps = Array.from({ length: 20 }, (_, i) => [i * 4e7, i * 4e7 + 4e7]).concat(Array.from({ length: 20 }, (_, i) => [2e9 + i * 4e7, 2e9 + i * 4e7 + 4e7]));
        const time = new SessionClock();
        time.hear(1e9, 1000); time.hear(1.05e9, 1200);
        const late = time.now(1200);
        time.hear(1.5e9, 1300);
        const told = new Moments().marks({ input: "text", spans: [[1, 5], [7, 900]] });
        const moments = new Moments(), said = window => ({ id: `d${window}`, window, revision: 0, start_ns: window * 10, end_ns: window * 10 + 10, latency_ns: {} });
        [3, 1, 2, 2].forEach(window => moments.decision(said(window)));
        return {
            gaps: gaps(steps, 0, 2.8e9), unknown: gaps(steps, 0, 2.8e9, [[1e9, 1.1e9]]), few: gaps(steps.slice(0, 5), 0, 9e9),
            told, late: Math.round(late / 1e6), leapt: Math.round(time.now(1300) / 1e6), far: Math.round(time.now(99_999) / 1e6),
            order: moments.decisions.map(each => each.window), at: moments.decisionAt(25).window, none: moments.decisionAt(40) === undefined,
            p50: quantile([5, 1, 3], 0.5), p99: quantile([...Array(100).keys()], 0.99), empty: Number.isNaN(quantile([], 0.5)),
            words: [clock(3_723_456_000_000), clock(59_990_000_000), ms(310_000), ms(141_400_000), span(40e6), span(1.24e9)],
        };
    }""")
    assert found == {
        "gaps": [[800_000_000, 2_000_000_000]],
        "unknown": [],
        "few": [],
        "told": 7,
        "late": 1200,
        "leapt": 1500,
        "far": 3500,
        "order": [1, 2, 3],
        "at": 2,
        "none": True,
        "p50": 3,
        "p99": 98,
        "empty": True,
        "words": ["1:02:03.4", "0:59.9", "0.31", "141", "40 ms", "1.2 s"],
    }

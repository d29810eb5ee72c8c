"""A browser sends its camera, its microphone and what is typed: headless Chromium, driven through the page that a person would use."""

import stat
import urllib.request
from statistics import median
from urllib.error import HTTPError

import numpy as np
import pytest
from listening import Listening
from parts import part
from waiting import until

from pipeline.sources.webrtc import Browser

TOKEN = "a-token-for-tests-only"
FLAGS = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--autoplay-policy=no-user-gesture-required"]
FLAGS += ["--no-sandbox", "--disable-gpu"]
FLASH_AND_BEEP = """
navigator.mediaDevices.getUserMedia = async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 }), pen = canvas.getContext("2d");
  const sound = new AudioContext({ sampleRate: 48000 }), out = sound.createMediaStreamDestination();
  const tone = sound.createOscillator(), loud = sound.createGain();
  await sound.resume();
  tone.frequency.value = 1000; loud.gain.value = 0; tone.connect(loud).connect(out); tone.start();
  for (let at = Math.ceil(sound.currentTime) + 1; at < 60; at++) {
    loud.gain.setValueAtTime(0.6, at); loud.gain.setValueAtTime(0, at + 0.1);
  }
  setInterval(() => {
    pen.fillStyle = sound.currentTime % 1 < 0.1 ? "#fff" : "#222"; pen.fillRect(0, 0, 320, 240);
  }, 10);
  return new MediaStream([...canvas.captureStream(30).getTracks(), ...out.stream.getTracks()]);
};
"""


@pytest.fixture(scope="module")
def chromium():
    path = part("chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="missing part: playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def source(tmp_path, port):
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    return Browser(port=port, token_file=token)


@pytest.fixture
def heard(source):
    with Listening(source) as listening:
        until(lambda: any("no browser sends yet" in line for line in listening.source.news()), 10)
        yield listening


def click(chromium, address, script=""):
    page = chromium.new_page()
    if script:
        page.add_init_script(script)
    page.goto(address)
    page.click("#start")
    page.wait_for_selector("#state:text-is('Sending.')", timeout=30_000)
    return page


def test_a_source_on_any_free_port_tells_where_it_takes_an_offer(tmp_path):
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    source = Browser(port=0, token_file=token)
    with Listening(source):
        until(source.doors, 10, "a door")
        offer = urllib.request.Request(source.doors()["offer"], b"v=0", {"Authorization": "Bearer wrong"}, method="POST")
        with pytest.raises(HTTPError, match="401") as refused:
            urllib.request.urlopen(offer, timeout=10)
        refused.value.close()
    assert source.doors() == {}


def address(source):
    return f"http://127.0.0.1:{source._port}/?token={TOKEN}"


def test_one_click_sends_camera_microphone_and_what_is_typed(chromium, source, heard):
    page = click(chromium, address(source))
    for stream in ("video", "audio", "text"):
        heard.live(stream, 20)
    page.fill("#text", "grüße")
    page.press("#text", "Enter")
    until(lambda: heard.texts() == ["grüße"], 5)
    until(lambda: len(heard.packets("video")) > 60, 20)
    pictures, blocks = heard.packets("video")[30:], heard.packets("audio")[50:]
    assert {picture.payload.data.shape for picture in pictures} == {(360, 640, 3)}
    assert 15 < 1e9 / median(np.diff([picture.start_ns for picture in pictures])) < 35
    assert {block.payload.rate_hz for block in blocks} == {48_000}
    assert abs(median(np.diff([block.start_ns for block in blocks])) - 20_000_000) < 100_000
    assert max(np.abs(block.payload.data).max() for block in blocks) > 0.05  # the fake microphone beeps
    page.close()
    until(lambda: heard.state("video") in ("lost", "stalled"), 5)
    again = click(chromium, address(source))
    heard.live("video", 20)
    assert heard.faults("video")["reconnect"] == 1
    again.close()


def test_picture_and_sound_of_one_instant_get_one_time(chromium, source, heard):
    page = click(chromium, address(source), FLASH_AND_BEEP)
    until(lambda: heard.source.health()["audio"].quality == "ntp", 20)
    since_ns = heard.now_ns()
    until(lambda: heard.now_ns() - since_ns > 5_000_000_000, 10)
    flashes = rises((p.start_ns, p.payload.data.mean() > 128) for p in heard.packets("video") if p.start_ns > since_ns)
    beeps = rises((p.start_ns, np.abs(p.payload.data).max() > 0.2) for p in heard.packets("audio") if p.start_ns > since_ns)
    page.close()
    off_ms = [(beep - flash) / 1e6 for flash in flashes for beep in beeps if abs(beep - flash) < 500e6]
    assert len(off_ms) >= 3
    print(f"beep after flash: {', '.join(f'{each:.0f}' for each in off_ms)} ms")
    assert abs(median(off_ms)) < 120  # of which the canvas and its 30 frames a second are a part


def rises(seen):
    """When something began to be so."""
    out, before = [], True
    for at_ns, now in seen:
        if now and not before:
            out.append(at_ns)
        before = now
    return out


def test_the_page_wants_the_token_and_the_way_to_it_is_its_owners_only(source, heard, tmp_path):
    site = f"http://127.0.0.1:{source._port}"
    for address in (site, f"{site}/?token=wrong"):
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(address)
        with refused.value as answer:
            assert answer.code == 401
    door = tmp_path / f"browser-{source._port}.html"
    assert stat.S_IMODE(door.stat().st_mode) == 0o600
    assert f"{site}/?token={TOKEN}" in door.read_text()
    with urllib.request.urlopen(f"{site}/?token={TOKEN}") as page:
        assert "script-src 'nonce-" in page.headers["Content-Security-Policy"]
        assert b"NONCE" not in page.read()


def test_an_offer_that_is_none_is_refused_in_a_line(source, heard):
    def offer(body, token=TOKEN):
        request = urllib.request.Request(f"http://127.0.0.1:{source._port}/offer", body, {"Authorization": f"Bearer {token}"})
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(request)
        with refused.value as answer:
            return answer.code

    assert offer(b"v=0 nonsense") == 400
    assert offer(b"\xff") == 400
    assert offer(b"x" * 100_000) == 413
    assert offer(b"v=0", token="wrong") == 401
    assert heard.state("video") == "connecting"

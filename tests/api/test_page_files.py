"""The page's files: nothing inline, nothing from elsewhere, everything it names is there."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.api.pages import TYPES

PAGE = Path(__file__).parents[2] / "pipeline" / "api" / "page"
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
IMPORT = re.compile(r' from "\./([a-z]+\.js)"')


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.words.append(data.strip())


@pytest.fixture(scope="module")
def tags():
    return Tags((PAGE / "index.html").read_text("utf-8"))


def test_no_script_and_no_style_is_inline(tags):
    assert tags.words == []
    assert [tag for tag, _ in tags.tags if tag == "style"] == []
    assert [name for _, attrs in tags.tags for name in attrs if name == "style" or name.startswith("on")] == []


def test_nothing_comes_from_elsewhere():
    for path in FILES:
        found = re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z0-9.-]+", path.read_text("utf-8"))
        assert [address for address in found if "www.w3.org" not in address] == [], path.name


def test_what_is_named_is_there_and_what_is_there_is_named(tags):
    named = {attrs.get("src") or attrs.get("href") for tag, attrs in tags.tags if tag in ("script", "link")}
    waiting = [name for name in named if name.endswith(".js")]
    while waiting:
        for found in IMPORT.findall((PAGE / waiting.pop()).read_text("utf-8")):
            if found not in named:
                named.add(found)
                waiting.append(found)
    assert named | {"index.html"} == {str(path.relative_to(PAGE)) for path in FILES}
    assert {path.suffix for path in FILES} <= set(TYPES)


def test_ids_are_given_once_and_those_that_scripts_ask_for_are_given(tags):
    ids = [attrs["id"] for _, attrs in tags.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    asked = {name for path in FILES if path.suffix == ".js" for name in re.findall(r'by\("([a-z-]+)"\)', path.read_text("utf-8"))}
    assert asked <= set(ids)


def test_markup_is_never_made_of_text():
    for path in FILES:
        if path.suffix == ".js":
            text = path.read_text("utf-8")
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path.name


def test_both_ways_to_dark_give_the_same_colours():
    """Once for the system's wish, once for the choice: CSS has no way to say it once."""
    text = (PAGE / "base.css").read_text("utf-8")
    system = re.search(r':root:not\(\[data-theme="light"\]\) \{(.*?)\}', text, re.DOTALL)[1]
    chosen = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', text, re.DOTALL)[1].replace("color-scheme: dark;", "")
    assert system.split() == chosen.split()


def test_scripts_are_javascript():
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine; a browser reads them in tests/real/test_page.py")
    for path in FILES:
        if path.suffix == ".js":
            done = subprocess.run([node, "--check", "--input-type=module"], input=path.read_bytes(), capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()

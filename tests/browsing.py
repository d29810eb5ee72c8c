"""A browser for tests of the page: headless Chromium that is let in, and in which nothing may go wrong unseen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from parts import MISSING, part

FLAGS = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--autoplay-policy=no-user-gesture-required"]
FLAGS += ["--no-sandbox", "--disable-gpu"]
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 360, "height": 740}
CSP = (
    "addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI, e.sourceFile, e.lineNumber))"
)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def chromium() -> Iterator[Any]:
    path = part("chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason=f"{MISSING}: playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """One browser profile. problems: what a console or the content policy complained of; pages that end without looking at it fail."""

    def __init__(self, browser: Any, address: str, cookies: Any = None, **options: Any) -> None:
        self.problems: list[str] = []
        self.context = browser.new_context(**{"viewport": DESKTOP, "permissions": ["camera", "microphone"], **options})
        self.context.add_init_script(CSP)
        if cookies is not None:
            self.context.add_cookies(cookies)
        self.address = address
        self.page = self.context.new_page()
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, place: str = "") -> Any:
        self.page.goto(f"{self.address}/{place}")
        return self.page

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def wait_text(self, selector: str, text: str, seconds: float = 10) -> None:
        self.page.locator(selector, has_text=text).first.wait_for(timeout=seconds * 1000)

    def pixels(self, selector: str) -> str:
        """Another text when the canvas shows something else."""
        return str(self.page.eval_on_selector(selector, "canvas => canvas.toDataURL()"))

    def sideways(self) -> int:
        """Pixels by which the page is too wide."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def accessible(self) -> list[str]:
        """What axe-core finds, a line each."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=f"{MISSING}: axe-playwright-python")
        found = axe.Axe().run(self.page, options={"runOnly": {"type": "tag", "values": RULES}}).response["violations"]
        return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each in found for node in each["nodes"]]

    def close(self) -> None:
        self.context.close()

"""A new API process learns what the former one knew before it serves anybody."""

from __future__ import annotations

import asyncio
from typing import Any

from decisions import decision

from pipeline.api.hub import Hub
from pipeline.api.process import _read


class Link:
    """Has so many messages, and then nothing for ever; None: the supervisor is gone."""

    def __init__(self, *messages: dict[str, Any] | None) -> None:
        self.left = list(messages)

    async def message(self) -> dict[str, Any] | None:
        if not self.left:
            await asyncio.Event().wait()
        return self.left.pop(0)


SESSION = {"type": "session", "session": "a"}


def told(window: int) -> dict[str, Any]:
    return {"type": "decision", "session": "a", "decision": decision(window=window).to_json()}


def read(link: Link, most: int | None) -> tuple[Hub, bool]:
    """And whether it came back by itself."""

    async def run() -> tuple[Hub, bool]:
        hub = Hub(lambda message: True, lambda: 0)
        task = asyncio.ensure_future(_read(link, hub, most=most))  # type: ignore[arg-type]
        for _ in range(20):
            await asyncio.sleep(0)
        back = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return hub, back

    return asyncio.run(run())


def test_it_waits_for_all_that_it_was_promised() -> None:
    hub, back = read(Link(SESSION, told(0)), most=3)
    assert (len(hub.sessions["a"].decisions), back) == (1, False)


def test_it_takes_no_more_than_that() -> None:
    link = Link(SESSION, told(0), told(1), told(2))
    hub, back = read(link, most=3)
    assert (len(hub.sessions["a"].decisions), back, link.left) == (2, True, [told(2)])


def test_where_there_is_nothing_to_know_nobody_waits() -> None:
    link = Link(SESSION)
    assert read(link, most=0)[1]
    assert link.left == [SESSION]


def test_a_supervisor_that_goes_away_meanwhile_is_not_waited_for() -> None:
    assert read(Link(SESSION, None), most=3)[1]
    assert read(Link(SESSION, {"type": "close"}), most=3)[1]


def test_afterwards_it_reads_on_to_the_end() -> None:
    hub, back = read(Link(SESSION, told(0), told(1), None), most=None)
    assert (len(hub.sessions["a"].decisions), back) == (2, True)

"""Reading ahead in a thread: in order, never waited for, bounded, and what fails is told in its place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from waiting import until

from pipeline.runtime.readahead import ReadAhead


def taken(ahead: ReadAhead[int]) -> list[int]:
    found: list[int] = []

    def look() -> bool:
        while (item := ahead.peek()) is not None:
            found.append(item)
            ahead.take()
        return ahead.ended

    try:
        until(look, 10)
    finally:
        ahead.close()
    return found


def test_everything_comes_in_order_and_then_the_end() -> None:
    assert taken(ReadAhead(iter(range(1, 1000)))) == list(range(1, 1000))


def test_no_more_is_read_than_is_asked_for_ahead() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1, 1000):
            read.append(number)
            yield number

    ahead = ReadAhead(items(), most=4)
    until(lambda: len(read) == 5, 10)  # four wait, one is in its hand
    assert ahead.peek() == ahead.peek() == 1
    until(lambda: len(read) == 6, 10)
    ahead.close()
    assert len(read) == 6


def test_what_the_iterator_raises_comes_after_what_it_gave() -> None:
    def items() -> Iterator[int]:
        yield 7
        raise OSError("the disk is gone")

    ahead = ReadAhead(items())
    until(lambda: ahead.peek() == 7, 10)
    ahead.take()
    with pytest.raises(OSError, match="the disk is gone"):
        until(lambda: ahead.peek(), 10)
    assert ahead.ended
    ahead.close()

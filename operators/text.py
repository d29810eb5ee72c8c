"""Transforms of text: clean it, and turn it into token numbers."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from operators.errors import ContractError
from operators.packet import Dropped, Embedding, Packet, StreamEvent, TextSpan

# Tags of WebVTT and SRT (<b>, </i>, <c.loud>, <v Anna>, <00:01.000>) and override blocks of SSA ({\an8}).
_MARKUP = re.compile(r"</?[A-Za-z0-9][^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def clean(text: str) -> str:
    """NFC, without markup tags, control and invisible characters or unpaired surrogates; runs of white space are one space.

    Any string will do. Joiners (U+200C, U+200D) stay: scripts and emoji need them.
    """
    text = _MARKUP.sub("", text)
    kept = (" " if c.isspace() else c for c in text if c.isspace() or _visible(c))
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


def _visible(char: str) -> bool:
    return char in "\u200c\u200d" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Cn", "Co")


def tokens(text: str, *, length: int, buckets: int) -> list[int]:
    """The first `length` words, lower case, as numbers in [1, buckets): CRC-32 of their UTF-8 bytes. Any string will do."""
    return [1 + zlib.crc32(word.encode("utf-8", "replace")) % (buckets - 1) for word in words(text)[:length]]


def words(text: str) -> list[str]:
    """The words of a text as `tokens` counts them, lower case."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


class Clean:
    """TextSpan -> TextSpan, cleaned (see `clean`) and cut to max_chars at a word's end if there is one. `truncated` counts the cuts."""

    def __init__(self, *, max_chars: int = 500) -> None:
        if max_chars < 1:
            raise ContractError(f"Clean wants max_chars >= 1, got {max_chars}")
        self._max_chars = max_chars
        self.truncated = 0

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if not isinstance(event, Packet):
            yield event
            return
        text = clean(_text(event))
        if len(text) > self._max_chars:
            self.truncated += 1
            text = _cut(text, self._max_chars)
        yield Packet(stream=event.stream, seq=event.seq, start_ns=event.start_ns, end_ns=event.end_ns, payload=TextSpan(text=text))

    def snapshot(self) -> Mapping[str, Any]:
        return {"truncated": self.truncated}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.truncated = state["truncated"]


def _cut(text: str, size: int) -> str:
    head = text[:size]
    if text[size] == " ":
        return head.rstrip()
    return head.rsplit(" ", 1)[0] if " " in head else head


class HashTokens:
    """TextSpan -> Embedding int64 (length,): word numbers in [1, buckets), 0 where there are fewer words (see `tokens`).

    No vocabulary file, and the same numbers on every machine; different words may share a number.
    A text without any word is Dropped(empty_text).
    """

    def __init__(self, *, length: int = 32, buckets: int = 4096) -> None:
        if length < 1 or buckets < 2:
            raise ContractError(f"HashTokens wants length >= 1 and buckets >= 2, got length={length} buckets={buckets}")
        self._length, self._buckets = length, buckets

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if not isinstance(event, Packet):
            yield event
            return
        numbers = tokens(_text(event), length=self._length, buckets=self._buckets)
        if not numbers:
            yield Dropped(stream=event.stream, reason="empty_text", start_ns=event.start_ns)
            return
        data = np.zeros(self._length, np.int64)
        data[: len(numbers)] = numbers
        yield Packet(stream=event.stream, seq=event.seq, start_ns=event.start_ns, end_ns=event.end_ns, payload=Embedding(data=data))

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


class KnownWords:
    """TextSpan -> Embedding int64 (length,): the place of each word in `words`, from 1; len(words) + 1 for any other, 0 after the last.

    Case does not matter; more than `length` words are cut off. A text without any word is Dropped(empty_text).
    """

    def __init__(self, *, words: Sequence[str], length: int = 32) -> None:
        if length < 1 or not words or len(set(words)) != len(words):
            raise ContractError(f"KnownWords wants length >= 1 and words that differ, got length={length} and {list(words)[:20]}")
        self._numbers = {word: number for number, word in enumerate(words, 1)}
        self._length = length

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if not isinstance(event, Packet):
            yield event
            return
        numbers = [self._numbers.get(word, len(self._numbers) + 1) for word in words(_text(event))[: self._length]]
        if not numbers:
            yield Dropped(stream=event.stream, reason="empty_text", start_ns=event.start_ns)
            return
        data = np.zeros(self._length, np.int64)
        data[: len(numbers)] = numbers
        yield Packet(stream=event.stream, seq=event.seq, start_ns=event.start_ns, end_ns=event.end_ns, payload=Embedding(data=data))

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


def _text(packet: Packet) -> str:
    if not isinstance(packet.payload, TextSpan):
        raise ContractError(f"TextSpan wanted, got {packet.payload!r} on {packet.stream}")
    return packet.payload.text

"""Text as numbers for an encoder."""

import numpy as np
import pytest

from operators.errors import ContractError
from operators.packet import Dropped, Packet, TextSpan, Watermark
from operators.text import KnownWords


def numbers(text, **options):
    packet = Packet(stream="text", seq=3, start_ns=5, end_ns=9, payload=TextSpan(text=text))
    (made,) = KnownWords(words=["-", "bin", "blue", "at"], **options).process(packet)
    if isinstance(made, Dropped):
        return made.reason
    assert (made.seq, made.start_ns, made.end_ns) == (3, 5, 9)
    return made.payload.data.tolist()


def test_a_word_is_its_place_in_the_list_and_any_other_is_one_beyond():
    assert numbers("Bin, BLUE - at eleven!", length=6) == [2, 3, 4, 5, 0, 0]


def test_words_beyond_the_length_are_cut_off():
    assert numbers("at at at bin", length=3) == [4, 4, 4]


def test_a_text_without_a_word_is_dropped_and_a_promise_passes():
    assert numbers(" ... ") == "empty_text"
    mark = Watermark(stream="text", time_ns=7)
    assert list(KnownWords(words=["bin"]).process(mark)) == [mark]


@pytest.mark.parametrize("options", [{"words": []}, {"words": ["a", "a"]}, {"words": ["a"], "length": 0}])
def test_words_that_cannot_be_numbered_are_refused(options):
    with pytest.raises(ContractError, match="words that differ"):
        KnownWords(**options)


def test_the_numbers_are_whole_and_as_many_as_asked_for():
    packet = Packet(stream="text", seq=0, start_ns=0, end_ns=0, payload=TextSpan(text="bin"))
    (made,) = KnownWords(words=["bin"]).process(packet)
    assert (made.payload.data.dtype, made.payload.data.shape) == (np.int64, (32,))

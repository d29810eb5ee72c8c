"""Words out of sound: utterances, times, promises, with a recogniser that says how long what it heard was.

sound   ____/~~~~\\__________/~~~\\_____
words       |800 |            |600|
"""

import numpy as np
import pytest
from data import recording
from hypothesis import given, settings
from hypothesis import strategies as st
from soundstreams import MS, block, packets, through

from operators.errors import ContractError
from operators.packet import Closed, Dropped, Frame, Packet, Watermark
from operators.speech import Speech, Word

RATE = 16_000


class Ruler:
    """Two words: the first and the second half of what it was given, named by their milliseconds."""

    rate_hz = RATE

    def __init__(self):
        self.heard = []

    def words(self, samples):
        self.heard.append(samples)
        half = samples.size // 2
        return [Word(text="first", start=0, end=half, confidence=0.9), Word(text="second", start=half, end=samples.size, confidence=0.4)]


def sound(*spans, seconds=4.0, rate=RATE):
    """A quiet room, with noise in spans [from, to) of seconds."""
    lot = np.random.default_rng(1)
    data = lot.normal(0, 0.001, round(seconds * rate))
    for a, b in spans:
        data[round(a * rate) : round(b * rate)] += lot.normal(0, 0.2, round(b * rate) - round(a * rate))
    return data.astype(np.float32)


def stream(data, rate=RATE, start_ns=0, size=320):
    for seq, at in enumerate(range(0, data.size, size)):
        packet = block(data[at : at + size], rate, start_ns + at * 1_000_000_000 // rate, seq)
        yield packet
        yield Watermark(stream="mic", time_ns=packet.end_ns)
    yield Closed(stream="mic", time_ns=start_ns + data.size * 1_000_000_000 // rate)


def spoken(events, **options):
    made = through(lambda: Speech(Ruler(), **options), events)
    return [(p.payload.text, round(p.start_ns / MS), round(p.end_ns / MS)) for p in packets(made)], made


def test_an_utterance_begins_a_little_before_it_is_loud_and_ends_after_a_pause():
    words, _ = spoken(stream(sound((1.0, 1.8))))
    [(_, start, middle), (_, again, end)] = words
    assert 700 <= start <= 1000
    assert middle == again
    assert 1800 <= end <= 2350


def test_two_utterances_are_two():
    words, _ = spoken(stream(sound((0.8, 1.4), (2.2, 2.8))))
    assert [text for text, _, _ in words] == ["first", "second"] * 2
    assert words[2][1] >= 1900


def test_a_pause_within_an_utterance_does_not_end_it():
    words, _ = spoken(stream(sound((0.8, 1.2), (1.4, 1.8))))
    assert len(words) == 2


def test_a_phrase_is_one_text_from_its_first_word_on():
    [(text, start, end)], _ = spoken(stream(sound((1.0, 1.8))), unit="phrase")
    assert text == "first second"
    assert start < 1000 < 1800 < end


def test_held_text_is_an_instant():
    words, _ = spoken(stream(sound((1.0, 1.8))), hold=True)
    assert all(start == end for _, start, end in words)


def test_what_is_unsure_is_dropped_and_counted():
    words, made = spoken(stream(sound((1.0, 1.8))), least=0.5)
    assert [text for text, _, _ in words] == ["first"]
    assert [(event.reason, event.count) for event in made if isinstance(event, Dropped)] == [("unsure", 1)]


def test_a_room_without_a_voice_says_nothing_and_its_promises_go_on():
    words, made = spoken(stream(sound()))
    assert words == []
    marks = [event.time_ns for event in made if isinstance(event, Watermark)]
    assert marks[-1] >= 3_700 * MS


def test_while_somebody_speaks_the_promise_waits_at_the_beginning():
    operator, promised = Speech(Ruler()), []
    for event in stream(sound((1.0, 2.5))):
        for out in operator.process(event):
            if isinstance(out, Watermark):
                promised.append((event.time_ns, out.time_ns))
    assert all(out <= 1000 * MS for at, out in promised if 1100 * MS < at < 2500 * MS)


def test_a_very_long_utterance_is_cut():
    recogniser = Ruler()
    through(lambda: Speech(recogniser, longest_s=1.0), stream(sound((0.5, 3.9))))
    assert len(recogniser.heard) >= 3
    assert max(each.size for each in recogniser.heard) <= RATE


def test_after_a_gap_an_utterance_begins_anew():
    before, after = [*stream(sound((0.6, 1.0), seconds=1.0))][:-1], [*stream(sound((0.5, 1.0), seconds=2.0), start_ns=5_000 * MS)]
    words, _ = spoken([*before, *after])
    assert [start // 1000 for _, start, _ in words] == [0, 0, 5, 5]


def test_any_rate_and_two_channels_will_do():
    data = sound((1.0, 1.8), rate=44_100)
    events = [block(np.stack([data, data]), 44_100), Closed(stream="mic", time_ns=4_000 * MS)]
    words, _ = spoken(events)
    assert len(words) == 2
    assert 700 <= words[0][1] <= 1000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 300), st.booleans()), max_size=14))
def test_nothing_starts_before_a_promise_and_numbers_rise(pieces):
    at_ns, events, lot = 0, [], np.random.default_rng(0)
    for seq, (ms, gap_ms, loud) in enumerate(pieces):
        packet = block(lot.normal(0, 0.3 if loud else 0.001, ms * 16), RATE, at_ns, seq)
        at_ns = packet.end_ns + gap_ms * MS
        events += [packet, Watermark(stream="mic", time_ns=at_ns)]
    promised, last = -1, -1
    for event in through(lambda: Speech(Ruler(), pause_ms=100), [*events, Closed(stream="mic", time_ns=at_ns)]):
        if isinstance(event, Watermark):
            assert event.time_ns >= promised
            promised = event.time_ns
        elif isinstance(event, Packet):
            assert event.start_ns >= promised
            assert event.seq > last
            last = event.seq


def test_a_restart_before_any_event_changes_nothing():
    events = [*stream(sound((0.5, 0.9), seconds=1.6), size=1600)]
    once, again = (through(lambda: Speech(Ruler()), events, restart=restart) for restart in (False, True))
    assert [str(event) for event in once] == [str(event) for event in again]


def test_a_picture_is_refused():
    frame = Packet(stream="mic", seq=0, start_ns=0, end_ns=1, payload=Frame(data=np.zeros((2, 2), np.uint8)))
    with pytest.raises(ContractError, match="AudioBlock"):
        through(lambda: Speech(Ruler()), [frame])


@pytest.mark.parametrize("wrong", [{"pause_ms": 0}, {"longest_s": 100.0}, {"least": 2.0}])
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(ContractError, match="wanted, got"):
        Speech(Ruler(), **wrong)


@pytest.mark.real
def test_pocketsphinx_hears_grid_sentences_with_their_times():
    from benchmarks.speech import GRAMMAR, aligned, heard, sound_of, truth_of
    from operators.sphinx import Sphinx

    operator, right, said, off = Sphinx(grammar=GRAMMAR), 0, 0, []
    for n, clip in enumerate(sorted(recording("grid_s1_dev").glob("*.mp4"))[5::100]):
        truth, words = truth_of(clip), heard(operator, sound_of(clip), n * 10_000_000_000)
        pairs = aligned([word[0] for word in words], [word[0] for word in truth])
        right, said = right + len(pairs), said + len(truth)
        off += [abs(words[i][1] - truth[j][1]) for i, j in pairs]
    assert right / said > 0.7
    assert np.median(off) < 0.05


@pytest.mark.parametrize("grammar", ["nonsense", "#JSGF V1.0; grammar g; public <s> = qwertzuiopasdf;"])
def test_a_grammar_that_cannot_be_used_is_refused(tmp_path, grammar):
    from operators.sphinx import Sphinx

    path = tmp_path / "g.jsgf"
    path.write_text(grammar)
    with pytest.raises(ContractError, match="JSGF grammar with a public rule"):
        Sphinx(grammar=path)

"""What holds of every session, tried on thousands of random ones against the aligner by definition (tests/definition.py)."""

import random
from dataclasses import replace

import pytest
from alignstreams import interleave, random_config, random_stream, with_ticks
from definition import Definition

from operators.align import Aligner
from operators.buffer import PACKET_BYTES
from operators.packet import Packet, Tick, Watermark
from operators.window import AlignedWindow, Late, Skipped


def outputs(machine, events):
    return [out for event in events for out in machine.process(event)]


def windows(outs):
    return [out for out in outs if isinstance(out, AlignedWindow | Skipped)]


def reports(outs):
    return sorted(repr(out) for out in outs if not isinstance(out, AlignedWindow | Skipped))


def session(seed, **how):
    rng = random.Random(seed)
    faults = how.pop("faults", True)
    config = random_config(rng, **how)
    return rng, config, [random_stream(rng, rule.stream, faults=faults) for rule in config.streams]


@pytest.mark.parametrize("seeds", [range(i, i + 250) for i in range(0, 2000, 250)], ids=str)
def test_any_order_across_streams_gives_the_windows_of_the_definition(seeds):
    for seed in seeds:
        rng, config, streams = session(seed)
        expected = outputs(Definition(config), unique(one_after_another(streams)))
        for events in (one_after_another(streams), one_after_another(streams[::-1]), interleave(rng, streams), interleave(rng, streams)):
            got = outputs(Aligner(config), events)
            assert windows(got) == windows(expected), f"seed {seed}"
            assert [r for r in reports(got) if "duplicate" not in r] == reports(expected), f"seed {seed}"


def one_after_another(streams):
    return [event for stream in streams for event in stream]


def unique(events):
    """Without the second copy of a packet that its stream's promise still allows: the definition is fed none twice."""
    seen, promise, out = set(), {}, []
    for event in events:
        if isinstance(event, Packet) and event.start_ns >= promise.get(event.stream, event.start_ns):
            if (event.stream, event.start_ns, event.seq) in seen and event.stream not in promise.get("closed", ()):
                continue
            seen.add((event.stream, event.start_ns, event.seq))
        if isinstance(event, Watermark):
            promise[event.stream] = max(promise.get(event.stream, event.time_ns), event.time_ns)
        elif not isinstance(event, Packet):
            promise.setdefault("closed", []).append(event.stream)
        out.append(event)
    return out


def test_every_report_is_the_same_in_any_order_across_streams():
    for seed in range(300):
        rng, config, streams = session(seed)
        first, second = (outputs(Aligner(config), interleave(rng, streams)) for _ in range(2))
        assert reports(first) == reports(second), f"seed {seed}"


def test_watermarks_may_come_one_by_one_or_in_few_steps():
    for seed in range(500):
        rng, config, streams = session(seed, faults=False)
        expected = windows(outputs(Aligner(config), interleave(rng, streams)))
        few = [[e for i, e in enumerate(stream) if not skippable(stream, i) or rng.random() < 0.3] for stream in streams]
        many = [[e for event in stream for e in stepwise(event)] for stream in streams]
        assert windows(outputs(Aligner(config), interleave(rng, few))) == expected, f"seed {seed}"
        assert windows(outputs(Aligner(config), interleave(rng, many))) == expected, f"seed {seed}"


def skippable(stream, i):
    """A watermark that another one follows: the stream's last word before its close is kept."""
    return isinstance(stream[i], Watermark) and any(isinstance(e, Watermark) and e.time_ns >= stream[i].time_ns for e in stream[i + 1 :])


def stepwise(event):
    if not isinstance(event, Watermark):
        return [event]
    return [Watermark(stream=event.stream, time_ns=event.time_ns - back) for back in (7, 3, 2, 1, 0)]


def test_a_streams_own_order_shows_only_in_its_promises():
    for seed in range(300):
        rng, config, streams = session(seed, faults=False)
        expected = windows(outputs(Aligner(config), interleave(rng, streams)))
        assert windows(outputs(Aligner(config), interleave(rng, [shuffled(rng, s) for s in streams]))) == expected, f"seed {seed}"


def shuffled(rng, stream):
    """The packets between two watermarks in another order."""
    out, run = [], []
    for event in stream:
        if isinstance(event, Packet):
            run.append(event)
            continue
        rng.shuffle(run)
        out, run = [*out, *run, event], []
    return out


@pytest.mark.parametrize("seeds", [range(i, i + 500) for i in range(0, 2000, 500)], ids=str)
def test_the_deadline_mode_says_what_the_definition_says(seeds):
    for seed in seeds:
        rng, config, streams = session(seed, mode="deadline", faults=seed % 2)
        aligner, definition = Aligner(config), Definition(config)
        for event in with_ticks(rng, unique(interleave(rng, streams))):
            assert list(aligner.process(event)) == definition.process(event), f"seed {seed} at {event}"


def test_windows_go_out_in_order_and_each_is_made_skipped_or_revised_once():
    for seed in range(300):
        rng, config, streams = session(seed, mode="deadline")
        due, revised = 0, set()
        for out in windows(outputs(Aligner(config), with_ticks(rng, interleave(rng, streams)))):
            if isinstance(out, Skipped):
                assert out.index == due
                due += out.count
            elif out.revision:
                assert out.index < due
                assert out.index not in revised
                revised.add(out.index)
            else:
                assert out.index == due
                due += 1


def test_a_tick_does_something_exactly_from_the_next_deadline_on():
    for seed in range(300):
        rng, config, streams = session(seed, mode="deadline")
        aligner = Aligner(config)
        for event in interleave(rng, streams):
            deadline = aligner.next_deadline_ns()
            if deadline is not None and rng.random() < 0.7:
                before = aligner.snapshot()
                assert list(aligner.process(Tick(now_ns=deadline - 1))) == []
                assert aligner.snapshot() == before
                list(aligner.process(Tick(now_ns=deadline)))
                assert aligner.snapshot() != before
                assert aligner.next_deadline_ns() > deadline or aligner.snapshot()["pending"] != before["pending"]
            list(aligner.process(event))
        assert aligner.next_deadline_ns() is None
        assert list(aligner.process(Tick(now_ns=10**6))) == []


@pytest.mark.parametrize("mode", ["wait", "deadline"])
def test_an_aligner_restored_at_every_event_says_the_same(mode):
    for seed in range(300):
        rng, config, streams = session(seed, mode=mode, max_bytes=rng_room(seed))
        events = with_ticks(rng, interleave(rng, streams))
        expected, got, aligner = outputs(Aligner(config), events), [], Aligner(config)
        for event in events:
            following = Aligner(config)
            following.restore(aligner.snapshot())
            for noise in events[-3:]:
                list(aligner.process(noise))  # the old one goes on; the new one must not notice
            aligner = following
            got += aligner.process(event)
        assert got == expected, f"seed {seed}"


def rng_room(seed):
    return PACKET_BYTES * (3 if seed % 2 else 1000)


@pytest.mark.parametrize("mode", ["wait", "deadline"])
def test_every_packet_is_accounted_for_and_memory_is_bounded(mode):
    for seed in range(400):
        rng, config, streams = session(seed, mode=mode, max_bytes=rng_room(seed))
        aligner, entered, told = Aligner(config), dict.fromkeys((r.stream for r in config.streams), 0), 0
        for event in with_ticks(rng, interleave(rng, streams)):
            if isinstance(event, Packet):
                entered[event.stream] += 1
            told += sum(lost(out) for out in aligner.process(event))
            counts = aligner.counts()
            for name, c in counts.items():
                assert entered[name] == c.entered == c.forgotten + c.late + sum(c.dropped.values()) + c.buffered
            assert told == sum(c.late + sum(c.dropped.values()) for c in counts.values())
            assert aligner.buffered_bytes() == PACKET_BYTES * sum(c.buffered for c in counts.values())
            assert all(c.buffered * PACKET_BYTES <= rng_room(seed) for c in counts.values())
        assert aligner.buffered_bytes() == 0


def lost(out):
    return (not out.kept) if isinstance(out, Late) else getattr(out, "count", 0) if not isinstance(out, Skipped) else 0


def test_a_window_that_an_overflow_tore_never_claims_to_be_complete():
    for seed in range(600):
        rng, config, streams = session(seed, faults=False)
        events = interleave(rng, streams)
        whole = {w.index: w for w in outputs(Aligner(config), events) if isinstance(w, AlignedWindow)}
        narrow = Aligner(bounded(config, 2 * PACKET_BYTES))
        for window in outputs(narrow, events):
            if isinstance(window, AlignedWindow) and window.index in whole:
                for name, slot in window.slots.items():
                    assert not slot.complete or slot.packets == whole[window.index].slots[name].packets, f"seed {seed} {window}"


def bounded(config, max_bytes):
    return replace(config, streams=tuple(replace(rule, max_bytes=max_bytes) for rule in config.streams))

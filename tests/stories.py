"""Aligner stories: tests/transcripts/*.toml, one story a case.

    [[case]]
    name = "deadline emits a partial window and reports the late packet"
    streams = ["cam", "mic"]; length = 100; hop = 100; deadline = 50
    steps = ["cam 0-100", "cam^100", "now 149", "expect", "now 150", "expect 0 cam=0 mic=timeout", "mic 0-100", "expect late mic 0 by 100"]

Streams    "NAME [TAKE] [tol=N] [ttl=N] [room=N]": room is how many (empty) packets fit into the buffer.
Config     length, hop, start, tail, catch_up, revise; a deadline makes it the deadline mode, without one it waits.
           shuffle = false: the story depends on the order across streams (an overflow does) and is told in its own only.
Inputs     "cam 0-100" a packet, "cam 50" an instant, "cam 0-100 #7" with this seq (else the stream's packets are counted from 0),
           "cam^100" a watermark, "closed cam 200", "now 149" a tick.
Checks     "expect"                            nothing (more) came out
           "expect 0 cam=0,40 mic=timeout"     window 0 with the packets of cam that start at 0 and 40; every stream is named
             cam=0?  the slot is not complete   cam=empty@20  its age is 20   cam=0@never  never heard of
           "expect revise 0 ..."               the same window once more
           "expect skip 3 x7"                  windows 3 to 9 were skipped
           "expect late mic 0 by 100 [kept]"   "expect drop cam overflow [x2]" (x1 if not said; x0: a promise was refused)
           "next 150" / "next none"            next_deadline_ns
           "holds cam=2 mic=0"                 packets in the buffers
Whatever comes out must be expected before the next input, and at the end.
"""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from operators.align import Aligner
from operators.buffer import PACKET_BYTES
from operators.packet import Closed, Dropped, Packet, TextSpan, Tick, Watermark
from operators.window import AlignConfig, AlignedWindow, Late, Skipped, StreamRule

FOLDER = Path(__file__).parent / "transcripts"


@dataclass
class Story:
    name: str
    config: AlignConfig
    steps: list[str]
    shuffle: bool
    file: str = ""
    events: dict[int, object] = field(default_factory=dict)

    def __post_init__(self):
        counts = {}
        self.events = {i: event_of(step, counts) for i, step in enumerate(self.steps) if is_input(step)}

    def inputs(self):
        return list(self.events.values())


def stories():
    for file in sorted(FOLDER.glob("*.toml")):
        for case in tomllib.loads(file.read_text())["case"]:
            yield story_of(case, file.stem)


def story_of(case, file=""):
    case = dict(case)
    rules = tuple(rule_of(text) for text in case.pop("streams"))
    name, steps, shuffle = case.pop("name"), case.pop("steps"), case.pop("shuffle", True)
    numbers = {f"{key}_ns": case.pop(key) for key in ("length", "hop", "start", "tail", "revise", "deadline") if key in case}
    numbers |= {"catch_up": case.pop("catch_up")} if "catch_up" in case else {}
    assert not case, f"{name}: unknown keys {list(case)}"
    mode = "deadline" if "deadline_ns" in numbers else "wait"
    return Story(name=name, config=AlignConfig(streams=rules, mode=mode, **numbers), steps=steps, shuffle=shuffle, file=file)


def rule_of(text):
    stream, *rest = text.split()
    take = next((word for word in rest if "=" not in word), "window")
    known = dict(word.split("=") for word in rest if "=" in word)
    room = int(known.get("room", 1000)) * PACKET_BYTES or 1
    ttl = int(known["ttl"]) if "ttl" in known else None
    return StreamRule(stream=stream, take=take, tolerance_ns=int(known.get("tol", 0)), ttl_ns=ttl, max_bytes=room)


def is_input(step):
    return step.split()[0] not in ("expect", "next", "holds")


def event_of(step, counts):
    if match := re.fullmatch(r"now (-?\d+)", step):
        return Tick(now_ns=int(match[1]))
    if match := re.fullmatch(r"closed (\w+) (-?\d+)", step):
        return Closed(stream=match[1], time_ns=int(match[2]))
    if match := re.fullmatch(r"(\w+)\^(-?\d+)", step):
        return Watermark(stream=match[1], time_ns=int(match[2]))
    match = re.fullmatch(r"(\w+) (-?\d+)(?:-(-?\d+))?(?: #(\d+))?", step)
    assert match, f"not a step: {step!r}"
    counts[match[1]] = counts.get(match[1], -1) + 1
    seq, end = int(match[4] or counts[match[1]]), int(match[3] or match[2])
    return Packet(stream=match[1], seq=seq, start_ns=int(match[2]), end_ns=end, payload=TextSpan(text=""))


def tell(story, *, restart=False):
    """Runs the story as written; AssertionError at the first step that does not hold. Returns all outputs."""
    aligner, waiting, told = Aligner(story.config), [], []
    for i, step in enumerate(story.steps):
        where = f"{story.name}, step {i} {step!r}"
        if i in story.events:
            assert not waiting, f"{where}: before it, unexpected {waiting}"
            if restart:
                aligner = restarted(aligner)
            waiting = list(aligner.process(story.events[i]))
            told += waiting
        elif step == "expect":
            assert not waiting, f"{where}: unexpected {waiting}"
        elif step.startswith("expect "):
            assert waiting, f"{where}: nothing came out"
            check(step.removeprefix("expect "), waiting.pop(0), where)
        else:
            check_state(step, aligner, where)
    assert not waiting, f"{story.name}: at the end, unexpected {waiting}"
    return told


def restarted(aligner):
    following = Aligner(aligner._config)
    following.restore(aligner.snapshot())
    return following


def check_state(step, aligner, where):
    if step.startswith("next "):
        got = aligner.next_deadline_ns()
        assert str(got).lower() == step.removeprefix("next "), f"{where}: got {got}"
        return
    counts = aligner.counts()
    for word in step.split()[1:]:
        name, count = word.split("=")
        assert counts[name].buffered == int(count), f"{where}: got {counts[name]}"


def check(text, out, where):
    match out:
        case AlignedWindow():
            check_window(text, out, where)
        case Late():
            kept = " kept" if out.kept else ""
            assert text == f"late {out.packet.stream} {out.packet.start_ns} by {out.by_ns}{kept}", f"{where}: got {out}"
        case Dropped():
            wanted = text if re.search(r" x\d+$", text) else text + " x1"
            assert wanted == f"drop {out.stream} {out.reason} x{out.count}", f"{where}: got {out}"
        case Skipped():
            assert text == f"skip {out.index} x{out.count}", f"{where}: got {out}"


def check_window(text, out, where):
    words = text.split()
    assert (words[0] == "revise") == (out.revision == 1), f"{where}: got {out}"
    index, *slots = words[1:] if out.revision else words
    assert int(index) == out.index, f"{where}: got {out}"
    assert {slot.split("=")[0] for slot in slots} == set(out.slots), f"{where}: got {out}"
    for slot in slots:
        name, wanted = slot.split("=")
        said = describe(out.slots[name], with_age="@" in wanted)
        assert wanted == said, f"{where}: {name}={said}"


def describe(slot, *, with_age):
    text = slot.missing or ",".join(str(packet.start_ns) for packet in slot.packets)
    text += "?" if slot.complete == (slot.missing == "timeout") else ""
    return text + (f"@{'never' if slot.age_ns is None else slot.age_ns}" if with_age else "")

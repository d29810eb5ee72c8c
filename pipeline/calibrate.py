"""How far the sound and the picture of a config's own sources are apart, measured on what they show now. See `operators.avoffset`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from operators.avoffset import AvOffset, AvOffsetMeter, NoOffset
from operators.errors import SensoriumError
from operators.face import FaceCrop
from operators.operator import Operator
from operators.packet import Dropped, Packet
from pipeline.clock import Clock, SystemClock
from pipeline.plan import Plan
from pipeline.ports import Source, Wanted
from pipeline.runtime.intake import Intake
from pipeline.runtime.pace import Pace

WHY = {
    "no_sound": "too little sound came; is the microphone the right one, and on?",
    "no_face": "no face was seen long enough; sit in front of the camera, in good light",
    "no_voice": "nobody was heard speaking, or never pausing; read a few sentences aloud, with pauses",
    "unclear": "what is heard does not follow the mouth that is seen; one person, seen and heard, and no film in the background",
}


class CannotSay(SensoriumError):
    """The offset cannot be told, and why."""


@dataclass(frozen=True, slots=True)
class _Raw:
    """A plan's sources before offsets and the model's transforms: pictures as mouths, sound as it is."""

    plan: Plan
    video: str
    audio: str

    def make_source(self, name: str) -> Source:
        return self.plan.make_source(name)

    def source_inputs(self, name: str) -> Mapping[str, str]:
        return {wanted: stream for wanted, stream in self.plan.source_inputs(name).items() if wanted in (self.video, self.audio)}

    def offset_ns(self, name: str) -> int:
        return 0

    def wanted(self, name: str) -> Mapping[str, Wanted]:
        return {stream: Wanted(pixels="gray", max_width=640) for stream in self.source_inputs(name).values()}

    def make_transforms(self, name: str) -> list[Operator]:
        return [FaceCrop(region="mouth")] if name == self.video else []


def measure(plan: Plan, seconds: float, clock: Clock | None = None) -> AvOffset:
    """Of the plan's first video and audio inputs, over the first `seconds`. Raises CannotSay, and what the sources raise."""
    raw = _Raw(plan, _input(plan, "video"), _input(plan, "audio"))
    meter = AvOffsetMeter(video=raw.video, audio=raw.audio, window_s=max(3.0, seconds))
    for event in _all_events(raw, round(seconds * 1e9), clock or SystemClock()):
        meter.process(event)
    found = meter.measure()
    if isinstance(found, NoOffset):
        raise CannotSay(f"nothing can be said: {WHY[found.why]}")
    return found


def _input(plan: Plan, kind: str) -> str:
    for name in plan.config.inputs:
        if plan.model.spec.inputs[name].kind == kind:
            return name
    raise CannotSay(f"{plan.config.file} has no input of kind {kind}; both sound and picture are wanted")


def _all_events(raw: _Raw, until_ns: int, clock: Clock) -> Iterator[Packet | Dropped]:
    """Of all sources that have something to say, each read in a thread: a live one cannot be told when to give."""
    names = [name for name in raw.plan.config.sources if raw.source_inputs(name)]
    events: queue.Queue[Packet | Dropped | BaseException | None] = queue.Queue(maxsize=1000)
    pace = Pace(clock=clock, epoch_ns=clock.now_ns())
    threads = [threading.Thread(target=_read, args=(Intake(raw, name), pace, until_ns, events), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    running = len(threads)
    while running:
        match events.get():
            case None:
                running -= 1
            case BaseException() as error:
                raise error
            case event:
                yield event


def _read(intake: Intake, pace: Pace, until_ns: int, events: queue.Queue[Packet | Dropped | BaseException | None]) -> None:
    try:
        intake.open()
        if (live := intake.live_source) is not None:
            live.begin(pace.now_ns)
        for _, event in intake.events(0, until_ns):
            if isinstance(event, Packet | Dropped):
                events.put(event)
        intake.close()
    except Exception as error:  # noqa: BLE001 - raised again where the caller is
        events.put(error)
    events.put(None)

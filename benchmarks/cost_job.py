"""One measurement of cost.py, in a process of its own; prints one JSON line. Set-up (imports, opening, warm-up) is not in it.

python -m benchmarks.cost_job floor|source|intake|inline CONFIG
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from operators.decision import Decision
from pipeline.clock import SystemClock
from pipeline.config import load_config
from pipeline.plan import build_plan
from pipeline.ports import Status, Wanted
from pipeline.runtime.inline import run_inline
from pipeline.runtime.intake import Intake

MODEL_RATE_HZ = 16000


def floor(path: Path, threads: str, size: tuple[int, int], paced_s: float | None) -> float:
    """Bare PyAV, one pass over the file: decode every frame, one swscale step to the model's picture size in grey, decode and
    resample the sound. paced_s: each frame not before its time, up to there; as a live run does it. Returns media seconds.
    """
    reformatter, end_s, clock = VideoReformatter(), 0.0, SystemClock()
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=MODEL_RATE_HZ)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        video.codec_context.thread_type = "AUTO" if threads == "auto" else "NONE"
        video.codec_context.thread_count = 0 if threads == "auto" else 1
        begun_ns = clock.now_ns()
        for frame in container.decode(video, audio):
            assert isinstance(frame, av.VideoFrame | av.AudioFrame) and frame.time is not None  # noqa: PT018
            if paced_s is not None:
                if frame.time > paced_s:
                    break
                clock.sleep_until(begun_ns + round(frame.time * 1e9))
            if isinstance(frame, av.VideoFrame):
                reformatter.reformat(frame, width=size[0], height=size[1], format="gray", threads=1).to_ndarray()
            else:
                _ = [block.to_ndarray() for block in resampler.resample(frame)]
            end_s = max(end_s, frame.time)
    return end_s


class Count:
    """A sink that counts; first, last: CPU and wall seconds and where the media was, at its first decision and its last."""

    def __init__(self) -> None:
        self.decisions = 0
        self.latencies_ns: list[int] = []
        self.first: tuple[float, float, float] | None = None
        self.last = (0.0, 0.0, 0.0)

    def decision(self, decision: Decision) -> None:
        self.decisions += 1
        self.last = (_cpu_s(), time.perf_counter(), decision.end_ns / 1e9)
        self.first = self.first or self.last
        if decision.latency_ns:
            self.latencies_ns.append(decision.latency_ns["total"])

    def status(self, status: Status) -> None:
        pass

    def close(self) -> None:
        pass


def measured(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What work() says, with the CPU (user + system, this process and its children) and the wall time it took."""
    cpu, wall = _cpu_s(), time.perf_counter()
    said = work()
    return {**said, "cpu_s": _cpu_s() - cpu, "wall_s": time.perf_counter() - wall}


def _cpu_s() -> float:
    return sum(os.times()[:4])


def source_job(config_path: Path) -> dict[str, Any]:
    plan = build_plan(load_config(config_path))
    source = plan.make_source("media")
    source.open(plan.wanted("media"))
    return measured(lambda: {"media_s": _last_due(source.events()) / 1e9})


def intake_job(config_path: Path) -> dict[str, Any]:
    intake = Intake(build_plan(load_config(config_path)), "media")
    intake.open()
    return measured(lambda: {"media_s": _last_due(intake.events()) / 1e9, "dropped": {n: dict(c) for n, c in intake.dropped.items()}})


def _last_due(events: Iterator[tuple[int, object]]) -> int:
    return deque((due_ns for due_ns, _ in events), maxlen=1).pop()


def inline_job(config_path: Path) -> dict[str, Any]:
    """From the first decision to the last, as cost.py counts it for Ray: loading and warming up the model is not in it."""
    plan, sink = build_plan(load_config(config_path)), Count()
    status = run_inline(plan, [sink], SystemClock())
    late = sorted(sink.latencies_ns)
    waits = {"p50_ms": late[len(late) // 2] / 1e6, "p99_ms": late[int(len(late) * 0.99)] / 1e6} if late else {}
    assert sink.first is not None
    cpu_s, wall_s, media_s = (last - first for last, first in zip(sink.last, sink.first, strict=True))
    counts = {"decisions": sink.decisions, "missed": status.missed_deadlines}
    return {"cpu_s": cpu_s, "wall_s": wall_s, "media_s": media_s, **counts, **waits}


def floor_job(config_path: Path) -> dict[str, Any]:
    plan = build_plan(load_config(config_path))
    use = plan.config.sources["media"]
    path = plan.config.folder / use.options["path"]
    height, width = plan.model.spec.inputs["video"].shape
    assert plan.wanted("media").get("video", Wanted()).pixels == "gray"
    paced_s = plan.config.run.duration if plan.config.run.speed == 1 else None
    return measured(lambda: {"media_s": floor(path, use.options.get("threads", "auto"), (width, height), paced_s)})


def main() -> None:
    jobs = {"floor": floor_job, "source": source_job, "intake": intake_job, "inline": inline_job}
    print(json.dumps(jobs[sys.argv[1]](Path(sys.argv[2]))))


if __name__ == "__main__":
    main()

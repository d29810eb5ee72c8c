"""Decisions and statuses for tests of what takes them."""

from operators.decision import Decision, decision_id
from pipeline.ports import EdgeCount, Status, StreamStatus

MS = 1_000_000
LABELS = ("silent", "speaking", "voice-off")


def decision(*, window=0, start_ms=0, end_ms=80, label="speaking", revision=0, latency_ms=41, presence=("present", "present", "empty")):
    others = [name for name in LABELS if name != label]
    scores = {label: 0.93} | {name: 0.07 / len(others) for name in others}
    return Decision(
        id=decision_id("demo", window, revision, "d"),
        session="demo",
        window=window,
        start_ns=start_ms * MS,
        end_ns=end_ms * MS,
        label=label,
        scores=scores,
        presence=dict(zip(("video", "audio", "text"), presence, strict=True)),
        age_ns={"video": 0, "audio": 20 * MS, "text": None},
        revision=revision,
        model="tiny@0123456789ab",
        latency_ns={} if latency_ms is None else {"transport": MS, "align": 2 * MS, "total": latency_ms * MS},
    )


def status(*, final=False, events=(), now_ms=1280, end_ms=5000, state="running"):
    streams = [
        StreamStatus(
            name="video",
            kind="video",
            state="live",
            packets=30,
            rate_hz=30.0,
            age_ns=48 * MS,
            drift_ppm=-3.2,
            late=2,
            dropped={"overflow": 3},
        ),
        StreamStatus(name="audio", kind="audio", state="lost", packets=3, rate_hz=25.0, age_ns=2000 * MS),
        StreamStatus(name="text", kind="text", state="waiting"),
    ]
    edges = [EdgeCount(edge="video", entered=33, left=30, waiting=0, dropped={"overflow": 3})]
    return Status(
        session="demo", runner="ray", model="tiny@0123456789ab", backend="onnx", state="ended" if final else state, now_ns=now_ms * MS,
        end_ns=None if end_ms is None else end_ms * MS, decisions=16, missed_deadlines=1, skipped=0, revisions=0, streams=streams, edges=edges,
        events=events, final=final,
    )  # fmt: skip

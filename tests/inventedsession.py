"""A plausible session, invented: what a supervisor would say of it and what its actors would publish, by the time that has passed."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import cv2
import numpy as np

MS, S = 1_000_000, 1_000_000_000
HOP_NS, LAG_NS, LENGTH_NS, DEADLINE_NS = 100 * MS, 200 * MS, 640 * MS, 150 * MS
LABELS = ["speaking", "dubbed", "silent"]
STREAMS = {"video": "video", "audio": "audio", "text": "text"}
WORDS = ["hello there", "how are you today?", "the weather is fine", '<b>not bold</b> & "quoted"', "Grüße aus Köln 👋", "see you soon"]


def decision(session: str, window: int, life: str = "") -> dict[str, Any]:
    """Of one window. Attribution sums to about the margin; every 50th to 60th window the microphone is missing."""
    t = window / 10
    logits = [2 * math.sin(t / 3), 1.5 * math.sin(t / 5 + 2), -1 + math.cos(t / 4)]
    odds = [math.exp(x) for x in logits]
    scores = {label: round(x / sum(odds), 4) for label, x in zip(LABELS, odds, strict=True)}
    label = max(scores, key=scores.__getitem__)
    mic_out = 50 <= window % 200 < 60
    end_ns = (window + 1) * HOP_NS
    latency = {
        "transport": 400_000 + window % 7 * 90_000,
        "align": 2 * MS,
        "encode": 6 * MS + window % 11 * MS,
        "fuse": 2 * MS,
        "attribute": 3 * MS,
    }
    total = sum(latency.values()) + (DEADLINE_NS if mic_out else 4 * MS)
    margin = sorted(scores.values())[-1] - sorted(scores.values())[-2]
    return {
        "id": hashlib.sha256(f"{session}\0{window}\0{life}".encode()).hexdigest()[:16],
        "session": session,
        "window": window,
        "start_ns": end_ns - HOP_NS,
        "end_ns": end_ns,
        "label": label,
        "scores": scores,
        "presence": {"video": "present", "audio": "timeout" if mic_out else "present", "text": "present" if window % 40 < 20 else "empty"},
        "age_ns": {
            "video": 20 * MS,
            "audio": (window % 200 - 49) * HOP_NS if mic_out else 10 * MS,
            "text": None if window < 20 else 900 * MS,
        },
        "revision": 0,
        "model": "speaking@0123456789ab",
        "latency_ns": {**latency, "total": total},
        "attribution": {
            "video": round(3 * margin, 3),
            "audio": 0.0 if mic_out else round(2 * margin - 0.4, 3),
            "text": round(0.1 - margin / 5, 3),
        },
        "evidence": "0123456789abcdef",
    }


def session(name: str, **changed: Any) -> dict[str, Any]:
    """The `session` message."""
    values = {
        "config": "desk",
        "labels": LABELS,
        "inputs": STREAMS,
        "sources": {"desk": ["video", "audio"], "notes": ["text"]},
        "recording": "",
        "since": "2026-11-25T04:00:00.000+00:00",
        "live": True,
        "window": {"hop_ns": HOP_NS, "length_ns": LENGTH_NS, "lag_ns": LAG_NS, "deadline_ns": DEADLINE_NS},
        "replay": "",
    }
    return {"type": "session", "session": name, **values, **changed}


def status(name: str, now_ns: int, **changed: Any) -> dict[str, Any]:
    """As `status_to_json` gives it."""
    count = now_ns // HOP_NS
    stalled = 50 <= count % 200 < 60

    def stream(kind: str, state: str, rate_hz: float, **more: Any) -> dict[str, Any]:
        values = {"packets": int(rate_hz * now_ns / S), "rate_hz": rate_hz, "age_ns": 20 * MS, "late": 0, "dropped": {}, "detail": ""}
        known = {"drift_ppm": None, "quality": "device", "uncertainty_ns": 800_000, "faults": {}}
        return {"name": kind, "kind": kind, "state": state, **values, **known, **more}

    edges = [
        {
            "edge": kind,
            "entered": 30 * count,
            "left": 30 * count - 2,
            "waiting": 2,
            "dropped": {"overflow": count // 300} if count >= 300 else {},
        }
        for kind in STREAMS
    ]
    streams = [
        stream("video", "live", 30.0, drift_ppm=12.5, dropped={"no_face": count // 20}, detail="640x360 yuyv422 30 fps"),
        stream("audio", "stalled" if stalled else "live", 50.0, drift_ppm=-41.0, late=count // 90, faults={"reconnect": count // 200}),
        stream("text", "live", 0.4, quality="arrival", uncertainty_ns=None),
    ]
    values = {
        "session": name,
        "runner": "ray",
        "model": "speaking@0123456789ab",
        "backend": "onnx",
        "state": "degraded" if stalled else "running",
        "now_ns": now_ns,
        "end_ns": None,
        "decisions": count,
        "missed_deadlines": count // 170,
        "skipped": 0,
        "revisions": 0,
        "streams": streams,
        "edges": edges,
        "events": ["desk: the microphone is silent"] if count % 200 == 52 else [],
        "final": False,
        "recording": "",
        "epoch_ns": 0,
        "speed": 1.0,
        "doors": {},
    }
    return {**values, **changed}


def engine(state: str = "running", **changed: Any) -> dict[str, Any]:
    batches = {"encode": {"1": 900, "2": 240, "4": 60}, "fuse": {"1": 1000, "3": 80}}
    values = {
        "restarts": 0,
        "why": "",
        "cores": {"in_use": 0.8, "all": 2.0, "share": 0.9},
        "memory_bytes": 612 << 20,
        "fusion": {"batches": batches},
    }
    return {"type": "engine", "state": state, **values, **changed}


def picture(now_ns: int) -> bytes:
    """JPEG, 320 x 180: a mouth that moves, and the session time."""
    pixels = np.full((180, 320, 3), 40, np.uint8)
    mouth = 8 + int(14 * abs(math.sin(now_ns / S * 6)))
    cv2.circle(pixels, (160 + int(30 * math.sin(now_ns / S)), 85), 62, (150, 180, 220), -1)
    cv2.ellipse(pixels, (160 + int(30 * math.sin(now_ns / S)), 112), (26, mouth), 0, 0, 360, (40, 40, 120), -1)
    cv2.putText(pixels, f"{now_ns / S:.1f} s", (8, 172), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


def message(session: str, header: dict[str, Any], body: bytes = b"") -> list[bytes]:
    """As an actor publishes it."""
    return [session.encode() + b"\n", json.dumps(header).encode(), body]


def published(session: str, now_ns: int, step: int) -> list[list[bytes]]:
    """What is published in one of the steps of 50 ms: levels in each, a picture in every third, marks five a second, words now and then."""
    loud = -60 + 45 * abs(math.sin(now_ns / S * 2))
    found = [
        message(
            session,
            {
                "kind": "level",
                "source": "desk",
                "stream": "audio",
                "at_ns": now_ns,
                "rms_db": round(loud, 1),
                "peak_db": round(loud + 9, 1),
            },
        )
    ]
    if step % 3 == 0:
        header = {"kind": "picture", "source": "desk", "stream": "video", "at_ns": now_ns, "width": 320, "height": 180}
        found.append(message(session, header, picture(now_ns)))
    if step % 4 == 0:
        for kind, width in (("video", 33 * MS), ("audio", 20 * MS)):
            if kind == "video" or not 50 <= now_ns // HOP_NS % 200 < 60:
                spans = [[start, start + width] for start in range(now_ns - 200 * MS, now_ns, width)]
                found.append(
                    message(session, {"kind": "marks", "input": kind, "spans": spans, "dropped": {"no_face": 1} if step % 40 == 0 else {}})
                )
    if step % 80 == 0:
        text = WORDS[step // 80 % len(WORDS)]
        found.append(message(session, {"kind": "text", "stream": "text", "start_ns": now_ns, "end_ns": now_ns + 4 * S, "text": text}))
        found.append(message(session, {"kind": "marks", "input": "text", "spans": [[now_ns, now_ns + 4 * S]], "dropped": {}}))
    return found

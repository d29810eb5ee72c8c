"""Your own recordings: any media file, with labels in a file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from operators.errors import ContractError, DeviceNotFound, SourceError
from operators.operator import run_chain
from operators.packet import Closed, Packet, StreamEvent, Watermark
from pipeline.media.captions import read_captions
from pipeline.model import ModelSpec
from pipeline.ports import Source, Wanted
from pipeline.sources.file import MediaFile
from pipeline.training.session import LabelledSession, Split, Timed, Truth
from pipeline.training.transforms import chains

LABEL_SUFFIXES = (".labels.jsonl", ".labels.vtt", ".labels.srt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A file that was read and prepared: by input the events behind the model's transforms, and the labels."""

    name: str
    events: dict[str, list[Timed]]
    truth: list[Truth]
    end_ns: int


class LabelledMedia:
    """Media files with labels: beside talk.mp4 lies talk.labels.jsonl, talk.labels.vtt or talk.labels.srt.

    A line of .jsonl is {"start_ms": 0, "end_ms": 1500, "label": "speaking"} (or start_ns, end_ns); in .vtt and .srt the cue's text is
    the label. What no label covers is not trained on. The text stream is the file's own, or a caption file beside it, as in a run.

    train, validation, test   the files of each split: nobody in the one should be in another
    inputs    the model's input -> the file's stream (video, audio, text), where they are not called the same
    seconds   training sessions are stretches of this length, from anywhere
    spec      the model that is trained; the trainer gives it
    Files are decoded and prepared once and then kept in memory.
    """

    def __init__(
        self,
        *,
        train: Sequence[Path],
        validation: Sequence[Path],
        test: Sequence[Path],
        inputs: Mapping[str, str] | None = None,
        seconds: float = 12.0,
        spec: ModelSpec | None = None,
    ) -> None:
        if spec is None or seconds <= 0:
            raise ContractError(f"LabelledMedia wants seconds > 0 and the model that is trained, got {seconds} and {spec}")
        self._spec, self._seconds = spec, seconds
        self._streams = {name: (inputs or {}).get(name, name) for name in spec.inputs}
        self._paths: dict[Split, list[Path]] = {"train": list(train), "validation": list(validation), "test": list(test)}
        missing = [path for paths in self._paths.values() for path in paths if not path.is_file()]
        if missing:
            raise ContractError(f"there is no recording {missing[0]}")
        self._kept: dict[Path, Recording] = {}

    def sessions(self, split: Split, rng: np.random.Generator) -> Iterator[LabelledSession]:
        recordings = [self._recording(path) for path in self._paths[split]]
        yield from drawn(recordings, self._seconds, rng) if split == "train" else map(whole, recordings)

    def _recording(self, path: Path) -> Recording:
        if path not in self._kept:
            self._kept[path] = self._read(path)
        return self._kept[path]

    def _read(self, path: Path) -> Recording:
        events = prepared(MediaFile(path=path), self._spec, self._streams, path)
        return recording_of(path.stem, events, read_labels(path, self._spec.labels))


def prepared(source: Source, spec: ModelSpec, streams: Mapping[str, str], path: Path) -> dict[str, list[Timed]]:
    """All that a source says, by input of the model, behind the model's transforms. streams: input -> stream of the source."""
    operators = {name: make() for name, make in chains(spec, str(path), path.parent).items()}
    events: dict[str, list[Timed]] = {}
    try:
        wanted = {stream: Wanted(**spec.inputs[name].wanted.model_dump()) for name, stream in streams.items()}
        offered = {stream.name for stream in source.open(wanted)}
        fed = {stream: [name for name, one in streams.items() if one == stream] for stream in offered}
        for due_ns, event in source.events():
            for name in fed[event.stream]:
                made = run_chain(operators[name], (replace(event, stream=name),))
                events.setdefault(name, []).extend((due_ns, out) for out in made)
    finally:
        source.close()
    return events


def recording_of(name: str, events: dict[str, list[Timed]], truth: list[Truth]) -> Recording:
    end_ns = max((timed[-1][1].time_ns for timed in events.values() if isinstance(timed[-1][1], Closed)), default=0)
    return Recording(name=name, events=events, truth=truth, end_ns=end_ns)


def drawn(recordings: Sequence[Recording], seconds: float, rng: np.random.Generator) -> Iterator[LabelledSession]:
    """Without end: stretches of so many seconds, every moment of all recordings as likely as any other."""
    if not recordings:
        raise ContractError("there is no recording to train on")
    lengths = np.array([recording.end_ns for recording in recordings], float)
    while True:
        recording = recordings[int(rng.choice(len(recordings), p=lengths / lengths.sum()))]
        start_ns = int(rng.uniform(0, max(1.0, recording.end_ns - seconds * 1e9)))
        yield stretch(recording, start_ns, start_ns + round(seconds * 1e9))


def read_labels(media: Path, known: Sequence[str]) -> list[Truth]:
    """The labels beside a media file, in order. Raises SourceError for no file, labels that overlap or that the model has not."""
    path = next((found for suffix in LABEL_SUFFIXES if (found := media.with_suffix(suffix)).is_file()), None)
    if path is None:
        raise DeviceNotFound(str(media), f"has no labels beside it: {media.with_suffix(LABEL_SUFFIXES[0]).name} wanted")
    return checked(_json_labels(path) if path.suffix == ".jsonl" else _cue_labels(path), known, path)


def checked(spans: list[Truth], known: Sequence[str], path: Path) -> list[Truth]:
    """The spans in order. Raises SourceError where two overlap, and for a label that the model has not."""
    spans.sort(key=lambda span: span.start_ns)
    for span, following in zip(spans, [*spans[1:], None], strict=True):
        if span.label not in known:
            raise SourceError(str(path), f"names the label {span.label!r}; the model has {', '.join(known)}")
        if following is not None and following.start_ns < span.end_ns:
            raise SourceError(str(path), f"has labels that overlap at {following.start_ns / 1e9:.3f} s; one label at a time wanted")
    return spans


def _json_labels(path: Path) -> list[Truth]:
    spans = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            start_ns, end_ns = (item[f"{edge}_ns"] if f"{edge}_ns" in item else item[f"{edge}_ms"] * 1e6 for edge in ("start", "end"))
            spans.append(Truth(start_ns=round(start_ns), end_ns=round(end_ns), label=str(item["label"]), condition=path.name))
        except (ValueError, KeyError, TypeError):
            raise SourceError(str(path), f"line {number} is not start_ms, end_ms and label: {line[:60]!r}") from None
    return spans


def _cue_labels(path: Path) -> list[Truth]:
    cues, _ = read_captions(path)
    return [Truth(start_ns=cue.start_ns, end_ns=cue.end_ns, label=cue.text.strip(), condition=path.name) for cue in cues]


def whole(recording: Recording) -> LabelledSession:
    return LabelledSession(name=recording.name, events=recording.events, truth=recording.truth, prepared=frozenset(recording.events))


def stretch(recording: Recording, start_ns: int, end_ns: int) -> LabelledSession:
    """[start_ns, end_ns) of a recording as a session that begins at 0: what starts in it, its labels, and the end."""
    events = {name: list(_shifted(timed, start_ns, min(end_ns, recording.end_ns))) for name, timed in recording.events.items()}
    truth = [
        replace(span, start_ns=max(span.start_ns, start_ns) - start_ns, end_ns=min(span.end_ns, end_ns) - start_ns)
        for span in recording.truth
        if span.end_ns > start_ns and span.start_ns < end_ns
    ]
    return LabelledSession(name=f"{recording.name}+{start_ns / 1e9:.2f}", events=events, truth=truth, prepared=frozenset(events))


def _shifted(events: Sequence[Timed], start_ns: int, end_ns: int) -> Iterator[Timed]:
    last_ns = 0
    for due_ns, event in events:
        last_ns = max(last_ns, due_ns - start_ns)
        moved = _moved(event, start_ns, end_ns)
        if moved is not None:
            yield max(0, due_ns - start_ns), moved
        elif due_ns > end_ns:
            break
    stream = events[0][1].stream
    yield max(0, last_ns), Closed(stream=stream, time_ns=end_ns - start_ns)


def _moved(event: StreamEvent, start_ns: int, end_ns: int) -> StreamEvent | None:
    if isinstance(event, Packet) and start_ns <= event.start_ns < end_ns:
        return replace(event, start_ns=event.start_ns - start_ns, end_ns=event.end_ns - start_ns)
    if isinstance(event, Watermark) and start_ns < event.time_ns <= end_ns:
        return replace(event, time_ns=event.time_ns - start_ns)
    return None

"""Recorded sessions with labels, to train on: their media decoded again, with the stamps and the lateness that they had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from operators.errors import ContractError
from pipeline.model import ModelSpec
from pipeline.session.labels import labels_path
from pipeline.session.layout import MANIFEST
from pipeline.session.preparation import fed_by
from pipeline.session.read import Session
from pipeline.sources.session import Recorded
from pipeline.training.media import Recording, checked, drawn, prepared, recording_of, whole
from pipeline.training.session import LabelledSession, Split, Truth


class RecordedSessions:
    """Sessions of a folder, recorded (`sensorium run --record`) or imported (`sensorium sessions import`), with labels of one name.

    folder       holds the sessions; those without the labels are passed over
    labels       `sensorium sessions label SESSION FILE --name LABELS`
    train, validation, test   patterns of the sessions' names, by split; nobody in the one should be in another, so no session may be.
                 Left out, train takes what no other split does
    seconds      training sessions are stretches of this length, from anywhere
    spec         the model that is trained; the trainer gives it
    A model's input is fed by the recorded input of the same name, else by the only one of its kind.
    Sessions are decoded and prepared once and then kept in memory.
    """

    def __init__(
        self,
        *,
        folder: Path,
        labels: str,
        train: Sequence[str] | None = None,
        validation: Sequence[str],
        test: Sequence[str],
        seconds: float = 12.0,
        spec: ModelSpec | None = None,
    ) -> None:
        if spec is None or seconds <= 0:
            raise ContractError(f"RecordedSessions wants seconds > 0 and the model that is trained, got {seconds} and {spec}")
        self._spec, self._labels, self._seconds = spec, labels, seconds
        sessions = [Session.open(path.parent) for path in sorted(Path(folder).glob(f"*/{MANIFEST}"))]
        labelled = [session for session in sessions if labels in session.label_names()]
        if not labelled:
            raise ContractError(f"{folder} holds no session with labels {labels!r}; sensorium sessions label adds them")
        self._sessions = _split(labelled, train, validation, test)
        self._kept: dict[Path, Recording] = {}

    def sessions(self, split: Split, rng: np.random.Generator) -> Iterator[LabelledSession]:
        recordings = [self._recording(session) for session in self._sessions[split]]
        yield from drawn(recordings, self._seconds, rng) if split == "train" else map(whole, recordings)

    def _recording(self, session: Session) -> Recording:
        if session.folder not in self._kept:
            self._kept[session.folder] = self._read(session)
        return self._kept[session.folder]

    def _read(self, session: Session) -> Recording:
        streams = fed_by(session.manifest, self._spec)
        events = prepared(Recorded(folder=session.folder), self._spec, streams, session.folder)
        path = labels_path(session.folder, self._labels)
        spans = [
            Truth(start_ns=label.start_ns, end_ns=label.end_ns, label=label.label, condition=session.name)
            for label in session.labels(self._labels)
        ]
        return recording_of(session.name, events, checked(spans, self._spec.labels, path))


def _split(
    sessions: Sequence[Session], train: Sequence[str] | None, validation: Sequence[str], test: Sequence[str]
) -> dict[Split, list[Session]]:
    """Raises ContractError for a split without a session, and for a session in two."""
    matched: dict[Split, list[Session]] = {
        "train": _matching(sessions, train or ()),
        "validation": _matching(sessions, validation),
        "test": _matching(sessions, test),
    }
    if train is None:
        taken = {session.name for session in (*matched["validation"], *matched["test"])}
        matched["train"] = [session for session in sessions if session.name not in taken]
    names = [session.name for found in matched.values() for session in found]
    for split, found in matched.items():
        if not found:
            raise ContractError(f"no session is for {split}; the labelled ones are {', '.join(session.name for session in sessions)}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ContractError(f"the session {twice} is in two splits")
    return matched


def _matching(sessions: Sequence[Session], patterns: Sequence[str]) -> list[Session]:
    return [session for session in sessions if any(fnmatchcase(session.name, pattern) for pattern in patterns)]

"""A full disk is one event for a person, however many files it stops."""

from pipeline.session.telling import Telling

FULL = "No space left on device"


def stopped(what: str, why: str = FULL) -> str:
    return f"recording of {what} stopped: {why}; decisions go on"


def test_one_cause_is_told_once_and_its_end_once() -> None:
    telling = Telling()
    assert list(telling.lines([stopped("events"), stopped("streams/cam.video (media)")])) == [
        "recording stopped: No space left on device; decisions go on"
    ]
    assert list(telling.lines([stopped("decisions"), "source cam is lost: cable"])) == ["source cam is lost: cable"]
    assert list(telling.lines(["recording of events goes on", "recording of decisions goes on"])) == ["recording goes on"]
    assert list(telling.lines([stopped("events")])) == ["recording stopped: No space left on device; decisions go on"]


def test_another_cause_is_another_event() -> None:
    assert len(list(Telling().lines([stopped("events"), stopped("decisions", "Input/output error")]))) == 2


def test_what_concerns_one_stream_is_told_of_that_stream() -> None:
    line = stopped("streams/cam.video (media)", "Matroska does not take its packets (gif), so its media are encoded anew")
    over = "recording of streams/cam.video (media) goes on"
    assert list(Telling().lines([line, over])) == [line, over]

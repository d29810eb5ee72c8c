"""Labels of other tools come in with their times checked, or not at all, and come out as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from exchange import MS, small_media, small_session

from operators.errors import ConfigError, SensoriumError, SessionError
from pipeline.cli import main
from pipeline.score import read_truth
from pipeline.session.importing.media import import_media
from pipeline.session.labelfiles import placed, read_label_file
from pipeline.session.labels import Label, label_name, overlap, read_labels, write_labels
from pipeline.session.layout import LABELS
from pipeline.session.read import Session

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-11-25T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/>
    <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="500"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="900"/>
    <TIME_SLOT TIME_SLOT_ID="ts4"/>
  </TIME_ORDER>
  <TIER TIER_ID="state">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>silent</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
      <ANNOTATION_VALUE>speaking &amp; laughing</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
%s
</ANNOTATION_DOCUMENT>
"""
SECOND = """  <TIER TIER_ID="translation" PARENT_REF="state">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a2">
      <ANNOTATION_VALUE>spricht</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
"""
WANTED = [(0, 500, "silent"), (500, 900, "speaking")]
FILES = {
    "a.vtt": "WEBVTT\n\n00:00.000 --> 00:00.500\nsilent\n\n00:00.500 --> 00:00.900\nspeaking\n",
    "a.srt": "1\n00:00:00,000 --> 00:00:00,500\nsilent\n\n2\n00:00:00,500 --> 00:00:00,900\nspeaking\n",
    "a.eaf": (EAF % "").replace(" &amp; laughing", ""),
    "a.txt": "0.000000\t0.500000\tsilent\n\\\t100.0\t2000.0\n0.500000\t0.900000\tspeaking\n",
    "a.csv": "start,end,label\n0,0.5,silent\n0.5,0.9,speaking\n",
    "ms.csv": "label;start_ms;end_ms;who\nsilent;0;500;x\nspeaking;500;900;y\n",
    "ns.tsv": "start_ns\tend_ns\tlabel\n0\t500000000\tsilent\n500000000\t900000000\tspeaking\n",
    "a.jsonl": '{"start_ms": 0, "end_ms": 500, "label": "silent"}\n\n{"start_s": 0.5, "end_ns": 900000000, "label": "speaking"}\n',
}


def spans(path: Path, tier: str | None = None):
    return [(round(s.start_ns / MS), round(s.end_ns / MS), s.label) for s in read_label_file(path, tier)]


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_tools_file_gives_the_same_labels(name, tmp_path):
    assert spans(written(tmp_path, name, FILES[name])) == WANTED


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_labels_are_text_in_any_script(encoding, tmp_path):
    path = written(tmp_path, "a.csv", "start,end,label\r\n0,0.5,говорит\r\n".encode(encoding))
    assert spans(path) == [(0, 500, "говорит")]


def test_a_tier_of_an_elan_file_is_chosen_by_name(tmp_path):
    path = written(tmp_path, "a.eaf", EAF % SECOND)
    assert spans(path, "translation") == [(500, 900, "spricht")]
    assert spans(path, "state") == [(0, 500, "silent"), (500, 900, "speaking & laughing")]
    with pytest.raises(ConfigError, match="on the tiers state, translation; choose one with --tier"):
        read_label_file(path)


BOMB = '<!DOCTYPE a [<!ENTITY b "{}">{}]>\n<ANNOTATION_DOCUMENT>&j;</ANNOTATION_DOCUMENT>'.format(
    "x" * 1000,
    "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("bcdefghi", "cdefghij", strict=True)),
)
WRONG = {
    "an entity bomb": ("a.eaf", BOMB, "declares a DOCTYPE"),
    "an entity from a file": ("a.eaf", '<!DOCTYPE a SYSTEM "file:///etc/passwd"><ANNOTATION_DOCUMENT/>', "declares a DOCTYPE"),
    "nesting without end": ("a.eaf", "<ANNOTATION_DOCUMENT>" + "<a>" * 5000, "nests deeper than 64"),
    "broken XML": ("a.eaf", "<ANNOTATION_DOCUMENT>", "is not well-formed XML"),
    "another XML": ("a.eaf", "<svg/>", "is no ELAN file"),
    "an annotation that refers to itself": (
        "a.eaf",
        (EAF % SECOND.replace('REF="a2"', 'REF="a3"')).replace("silent", "").replace("speaking &amp; laughing", ""),
        "has no time",
    ),
    "a slot without a time": ("a.eaf", (EAF % "").replace('REF2="ts3"', 'REF2="ts4"'), "annotation a2: has no time"),
    "frames": ("a.eaf", (EAF % "").replace('"milliseconds"', '"PAL-frames"'), "save it from ELAN with times in milliseconds"),
    "a time that is none": ("a.csv", "start,end,label\n0,nan,silent\n", "line 2: holds a time that is none"),
    "no number": ("a.csv", "start,end,label\n0,soon,silent\n", "line 2: 'soon' is no number"),
    "too few cells": ("a.csv", "start,end,label\n0,1\n", "has 2 cells, the header 3"),
    "no header": ("a.csv", "0,1,silent\n", "has no column 'start'; begin with a header"),
    "no text": ("a.csv", "start,end,label\n0,1, \n", "holds no label of 1 to 1000 letters"),
    "no JSON": ("a.jsonl", "{", "is not start_ms, end_ms"),
    "deep JSON": ("a.jsonl", "[" * 100_000, "is not start_ms, end_ms"),
    "JSON of another kind": ("a.jsonl", '{"start_ms": "0", "end_ms": true, "label": 1}', "is not start_ms, end_ms"),
    "huge JSON": ("a.jsonl", '{"start_ms": 1e300, "end_ms": 1e301, "label": "x"}', "holds a time that is none"),
    "spaces for tabs": ("a.txt", "0.0 0.5 silent\n", "is not start, end and label with tabs between"),
    "a bad cue": ("a.vtt", "WEBVTT\n\n00:00.000 --> 00:00.500\nsilent\n\nsoon --> later\nx\n", "1 of its cues cannot be read"),
    "nothing": ("a.csv", "start,end,label\n", "holds no label"),
    "no text file": ("a.csv", b"start,end,label\n0,1,\xff\xfe\xfd\n", "is not UTF-8 text"),
    "a suffix that says nothing": ("a.xyz", "x", "labels are read from .vtt"),
}


@pytest.mark.parametrize(("name", "text", "line"), WRONG.values(), ids=WRONG)
def test_a_file_that_holds_no_labels_is_refused_in_a_line(name, text, line, tmp_path):
    with pytest.raises(SensoriumError, match=line) as caught:
        list(placed(read_label_file(written(tmp_path, name, text)), name, shift_ns=0, end_ns=10**12))
    assert "\n" not in str(caught.value)


@pytest.fixture
def session(tmp_path) -> Session:
    return Session.open(import_media(small_media(tmp_path, cues=()), tmp_path / "store"))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("0.5,0.5", "line 2: 'a' starts and ends at once: it labels nothing"),
        ("0.9,0.5", "line 2: 'a' ends before it starts"),
        ("1.5,1.6", r"\[1.500 s, 1.600 s\) is not within the session, which ends at 1.000 s; move all labels with --shift"),
        ("-0.1,0.5", "is not within the session"),
        ("0.5,2.5", "is not within the session"),
    ],
)
def test_a_label_outside_the_session_is_told_with_its_line(session, row, line, tmp_path):
    found = read_label_file(written(tmp_path, "a.csv", f"start,end,label\n{row},a\n"))
    with pytest.raises(ConfigError, match=line):
        placed(found, "a.csv", shift_ns=0, end_ns=session.end_ns())


def test_labels_are_shifted_and_the_last_one_ends_with_the_session(session, tmp_path, capsys):
    path = written(tmp_path, "my talk.csv", "start,end,label\n10,10.5,a\n10.5,11.2,b\n")
    assert main(["sessions", "label", str(session.folder), str(path), "--shift", "-10s"]) == 0
    assert "1 of them ended after the session and end with it now" in capsys.readouterr().err
    assert session.label_names() == ["my-talk"]
    assert session.labels("my-talk") == [
        Label(start_ns=0, end_ns=500 * MS, label="a", source="my talk.csv"),
        Label(start_ns=500 * MS, end_ns=1000 * MS, label="b", source="my talk.csv"),
    ]


def test_stored_labels_are_a_truth_file(tmp_path):
    made = small_session(tmp_path)
    truth = read_truth(made.folder / LABELS / "people.jsonl")
    assert [(span.start_ns, span.end_ns, span.label) for span in truth] == [
        (label.start_ns, label.end_ns, label.label) for label in made.labels("people")
    ]


def test_labels_are_not_replaced(session, tmp_path, capsys):
    path = written(tmp_path, "a.csv", FILES["a.csv"])
    assert main(["sessions", "label", str(session.folder), str(path)]) == 0
    before = (session.folder / LABELS / "a.jsonl").read_bytes()
    assert main(["sessions", "label", str(session.folder), str(path), "--shift", "10ms"]) == 5
    assert "has labels 'a' already" in capsys.readouterr().err
    assert (session.folder / LABELS / "a.jsonl").read_bytes() == before
    assert main(["sessions", "label", str(session.folder), str(path), "--name", "b"]) == 0
    assert session.label_names() == ["a", "b"]


@pytest.mark.parametrize("name", ["../../canary", "a/b", "", ".hidden", "x" * 65])
def test_a_name_cannot_lead_out_of_the_folder_of_labels(session, name, tmp_path, capsys):
    path = written(tmp_path, "a.csv", FILES["a.csv"])
    assert main(["sessions", "label", str(session.folder), str(path), "--name", name]) == 2
    assert "is no name for labels" in capsys.readouterr().err
    assert not (session.folder / LABELS).exists()


def test_a_files_name_becomes_a_name_for_labels():
    assert [label_name(stem) for stem in ("talk", "My talk (2).final", "a" * 99)] == ["talk", "My-talk-2-final", "a" * 64]
    with pytest.raises(ConfigError, match="is no name for labels"):
        label_name("日本")


def test_labels_behind_a_link_are_not_followed(session, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (session.folder / LABELS).symlink_to(elsewhere)
    with pytest.raises(SessionError, match="is a link"):
        write_labels(session.folder, "a", [Label(start_ns=0, end_ns=1, label="a")])
    assert session.label_names() == []
    assert list(elsewhere.iterdir()) == []


def test_damaged_lines_of_labels_are_counted_and_the_rest_is_read(session):
    write_labels(session.folder, "a", [Label(start_ns=0, end_ns=1, label="a")])
    path = session.folder / LABELS / "a.jsonl"
    bad = [{"start_ns": 5, "end_ns": 5, "label": "x"}, {"start_ns": 0, "end_ns": 1 << 70, "label": "x"}, {"start_ns": "0"}, {}]
    path.write_text(path.read_text() + "".join(json.dumps(values) + "\n" for values in bad) + "not JSON\n")
    told = []
    assert read_labels(session.folder, "a", lambda path, why: told.append(why)) == [Label(start_ns=0, end_ns=1, label="a")]
    assert told == ["4 lines hold no label"]


def test_labels_that_hold_at_once_are_found():
    labels = [Label(start_ns=a, end_ns=b, label="x") for a, b in ((0, 10), (10, 20), (12, 13), (20, 21))]
    assert overlap(labels) == labels[2]
    assert overlap(labels[:2]) is None

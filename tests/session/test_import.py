"""Media files and archives become sessions as a whole or not at all, and an archive brings data, never harm."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from exchange import CUES, MS, small_media, small_session
from tiny_model import write_tiny_model

from operators.errors import DecodeError, SensoriumError, SessionError
from operators.packet import Packet
from pipeline.cli import main
from pipeline.ports import Wanted
from pipeline.session.audit import audit
from pipeline.session.frames import frames
from pipeline.session.importing.archive import Limits, import_archive
from pipeline.session.importing.media import import_media
from pipeline.session.layout import MANIFEST
from pipeline.session.read import Session
from pipeline.sources.file import MediaFile
from pipeline.sources.session import Recorded

SMALL = Limits(files=200, bytes=20 << 20, ratio=100, free_bytes=4 << 20)
CANARY = "canary"


# -- media files


@pytest.mark.parametrize(("name", "codec"), [("talk.mkv", "libx264"), ("talk.mp4", "mpeg4"), ("talk.avi", "mjpeg")])
def test_an_imported_file_has_the_stamps_that_a_run_of_it_would_have(name, codec, tmp_path):
    cues = () if name.endswith("avi") else CUES
    path = small_media(tmp_path, name, codec=codec, cues=cues)
    session = Session.open(import_media(path, tmp_path / "store"))
    assert (session.manifest.imported, session.manifest.model, session.ended() is not None) == (name, None, True)
    source = MediaFile(path=path)
    source.open({})
    said = [event for _, event in source.events() if isinstance(event, Packet)]
    source.close()
    for stream in {packet.stream for packet in said}:
        wanted = [(packet.start_ns, packet.end_ns) for packet in said if packet.stream == stream]
        table = session.table(f"file.{stream}")
        assert list(zip(table["start_ns"].to_pylist(), table["end_ns"].to_pylist(), strict=True)) == wanted
    assert len(list(frames(session, "file.video"))) == 25
    assert [packet.payload.text for packet in session.packets("file.text")] == [text for _, _, text in cues]
    assert all(finding.state == "whole" for finding in audit(session))


def test_pictures_of_an_imported_file_are_the_files_bit_for_bit(tmp_path):
    path = small_media(tmp_path, codec="libx264")
    session = Session.open(import_media(path, tmp_path / "store"))
    source = MediaFile(path=path)
    source.open({"video": Wanted()})
    want = [event.payload.data for _, event in source.events() if isinstance(event, Packet) and event.stream == "video"]
    source.close()
    got = [packet.payload.data for packet in frames(session, "file.video")]
    assert [data.tobytes() for data in got] == [data.tobytes() for data in want]


def test_a_second_import_of_a_file_is_a_second_session(tmp_path):
    path = small_media(tmp_path, cues=())
    first, second = (import_media(path, tmp_path / "store") for _ in range(2))
    assert first != second
    assert sorted((tmp_path / "store").iterdir()) == sorted([first, second])


def test_a_file_that_is_no_media_leaves_nothing_in_the_store(tmp_path):
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"no media at all" * 100)
    with pytest.raises(DecodeError, match="not a media file that FFmpeg can read"):
        import_media(path, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_an_imported_file_can_be_a_source(tmp_path):
    session = import_media(small_media(tmp_path), tmp_path / "store")
    source = Recorded(folder=session)
    kinds = {spec.name: spec.kind for spec in source.open({})}
    heard = [event.stream for _, event in source.events() if isinstance(event, Packet)]
    source.close()
    assert kinds == {"video": "video", "audio": "audio", "text": "text"}
    assert (heard.count("video"), heard.count("text")) == (25, 2)


def test_an_imported_file_is_decided_about_as_a_run_of_it_is_and_scored_by_its_labels(tmp_path, capsys):
    model = write_tiny_model(tmp_path / "tiny")
    path = small_media(tmp_path / "from", codec="libx264", width=16, height=16)  # what the model wants
    labels = tmp_path / "people.csv"
    labels.write_text("start,end,label\n0,0.5,silent\n0.5,1,speaking\n")
    assert main(["sessions", "import", str(path), str(tmp_path / "store")]) == 0
    session = capsys.readouterr().out.strip()
    assert main(["sessions", "label", session, str(labels)]) == 0
    replayed, ran = tmp_path / "replayed.jsonl", tmp_path / "ran.jsonl"
    words = ["--model", str(model), "--speed", "max", "--quiet", "--out"]
    assert main(["replay", session, *words, str(replayed), "--ideal", "--truth", "people"]) == 0
    assert "accuracy" in capsys.readouterr().err
    assert main(["run", "file", "--input", str(path), "--runner", "inline", *words, str(ran)]) == 0
    wanted = [essence(line) for line in ran.read_text().splitlines()]
    assert len(wanted) == 13
    assert [essence(line) for line in replayed.read_text().splitlines()] == wanted


def essence(line: str) -> dict:
    values = json.loads(line)
    return {name: values[name] for name in ("start_ns", "end_ns", "label", "scores", "presence", "age_ns")}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "was imported, so no model has decided about it yet; --model speaking does"),
        (["--verify"], "was imported, so no model has decided about it yet"),
        (["--model", "speaking", "--truth", "nobody"], "'nobody' is no file, and the session has no labels of that name"),
    ],
)
def test_replay_of_an_import_says_in_a_line_what_it_wants(words, line, tmp_path, capsys):
    session = import_media(small_media(tmp_path, cues=()), tmp_path / "store")
    assert main(["replay", str(session), *words]) in (2, 5)
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


# -- archives


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    return small_session(tmp_path_factory.mktemp("archived"))


@pytest.mark.parametrize("format", ["zip", "tar", "gztar", "xztar", "bztar"])
@pytest.mark.parametrize("nested", [True, False])
def test_an_archived_session_comes_back_whole(session, format, nested, tmp_path):
    root, base = (session.folder.parent, session.folder.name) if nested else (session.folder, ".")
    packed = Path(shutil.make_archive(str(tmp_path / "sent"), format, root, base))
    unpacked = import_archive(packed, tmp_path / "store")
    made = Session.open(unpacked.folder)
    assert made.manifest == session.manifest.model_copy(update={"imported": packed.name})
    assert made.labels("people") == session.labels("people")
    assert list(made.decisions()) == list(session.decisions())
    assert all(finding.state == "whole" for finding in audit(made))
    assert unpacked.left_out == 1  # the lock
    assert {stat.S_IMODE(path.stat().st_mode) for path in unpacked.folder.rglob("*") if path.suffix in (".arrows", ".mkv")} == {0o600}


def test_only_files_of_a_session_are_taken_from_an_archive(session, tmp_path):
    packed = packed_with(tmp_path, session, {"model/model.yaml": b"x", "evil.py": b"x", "events/evil.py": b"x"})
    unpacked = import_archive(packed, tmp_path / "store")
    there = {str(path.relative_to(unpacked.folder)) for path in unpacked.folder.rglob("*") if path.is_file()}
    assert not [path for path in there if path.endswith((".py", ".yaml"))]
    assert unpacked.left_out == 3 + 1


def test_the_model_folder_that_an_archive_names_is_forgotten(session, tmp_path):
    values = json.loads((session.folder / MANIFEST).read_text())
    values["model"] = {"name": "m", "digest": "0" * 64, "windows": "", "folder": str(tmp_path / "evil")}
    packed = tmp_path / "s.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(values))
    assert Session.open(import_archive(packed, tmp_path / "store").folder).manifest.model.folder == ""


def packed_with(folder: Path, session: Session, files: dict[str, bytes]) -> Path:
    """A zip file of the session with more in it."""
    path = folder / "sent.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(session.folder.rglob("*")):
            if file.is_file():
                archive.write(file, str(file.relative_to(session.folder)))
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def zip_of(path: Path, *files: tuple[str | zipfile.ZipInfo, bytes], top=((MANIFEST, b"{}"),)) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (*top, *files):
            archive.writestr(name, data)
    return path


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def named(name: str, **values) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(member, key, value)
    return member


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def zip_device(name: str) -> zipfile.ZipInfo:
    info = zip_link(name)
    info.external_attr = (stat.S_IFCHR | 0o666) << 16
    return info


def locked(path: Path) -> Path:
    """The first entry's flags say that it has a password."""
    data = bytearray(zip_of(path, ("notes.jsonl", b"x")).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(data)
    return path


def lying(path: Path, claimed: int, real: int) -> Path:
    """An entry that is larger or smaller than its headers say; its check sum is that of its real content."""
    zip_of(path, ("notes.jsonl", b"\0" * real))
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.rindex(mark)
        struct.pack_into("<I", data, at + offset, claimed)
    path.write_bytes(data)
    return path


def huge_directory(path: Path) -> Path:
    """Its end record claims a directory of 3 GB, and the file is as long as that: sparse."""
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFE, 0xFFFE, 3 << 30, 0, 0)
    with path.open("wb") as file:
        file.seek(3 << 30)
        file.write(end)
    return path


def huge_header(path: Path) -> Path:
    """A tar file whose first extended header claims 100 MB, which gzip makes very small."""
    header = named("pax", type=tarfile.XHDTYPE, size=100 << 20).tobuf(tarfile.USTAR_FORMAT)
    with gzip.open(path, "wb") as file:
        file.write(header)
        for _ in range(100):
            file.write(bytes(1 << 20))
    return path


def sparse(path: Path) -> Path:
    """GNU's sparse file: one byte in the archive, a gigabyte on the disk."""
    member = named("notes.jsonl", type=tarfile.GNUTYPE_SPARSE)
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (1 << 30, 0)
    header[483:495] = b"%011o\0" % (1 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(1024))
    return path


MALICIOUS = {
    "a path that climbs": ("leads out of the session", lambda path: zip_of(path, (f"../{CANARY}", b"x"))),
    "a path that climbs inside": ("leads out of the session", lambda path: zip_of(path, (f"labels/../../{CANARY}", b"x"))),
    "an absolute path": ("leads out of the session", lambda path: zip_of(path, (f"/tmp/{CANARY}", b"x"))),
    "a path with backslashes": ("leads out of the session", lambda path: zip_of(path, (f"..\\{CANARY}", b"x"))),
    "a path with a drive": ("leads out of the session", lambda path: zip_of(path, (f"C:{CANARY}", b"x"))),
    "a link in a zip file": ("is a link", lambda path: zip_of(path, (zip_link("labels"), b".."))),
    "a device in a zip file": ("is a device", lambda path: zip_of(path, (zip_device("notes.jsonl"), b""))),
    "a name twice": ("comes twice", lambda path: zip_of(path, ("notes.jsonl", b"a"), ("./notes.jsonl", b"b"))),
    "a name twice in another case": ("comes twice", lambda path: zip_of(path, ("notes.jsonl", b"a"), ("NOTES.jsonl", b"b"))),
    "two sessions": ("more than one session", lambda path: zip_of(path, (f"a/{MANIFEST}", b"{}"), (f"b/{MANIFEST}", b"{}"), top=())),
    "a file with a password": ("is a file with a password", lambda path: locked(path)),
    "more entries than allowed": ("more than 200 entries", lambda path: zip_of(path, *((f"x{index}", b"") for index in range(300)))),
    "more bytes than allowed": ("unpacks to more than", lambda path: zip_of(path, ("notes.jsonl", os.urandom(21 << 20)))),
    "zeros without end": (
        "unpacks to more than",
        lambda path: zip_of(path, *((f"labels/l{index}.jsonl", bytes(1 << 20)) for index in range(8))),
    ),
    "larger than it claims": ("larger than it says|cannot be unpacked", lambda path: lying(path, 10, 5000)),
    "smaller than it claims": ("smaller than it says|cannot be unpacked", lambda path: lying(path, 5000, 10)),
    "a directory of gigabytes": ("a directory of more than 16 MiB", huge_directory),
    "nothing but zeros": ("cannot be unpacked", lambda path: path.write_bytes(bytes(1000)) and path),
    "an empty file": ("cannot be unpacked", lambda path: path.write_bytes(b"") or path),
    "another file's content": (
        "cannot be unpacked",
        lambda path: zip_of(path, ("labels/a.jsonl", b"a")) and path.write_bytes(flipped(path)) and path,
    ),
}
LINK = (named("labels", type=tarfile.SYMTYPE, linkname=".."), b"")
MALICIOUS_TAR = {
    "a path that climbs": ("leads out of the session", lambda path: tar_of(path, (named(f"../{CANARY}"), b"x"))),
    "an absolute path": ("leads out of the session", lambda path: tar_of(path, (named(f"/tmp/{CANARY}"), b"x"))),
    "a link": ("is a link", lambda path: tar_of(path, LINK, (named(f"labels/{CANARY}.jsonl"), b"x"))),
    "a hard link": ("is a link", lambda path: tar_of(path, (named("notes.jsonl", type=tarfile.LNKTYPE, linkname="/etc/passwd"), b""))),
    "a device": ("is a device", lambda path: tar_of(path, (named("notes.jsonl", type=tarfile.CHRTYPE, devmajor=1, devminor=5), b""))),
    "a pipe": ("is a device", lambda path: tar_of(path, (named("notes.jsonl", type=tarfile.FIFOTYPE), b""))),
    "a name twice": ("comes twice", lambda path: tar_of(path, (named("notes.jsonl"), b"a"), (named("notes.jsonl"), b"b"))),
    "a sparse file": ("is a special file", sparse),
    "a header of 100 MB": ("a header or a directory of more", huge_header),
    "zeros that are not even taken": (
        "unpacks to more than",
        lambda path: tar_of(path, *((named(f"x{index}"), bytes(1 << 20)) for index in range(24))),
    ),
    "cut off": (
        "cannot be unpacked",
        lambda path: tar_of(path, (named("notes.jsonl"), os.urandom(5000))) and path.write_bytes(path.read_bytes()[:2000]) and path,
    ),
    "no tar at all": ("cannot be unpacked", lambda path: path.write_bytes(zlib.compress(b"x" * 1000)) and path),
}


def flipped(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    at = data.index(b"labels/a.jsonl") + len("labels/a.jsonl")
    data[at] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "suffix", "reason"),
    [pytest.param(make, ".zip", reason, id=name) for name, (reason, make) in MALICIOUS.items()]
    + [pytest.param(make, ".tar" if make is sparse else ".tar.gz", why, id=f"tar: {name}") for name, (why, make) in MALICIOUS_TAR.items()],
)
def test_a_malicious_archive_is_refused_in_one_line_and_leaves_nothing(make, suffix, reason, tmp_path):
    packed = make(tmp_path / f"sent{suffix}")
    store = tmp_path / "store"
    with pytest.raises(SessionError, match=reason) as caught:
        import_archive(packed, store, limits=SMALL)
    assert str(caught.value).startswith(f"{packed}: ")
    assert "\n" not in str(caught.value)
    assert list(store.iterdir()) == []
    assert not [path for folder in (tmp_path, Path("/tmp")) for path in folder.glob(f"*{CANARY}*")]


def test_an_archive_without_a_manifest_that_reads_leaves_nothing(tmp_path):
    with pytest.raises(SensoriumError, match=r"s.zip: its manifest.json is not that of a recorded session"):
        import_archive(zip_of(tmp_path / "s.zip"), tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_what_is_damaged_in_an_archive_is_told(session, tmp_path, capsys):
    shutil.copytree(session.folder, tmp_path / "s")
    victim = next((tmp_path / "s" / "decisions").iterdir())
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0xFF
    victim.write_bytes(data)
    packed = shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path / "s")
    assert main(["sessions", "import", packed, str(tmp_path / "store")]) == 0
    assert f"decisions/{victim.name}: damaged" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["zip", "tar", "gztar"])
def test_an_archive_damaged_anywhere_is_a_session_or_one_line(session, format, tmp_path):
    packed = Path(shutil.make_archive(str(tmp_path / "sent"), format, session.folder))
    whole, rng, said = packed.read_bytes(), random.Random(4), ""
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 5, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        packed.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            import_archive(packed, tmp_path / "store")
        except SessionError as error:
            said += str(error)
        assert not list((tmp_path / "store").glob(".*"))
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "line"),
    [("no.zip", "no such file"), ("no.mp4", "no such file"), ("store", "is a folder; media files and archives are imported")],
)
def test_what_is_no_file_is_told_in_a_line(name, line, tmp_path, capsys):
    (tmp_path / "store").mkdir()
    assert main(["sessions", "import", str(tmp_path / name), str(tmp_path / "store")]) in (3, 5)
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_several_files_are_imported_one_by_one(tmp_path, capsys):
    paths = [small_media(tmp_path, f"{name}.mkv", cues=()) for name in ("a", "b")]
    assert main(["sessions", "import", *map(str, paths), str(tmp_path / "store")]) == 0
    folders = capsys.readouterr().out.split()
    assert [Session.open(folder).manifest.imported for folder in folders] == ["a.mkv", "b.mkv"]
    assert [Session.open(folder).end_ns() // MS for folder in folders] == [1000, 1000]

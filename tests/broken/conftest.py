"""A folder with one good config, model and clip, and beside them everything that can be broken about them."""

import os
import shutil

import av
import pytest
import yaml
from tiny_model import write_tiny_model
from tinymedia import clicks, write_media

CUES = [(100, 350, "one"), (300, 700, "two")]
DESK = {
    "model": "tiny",
    "sources": {"media": {"use": "pipeline.sources.file:MediaFile", "path": "clip.mkv"}},
    "inputs": {"video": "media.video", "audio": "media.audio", "text": "media.text"},
    "run": {"speed": "max", "runner": "inline"},
}
CONFIGS = {
    "empty.yaml": b"",
    "list.yaml": b"- model\n- sources\n",
    "bracket.yaml": b"model: [speaking\n",
    "tab.yaml": b"model: speaking\n\tsources: {}\n",
    "twice.yaml": b"model: speaking\nmodel: other\n",
    "latin.yaml": b"model: caf\xe9\n",
    "huge.yaml": b"#" * (1 << 20) + b"\n",
    "bomb.yaml": b"a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + b"".join(b"%c: &%c [%s]\n" % (k, k, b",".join([b"*%c" % (k - 1)] * 10)) for k in b"bcdefg"),
    "python.yaml": b"model: !!python/object/apply:os.system [ls]\n",
}  # fmt: skip
TEXTS = {
    "letter.srt": b"Dear Sir,\n\nthere are no captions in this.\n",
    "binary.vtt": bytes(range(256)) * 8,
    "half.srt": b"1\n00:00:00,100 --> 00:00:00,300\none\n\n2\n00:00:09 -> never\ntwo\n\n3\n00:00:00,800 --> 00:00:00,500\nthree\n",
    "half.vtt": b"WEBVTT\n\n00:00.100 --> 00:00.300\none\n\nnext --> one\ntwo\n",
    "half.jsonl": b'{"start_ms": 100, "text": "one"}\n{"start_ms": \n[]\n{"start_ms": -1, "text": "x"}\n',
    "latin.srt": b"1\n00:00:00,100 --> 00:00:00,300\ncaf\xe9\n",
    "overlap.srt": b"1\n00:00:00,500 --> 00:00:00,900\ntwo\n\n2\n00:00:00,100 --> 00:00:00,700\none\n",
    "truth.txt": b"speaking all the time\n",
    "two_truths.jsonl": b'{"start_ms": 0, "end_ms": 500, "label": "silent"}\n{"start_ms": 400, "end_ms": 900, "label": "speaking"}\n',
}


@pytest.fixture(scope="session")
def broken_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    for name, content in {**CONFIGS, **TEXTS}.items():
        (folder / name).write_bytes(content)
    (folder / "desk.yaml").write_text(yaml.safe_dump(DESK, sort_keys=False))
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    _write_media(folder)
    _write_models(folder)
    return folder


def _write_media(folder):
    sound = clicks(1.0, 16000, [0.5])
    write_media(folder / "clip.mkv", sound=sound, cues=CUES, width=16, height=16)
    write_media(folder / "odd.mkv", sound=sound, width=17, height=15, codec="ffv1")
    write_media(folder / "mute.mkv", width=16, height=16)
    _write_mp3(folder / "sound.mp3", sound)
    whole = write_media(folder / "whole.mp4", sound=sound, audio_codec="aac", width=16, height=16).read_bytes()
    clip = (folder / "clip.mkv").read_bytes()
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "text.mp4").write_bytes(b"this is no film\n" * 100)
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "cut.mkv").write_bytes(clip[: len(clip) * 6 // 10])
    _hurt(write_media(folder / "hurt.mkv", sound=sound, codec="mjpeg", width=16, height=16), range(8, 12))


def _write_mp3(path, sound):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3", rate=16000, layout="mono")
        stream.format = "fltp"
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def _hurt(path, numbers):
    """Overwrites the contents of the pictures of these numbers; the file's structure is left whole."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for position, size in [places[number] for number in numbers]:
        content[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(content)


def _write_models(folder):
    tiny = write_tiny_model(folder / "tiny")
    for name in ("headless", "changed", "scrawled", "mislabelled", "foreign"):
        shutil.copytree(tiny, folder / name)
    (folder / "headless" / "fuse.onnx").unlink()
    (folder / "changed" / "encode_text.onnx").write_bytes(b"\0" + (tiny / "encode_text.onnx").read_bytes())
    (folder / "scrawled" / "model.yaml").write_text("name: [tiny\n")
    text = (tiny / "model.yaml").read_text()
    values = yaml.safe_load(text)
    (folder / "mislabelled" / "model.yaml").write_text(yaml.safe_dump({**values, "labels": ["silent", "speaking"]}))
    values["inputs"]["text"]["transforms"] = [{"use": "os:system"}]
    (folder / "foreign" / "model.yaml").write_text(yaml.safe_dump(values))

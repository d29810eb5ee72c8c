"""One table of broken inputs: what is given, the one line that says so, and the exit code; for `check` and `run` alike.

Where a part of the data is bad but not all of it, the run goes on to its end, and the summary counts what was lost.
"""

import shlex

import pytest

from pipeline.cli import main

CAPTIONS = "holds no caption that can be read (WebVTT, SRT or JSON lines with start_ms, end_ms, text wanted)"
CONFIG_NAMED = "name a YAML config, for example configs/demo.yaml"
DEADLINE = "write for example `deadline_ms: 150` (a decision goes out at the latest this long after its window's end)"
KNOWN = "align, decide, edges, inputs, model, nodes, offset_ms, record, run, session, sinks, sources, transforms, truth"
FAULTS = "dead, delay_ms, drift_ppm, drop, freezes, jitter, reorder, stalls"
FILE_OPTIONS = "audio_track, block_ms, captions, fault_seed, faults, path, text_track, threads, video_track"
BIG = "for a media file, run `sensorium run file --input FILE`"

REFUSED = [
    # -- configs that cannot be read
    ("nowhere.yaml", 2, f"nowhere.yaml: no such file; {CONFIG_NAMED}"),
    ("empty", 2, f"empty: is a folder, not a file; {CONFIG_NAMED}"),
    ("empty.yaml", 2, "empty.yaml: holds nothing; see configs/demo.yaml for one that works"),
    ("list.yaml", 2, "list.yaml: holds no mapping of key: value; see configs/demo.yaml for one that works"),
    ("bracket.yaml", 2, "bracket.yaml:2: is not valid YAML (expected ',' or ']', but got '<stream end>'); check indentation, brackets and the space after each colon"),
    ("tab.yaml", 2, "tab.yaml:2: is not valid YAML (found character '\\t' that cannot start any token); indent with spaces, not with tabs"),
    ("twice.yaml", 2, "twice.yaml:2: model: is given twice (first at twice.yaml:1); keep one of them"),
    ("latin.yaml", 2, "latin.yaml: is not UTF-8 text (byte 10 is 0xe9); save it as UTF-8"),
    ("huge.yaml", 2, f"huge.yaml: is larger than 1024 KiB; {BIG}"),
    ("bomb.yaml", 2, "bomb.yaml:1: e.0.6.8.8.8: holds more than 20000 values; make it smaller; aliases count as often as they are used"),
    ("python.yaml", 2, "python.yaml:1: model: has the tag 'tag:yaml.org,2002:python/object/apply:os.system'; only plain lists are read"),
    ("clip.mkv", 2, f"clip.mkv: is not a YAML text; {BIG}"),
    # -- keys and values
    ("desk.yaml --set algin.deadline_ms=5", 2, f"--set algin.deadline_ms=5: algin: is not a key that is known here; did you mean 'align'? (known: {KNOWN})"),
    ("desk.yaml --set align.deadline_ms=150ms", 2, f'--set align.deadline_ms=150ms: align.deadline_ms: got "150ms", expected a number; {DEADLINE}'),
    ("desk.yaml --set align.deadline_ms=-1", 2, f"--set align.deadline_ms=-1: align.deadline_ms: got -1, expected >= 0; {DEADLINE}"),
    ("desk.yaml --set align.deadline_ms", 2, "--set align.deadline_ms: is not of the form key.key=value; write for example --set align.deadline_ms=100"),
    ("desk.yaml --set model.hop_ms=-80", 2, "--set model.hop_ms=-80: model.hop_ms: model is 'tiny', which has no keys; set the whole of it instead"),
    ("desk.yaml --set run.duration=5x", 2, '--set run.duration=5x: run.duration: got "5x", expected a duration like 30s, 1.5m or 1:30; write for example `duration: 30s` (end after this much session time: 30s, 1.5m, 1:30)'),
    ("desk.yaml --set run.runner=inlin", 2, "--set run.runner=inlin: run.runner: got \"inlin\", expected 'ray' or 'inline'; did you mean 'inline'?"),
    ("desk.yaml --set run.backend=tensort", 4, "there is no backend 'tensort'; say auto, onnx, int8, torch or tensorrt"),
    ("desk.yaml --set inputs.video=media.vidoe", 2, "--set inputs.video=media.vidoe: inputs.video: media has no stream 'vidoe'; did you mean 'video'? (media has: audio, text, video)"),
    ("desk.yaml --set inputs={video: media.audio}", 2, "--set inputs={video: media.audio}: inputs.video: media.audio is audio, but the model wants video; use media.video"),
    ("desk.yaml --set inputs={video: media.text}", 2, "--set inputs={video: media.text}: inputs.video: media.text is text, but the model wants video; use media.video"),
    # -- parts
    ("desk.yaml --set sources.media.use=no.such:Thing", 2, "--set sources.media.use=no.such:Thing: sources.media.use: there is no module no.such; check its spelling, or put its folder on PYTHONPATH"),
    ("desk.yaml --set sources.media.use=pipeline.sources.file:MediaFlie", 2, "--set sources.media.use=pipeline.sources.file:MediaFlie: sources.media.use: there is no MediaFlie in pipeline.sources.file; did you mean 'MediaFile'? (it has: MediaFile)"),
    ("desk.yaml --set sources.media.use=operators.text:Clean", 2, "--set sources.media.use=operators.text:Clean: sources.media.use: operators.text:Clean is no source: it has no open(); name a class of pipeline/sources/, or one like it"),
    ("desk.yaml --set sources.media.pth=x", 2, f"--set sources.media.pth=x: sources.media.pth: is not an option of MediaFile; did you mean 'path'? (its options: {FILE_OPTIONS})"),
    ("desk.yaml --set sources.media.faults.audio.dely_ms=5", 2, f"--set sources.media.faults.audio.dely_ms=5: sources.media.faults.audio.dely_ms: is not a key that is known here; did you mean 'delay_ms'? (known: {FAULTS})"),
    ("desk.yaml --set sources.media.faults.audio.delay_ms=soon", 2, '--set sources.media.faults.audio.delay_ms=soon: sources.media.faults.audio.delay_ms: got "soon", expected a number; correct it'),
    ("desk.yaml --set sinks.0.use=pipeline.sinks.jsonl:JsonLines", 2, "--set sinks.0.use=pipeline.sinks.jsonl:JsonLines: sinks.0.path: is missing: JsonLines needs it; write path: ..."),
    # -- media
    ("desk.yaml --set sources.media.path=nowhere.mp4", 3, "{folder}/nowhere.mp4: no such file"),
    ("desk.yaml --input zero.mp4", 3, "{folder}/zero.mp4: the file is empty (0 bytes)"),
    ("desk.yaml --input text.mp4", 3, "{folder}/text.mp4: not a media file that FFmpeg can read (Invalid data found when processing input): truncated, or something else"),
    ("desk.yaml --input cut.mp4", 3, "{folder}/cut.mp4: holds no video, audio or text track: truncated, or something else"),
    ("desk.yaml --input pipe.mp4", 3, "{folder}/pipe.mp4: is not a regular file"),
    ("desk.yaml --input empty", 3, "{folder}/empty: the folder holds no media file"),
    ("desk.yaml --input zero.mp4 text.mp4", 3, "{folder}/zero.mp4 and 1 more: none of its 2 files can be played; the first: {folder}/zero.mp4: the file is empty (0 bytes)"),
    ("desk.yaml --input odd.mkv --set inputs={video: media.video}", 2, "--set inputs={video: media.video}: inputs.video: its packets come out as uint8 (15, 17), but the model wants uint8 (16, 16); add a transform under transforms.video that makes it so"),
    ("desk.yaml --input sound.mp3 --set inputs={video: media.video}", 2, "--set inputs={video: media.video}: inputs.video: no source has any of the streams that feed the model; see `inputs` and the file's tracks"),
    ("desk.yaml --set sources.media.video_track=1", 3, "{folder}/clip.mkv: has no video track number 1; it has 1, counted from 0"),
    # -- text
    ("desk.yaml --set sources.media.captions=nowhere.srt", 3, "{folder}/nowhere.srt: no such caption file"),
    ("desk.yaml --set sources.media.captions=letter.srt", 3, f"{{folder}}/letter.srt: {CAPTIONS}"),
    ("desk.yaml --set sources.media.captions=binary.vtt", 3, f"{{folder}}/binary.vtt: {CAPTIONS}"),
    ("desk.yaml --set truth=nowhere.jsonl", 2, "{folder}/nowhere.jsonl: no such truth file; name JSON lines of start_ms, end_ms, label, or leave truth out"),
    ("desk.yaml --set truth=truth.txt", 2, '{folder}/truth.txt:1: is not JSON; write for example {"start_ms": 0, "end_ms": 1000, "label": "silent"}'),
    ("desk.yaml --set truth=two_truths.jsonl", 2, "{folder}/two_truths.jsonl: has two labels at 400000000 ns; spans may touch but not overlap"),
    # -- models
    ("desk.yaml --set model=speakin", 2, "--set model=speakin: model: there is no model 'speakin'; shipped models: readback, speaking; or give the path of a model directory"),
    ("desk.yaml --set model=empty", 2, "--set model=empty: model: there is no model 'empty'; shipped models: readback, speaking; or give the path of a model directory"),
    ("desk.yaml --set model=headless", 4, "model tiny: {folder}/headless/fuse.onnx cannot be read (No such file or directory); export the model again"),
    ("desk.yaml --set model=mislabelled", 4, "model tiny: fuse.onnx gives [('float32', (3,))], model.yaml says [('float32', (2,))]; export the model again"),
]  # fmt: skip

GOES_ON = [
    ("--input cut.mkv", 8, {"video": "15 15 0 - -"}),
    ("--input hurt.mkv", 13, {"video": "21 21 0 - 4 decode_error"}),
    ("--input mute.mkv", 13, {"video": "25 25 0 - -", "audio": "0 0 0 - -"}),
    ("--input sound.mp3", 13, {"video": "0 0 0 - -", "audio": "25 25 0 - -"}),
    ("--input clip.mkv zero.mp4", 13, {"video": "25 25 0 - 1 bad_file"}),
    ("--set sources.media.captions=half.srt", 13, {"text": "1 1 0 - 2 bad_cue"}),
    ("--set sources.media.captions=half.vtt", 13, {"text": "1 1 0 - 1 bad_cue"}),
    ("--set sources.media.captions=half.jsonl", 13, {"text": "1 1 0 - 3 bad_cue"}),
    ("--set sources.media.captions=latin.srt", 13, {"text": "1 1 0 - -"}),
    ("--set sources.media.captions=overlap.srt", 13, {"text": "2 2 0 - -"}),
]


@pytest.fixture
def sensorium(broken_folder, monkeypatch, tmp_path, capsys):
    """A command line to (exit code, stdout, stderr), as typed in the folder of broken things."""
    monkeypatch.chdir(broken_folder)
    for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))

    def run(words):
        code = main(words)
        shown = capsys.readouterr()
        return code, shown.out.replace(str(broken_folder), "{folder}"), shown.err.replace(str(broken_folder), "{folder}")

    return run


def words_of(text):
    """Split at spaces, but not inside of {...}, as a shell does with quotes."""
    return shlex.split(text.replace("{", "'{").replace("}", "}'"))


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("given", "code", "line"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_broken_input_is_one_line_and_an_exit_code(sensorium, command, given, code, line):
    ended, out, err = sensorium([command, *words_of(given)])
    told = [shown for shown in err.splitlines() if not shown.startswith("sensorium: note: ")]
    assert (ended, out, told) == (code, "", [f"sensorium: {line}"])


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_models_changed_file_is_told_with_both_digests(sensorium, command):
    ended, out, err = sensorium([command, "desk.yaml", "--set", "model=changed"])
    assert (ended, out, err.count("\n")) == (4, "", 1)
    assert "{folder}/changed/encode_text.onnx is not the file that was exported (sha256 " in err


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_model_that_names_code_of_others_is_refused(sensorium, command):
    ended, out, err = sensorium([command, "desk.yaml", "--set", "model=foreign"])
    assert (ended, out, err.count("\n")) == (2, "", 1)
    assert "inputs.text.transforms.0.use" in err
    assert "got 'os:system'; a model may only name classes of this project" in err


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_model_yaml_that_is_none_is_refused(sensorium, command):
    ended, out, err = sensorium([command, "desk.yaml", "--set", "model=scrawled"])
    assert (ended, out, err.count("\n")) == (2, "", 1)
    assert "{folder}/scrawled/model.yaml: not YAML" in err


@pytest.mark.parametrize(("given", "decisions", "rows"), GOES_ON, ids=[row[0] for row in GOES_ON])
def test_what_is_partly_broken_goes_on_to_its_end_and_is_counted(sensorium, given, decisions, rows):
    assert sensorium(["check", "desk.yaml", *words_of(given)])[0] == 0
    ended, out, err = sensorium(["run", "desk.yaml", *words_of(given)])
    assert (ended, len(out.splitlines())) == (0, decisions)
    found = {line.split()[0]: " ".join(line.split()[1:-1]) for line in err.splitlines() if line.strip()}
    assert {name: found[name] for name in rows} == rows


def test_a_file_that_is_left_out_is_named(sensorium):
    assert (
        "sensorium: note: left out: {folder}/zero.mp4: the file is empty (0 bytes)"
        in sensorium(["run", "desk.yaml", "--input", "clip.mkv", "zero.mp4"])[2]
    )

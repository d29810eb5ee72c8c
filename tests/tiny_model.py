"""A small untrained model directory for tests that need any model: `write_tiny_model(tmp_path / "tiny")`.

The first call after a change of the code that makes models exports it for real (some seconds); later ones copy it from pytest's cache.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
_SOURCES = [
    "operators/encoders.py",
    "operators/encoders_carried.py",
    "operators/network.py",
    "operators/fusion",
    "pipeline/export.py",
    "pipeline/model.py",
    "tests/tiny_model.py",
]

_INPUTS = {
    "video": {
        "kind": "video",
        "wanted": {"pixels": "gray", "max_width": 640},
        "take": "window",
        "steps": 4,
        "hold_ms": 120,
        "shape": [16, 16],
        "dtype": "uint8",
        "encoder": {"use": "operators.encoders:FrameCNN", "dim": 8, "width": 4},
    },
    "audio": {
        "kind": "audio",
        "wanted": {"rate_hz": 16000, "channels": 1},
        "transforms": [
            {"use": "operators.audio:Resample", "rate_hz": 16000},
            {"use": "operators.audio:LogMel", "block_ms": 40, "bands": 40},
        ],
        "take": "window",
        "steps": 4,
        "shape": [4, 40],
        "dtype": "float32",
        "encoder": {"use": "operators.encoders:LogMelCNN", "dim": 8, "width": 8},
    },
    "text": {
        "kind": "text",
        "transforms": [{"use": "operators.text:Clean"}, {"use": "operators.text:HashTokens", "length": 8, "buckets": 64}],
        "take": "state",
        "ttl_ms": 10000,
        "shape": [8],
        "dtype": "int64",
        "encoder": {"use": "operators.encoders:TokenBag", "dim": 8, "buckets": 64},
    },
    "imu": {
        "kind": "series",
        "take": "interpolate",
        "tolerance_ms": 100,
        "shape": [3],
        "dtype": "float64",
        "encoder": {"use": "operators.encoders:SeriesMLP", "dim": 8},
    },
}


def tiny_spec(inputs=("video", "audio", "text"), head="operators.fusion.concat:ConcatHead", encoders=None, takes=None):
    """A model.yaml as a dict: 160 ms windows of 4 steps, a hop of 80 ms, a lag of 40 ms. encoders, takes: in place of an input's own."""
    parts = {name: {**_INPUTS[name], "encoder": (encoders or {}).get(name, _INPUTS[name]["encoder"])} for name in inputs}
    parts = {name: {**part, **(takes or {}).get(name, {})} for name, part in parts.items()}
    return {
        "name": "tiny",
        "labels": ["silent", "speaking", "voice-off"],
        "window": {"length_ms": 160, "hop_ms": 80, "lag_ms": 40},
        "inputs": parts,
        "head": {"use": head, "width": 16},
    }


def write_tiny_model(folder, inputs=("video", "audio", "text"), head="operators.fusion.concat:ConcatHead", **others) -> Path:
    """Writes the model directory (random weights, seed 0) and returns `folder`."""
    spec = tiny_spec(inputs, head, **others)
    digest = hashlib.sha256(f"{source_digest()}{json.dumps(spec, sort_keys=True)}".encode()).hexdigest()[:16]
    cached = ROOT / ".pytest_cache" / "tiny_models" / f"{'-'.join(inputs)}-{head.rpartition(':')[2]}-{digest}"
    if not cached.is_dir():
        _export_to(cached, spec)
    shutil.copytree(cached, folder)
    return Path(folder)


def _export_to(cached, content):
    import torch

    from operators.network import build_network
    from pipeline.export import save_model
    from pipeline.model import parse_spec

    cached.parent.mkdir(parents=True, exist_ok=True)
    spec = parse_spec(content, "tiny")
    with torch.random.fork_rng(), tempfile.TemporaryDirectory(dir=cached.parent) as folder:
        torch.manual_seed(0)
        made = Path(folder) / "made"
        save_model(build_network(spec), spec, {}, "An untrained model for tests.", made)
        if not cached.is_dir():  # another test process may have been faster
            made.rename(cached)


def source_digest():
    files = [file for name in _SOURCES for file in sorted((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / name])]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]

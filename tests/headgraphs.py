"""Every fusion head as a small network of three streams with offsets, and as the ONNX graph of it; made once in a test session."""

import importlib
import os
from functools import cache
from itertools import combinations
from pathlib import Path

import torch
from tiny_model import ROOT, source_digest, tiny_spec

import operators.fusion
from operators.network import build_network
from pipeline.export import fuse_graph
from pipeline.model import parse_spec


def head_names():
    """`operators.fusion.x:XHead` of every class called ...Head; a new file is tested by being there."""
    stems = sorted(path.stem for path in Path(operators.fusion.__file__).parent.glob("[a-z]*.py"))
    modules = [importlib.import_module(f"operators.fusion.{stem}") for stem in stems]
    return [f"{module.__name__}:{name}" for module in modules for name, value in vars(module).items() if _is_head(name, value, module)]


def _is_head(name, value, module):
    return name.endswith("Head") and value.__module__ == module.__name__


@cache
def head_network(head):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spec = parse_spec(tiny_spec(head=head), "tiny")
        network = build_network(spec).eval()
        patterns = [keep for size in range(1, 4) for keep in combinations(spec.inputs, size)]
        network.set_offsets({keep: torch.randn(len(spec.labels)).tolist() for keep in patterns}, len(spec.labels))
        return network, spec


@cache
def head_graph(head):
    """The bytes of fuse.onnx; kept in pytest's cache until the code that makes them changes."""
    kept = ROOT / ".pytest_cache" / "head_graphs" / f"{head.rpartition(':')[2]}-{source_digest()}.onnx"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_bytes(fuse_graph(*head_network(head)))
        part.replace(kept)
    return kept.read_bytes()

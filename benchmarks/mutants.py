"""Mutation check: would the aligner's tests notice a mistake in it? Every small change to its source that they let pass is listed.

    python -m benchmarks.mutants [operators/align.py operators/stream.py operators/takes.py] [--jobs 2] [--list]

A mutant changes one thing of one file: a comparison, an operator, a constant, a condition, max for min, or leaves out one statement.
Each runs tests/operators/test_align_*.py in a process of its own, until a test fails. A mutant
that no test fails for has survived: either a test is missing or the change makes no difference (docs/testing.md says which).
One that takes LIMIT_S of CPU has been noticed: the tests as they are take 12. Exit 1 if any survived.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.util
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest

PRELOADED = (numpy, pytest)
"""Imported here, once: the forked processes have them already."""

ROOT = Path(__file__).resolve().parents[1]
FILES = ("operators/align.py", "operators/stream.py", "operators/takes.py")
TESTS = tuple(f"tests/operators/test_align_{part}.py" for part in ("stories", "contract", "properties"))
LIMIT_S = 60

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
}
CALLED = {"max": "min", "min": "max", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A changed file; `was` and `became` are the line of code around the change."""

    file: str
    line: int
    was: str
    became: str
    source: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.was}  ->  {self.became}"


def mutants(file: str) -> Iterator[Mutant]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    nodes = [node for node in ast.walk(tree) if hasattr(node, "lineno")]
    inside = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    silent = {id(part) for node in ast.walk(tree) for whole in _unheard(node) for part in ast.walk(whole)}
    for number, node in enumerate(nodes):
        for way in range(0 if id(node) in silent else len(_changes(node))):
            changed = copy.deepcopy(tree)
            target = [other for other in ast.walk(changed) if hasattr(other, "lineno")][number]
            around = inside.get(id(node), node)
            place = number if isinstance(node, ast.stmt) or not hasattr(around, "lineno") else nodes.index(around)
            _put(changed, target, _changes(target)[way])
            after = [other for other in ast.walk(changed) if hasattr(other, "lineno")][place]
            yield Mutant(file=file, line=node.lineno, was=_head(nodes[place]), became=_head(after), source=ast.unparse(changed))


def _unheard(node: ast.AST) -> Iterator[ast.AST]:
    """Parts of a node whose change means nothing: annotations, docstrings, what an error says, protocols."""
    if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
        yield node.annotation
    if isinstance(node, ast.FunctionDef) and node.returns is not None:
        yield node.returns
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield node
    if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom):
        yield from ast.iter_child_nodes(node)
    if isinstance(node, ast.ClassDef):
        yield from node.decorator_list
        if any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases):
            yield node
    if isinstance(node, ast.Module):  # aliases of types
        yield from (part for part in node.body if isinstance(part, ast.Assign) and isinstance(part.value, ast.BinOp | ast.Subscript))


def _changes(node: ast.AST) -> list[ast.AST]:
    """What may stand in the node's place."""
    match node:
        case ast.Compare(ops=[op]):
            return [ast.Compare(left=node.left, ops=[other()], comparators=node.comparators) for other in COMPARED[type(op)]]
        case ast.BinOp(op=op) if type(op) in COMPUTED:
            return [ast.BinOp(left=node.left, op=COMPUTED[type(op)](), right=node.right)]
        case ast.BoolOp(op=op):
            return [ast.BoolOp(op=ast.Or() if isinstance(op, ast.And) else ast.And(), values=node.values), *node.values]
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            return [node.operand]
        case ast.Constant(value=bool(value)):
            return [ast.Constant(value=not value)]
        case ast.Constant(value=int(value)):
            return [ast.Constant(value=value + 1), ast.Constant(value=value - 1)]
        case ast.Call(func=ast.Name(id=name)) if name in CALLED:
            return [ast.Call(func=ast.Name(id=CALLED[name], ctx=ast.Load()), args=node.args, keywords=node.keywords)]
        case ast.IfExp():
            return [node.body, node.orelse]
        case ast.If():
            return [ast.If(test=ast.Constant(value=value), body=node.body, orelse=node.orelse) for value in (True, False)]
        case ast.Continue():
            return [ast.Break()]
        case ast.Assign() | ast.AugAssign() | ast.Expr() | ast.AnnAssign(value=ast.expr()):
            return [ast.Pass()]
        case _:
            return []


def _put(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                value[next(i for i, item in enumerate(value) if item is old)] = new
    ast.copy_location(new, old)
    ast.fix_missing_locations(tree)


def _head(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def survives(mutant: Mutant | None) -> bool:
    """Whether all tests pass with it (None: with the source as it is)."""
    pid = os.fork()
    if not pid:
        _run(mutant)
    return os.waitpid(pid, 0)[1] == 0


def _run(mutant: Mutant | None) -> None:
    """In the forked process; does not return."""
    code = 70
    try:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
        os.chdir(ROOT)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if mutant is not None:
            _take_the_place(mutant)
        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-o", "timeout=0", "-o", "addopts=--import-mode=importlib", *TESTS]))
    finally:
        os._exit(code)


def _take_the_place(mutant: Mutant) -> None:
    """Whoever imports the module from now on gets the mutant."""
    name = mutant.file.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(mutant.source, mutant.file, "exec"), module.__dict__)  # noqa: S102 - our own source, changed in one place


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--list", action="store_true", help="only say which there are")
    options = parser.parse_args()
    everything = [mutant for file in options.files for mutant in mutants(file)]
    if options.list:
        print(*everything, sep="\n")
        return 0
    if not survives(None):
        raise SystemExit("the tests fail as it is")
    begun, left = time.monotonic(), []
    with ThreadPoolExecutor(options.jobs) as pool:
        for number, (mutant, survived) in enumerate(zip(everything, pool.map(survives, everything), strict=True), 1):
            if survived:
                left.append(mutant)
                print(mutant, flush=True)
            if sys.stderr.isatty():
                print(f"\r{number} of {len(everything)}", end="", file=sys.stderr)
    print(f"{len(everything)} mutants, {len(left)} survived, {(time.monotonic() - begun) / 60:.0f} minutes")
    return bool(left)


if __name__ == "__main__":
    sys.exit(main())

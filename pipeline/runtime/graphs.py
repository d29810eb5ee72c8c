"""The graphs of one model on one engine, run in batches that change no result.

A floating-point result may depend on the shape of the batch it was computed in. So rows of several packets, windows or sessions are run
together only where this engine was seen, when it was loaded, to give them the same bits as alone. Each graph goes by one rule:

any     at every size of BUCKETS its rows have the bits that they have alone: they go together, cut into those sizes and no others
padded  only at one fixed size (`pipeline.ports.Bucketed`, engines on a GPU): always exactly so many rows, zeros behind the real ones
one     at none: what belongs together, a packet, a window, the coalitions of a window, is run by itself

The graph that fuses every set of a window's inputs, where there is one, always goes by the last. It also does that window's `fuse`, where
its row of all inputs was seen, when it was loaded, to have the bits of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.attribution import MOST_STREAMS
from operators.tensorize import InputRule
from pipeline.clock import Clock
from pipeline.ports import Attributing, Backend, Bucketed
from pipeline.runtime.samebits import BUCKETS, Call, Rule, Vector, decides, padded, rule_of

FUSE, ATTRIBUTE = "fuse", "attribute"
"""Among `rules`: the fusion graph, and the one that fuses every set of inputs. An encoder is `encode` and the name of its input."""
TRIES = 5
PAYS = 2.0
"""So many times cheaper must a window be in a batch of eight that waiting for others is worth it."""


class HasInputs(Protocol):
    """What inference needs to know of a model."""

    def input_rules(self) -> Mapping[str, InputRule]: ...


class Graphs:
    """Loads nothing: the backend has. Making one runs every graph some dozens of times. Raises BackendError.

    dims      input -> length of its embeddings
    rules     graph -> how it is run in batches
    batches   stage -> size -> how many batches of that size were run
    decides   the graph that fuses every set gives, for all inputs, what `fuse` does to the bit: whoever asks it need not ask `fuse`
    costs_ns  what one window takes, with one new packet of every input; with True: and all its coalitions
    """

    def __init__(self, model: HasInputs, backend: Backend, clock: Clock) -> None:
        self.inputs = dict(model.input_rules())
        self.backend, self.clock = backend, clock
        self.batches: dict[str, Counter[int]] = {"encode": Counter(), FUSE: Counter()}
        rng = np.random.default_rng(0)
        blank = {name: self._encode_call(name)(_zeros(rule)) for name, rule in self.inputs.items()}
        self.dims = {name: int(made.shape[1]) for name, made in blank.items()}
        self.rules: dict[str, Rule] = {
            encoder(name): rule_of(self._encode_call(name), _draw(rule, rng), self._bucket()) for name, rule in self.inputs.items()
        }
        self.rules[FUSE] = rule_of(self._fuse_call, self._draw_windows(rng), self._bucket())
        if self.shares:
            self.rules[ATTRIBUTE], self.batches[ATTRIBUTE] = "one", Counter()
        self.decides = self.shares and decides(self._coalitions_call, self._fuse_call, self._draw_windows(rng))
        self.costs_ns = {asked: self._cost_ns(1, asked) for asked in (False, True)}
        self._eight_ns = max(self._cost_ns(8, False), self.costs_ns[False])
        self._scale = 1.0

    def input_rules(self) -> Mapping[str, InputRule]:
        return self.inputs

    @property
    def shares(self) -> bool:
        """There is a graph for every set of a window's inputs, so they need not go through `fuse` as a batch."""
        return isinstance(self.backend, Attributing)

    @property
    def pays(self) -> bool:
        """Windows in company are so much cheaper that it is worth waiting for others, where there is time."""
        return 8 * self.costs_ns[False] >= PAYS * self._eight_ns

    def expected_ns(self, windows: int) -> int:
        """What a batch of so many takes: between what 1 and 8 took, and as batches have gone of late."""
        one_ns = self.costs_ns[False]
        return round(self._scale * (one_ns + (windows - 1) * (self._eight_ns - one_ns) / 7))

    def took(self, windows: int, took_ns: int) -> None:
        """A batch of so many windows did."""
        plain_ns = self.expected_ns(windows) / self._scale
        if plain_ns > 0 and took_ns > 0:
            self._scale += 0.05 * (took_ns / plain_ns - self._scale)

    def encode(self, name: str, rows: NDArray[Any], before: Vector | None = None) -> Vector:
        """rows: (n, *shape) -> (n, dim). before: (n, dim), only where the encoder carries."""
        arrays = [rows] if before is None else [rows, before]
        return self._run(encoder(name), "encode", self._encode_call(name), arrays, [1] * len(rows))

    def fuse(self, inputs: Mapping[str, Vector], presence: Mapping[str, Vector], units: Sequence[int]) -> Vector:
        """inputs[name]: (n, steps, dim), presence[name]: (n, steps) -> (n, labels). units: rows that belong together; they sum to n."""
        arrays = [*(inputs[name] for name in self.inputs), *(presence[name] for name in self.inputs)]
        return self._run(FUSE, FUSE, self._fuse_call, arrays, units)

    def coalitions(self, inputs: Mapping[str, Vector], presence: Mapping[str, Vector]) -> Vector:
        """One window, as for `fuse` -> (2 ** inputs, outputs), bit i of a row for the i-th input. Only where it `shares`."""
        arrays = [*(inputs[name] for name in self.inputs), *(presence[name] for name in self.inputs)]
        made: Vector = self._run(ATTRIBUTE, ATTRIBUTE, self._coalitions_call, arrays, [1])[0]
        return made

    def sizes(self, graph: str, units: Sequence[int]) -> list[int]:
        """How so many rows are cut into batches."""
        rule = self.rules[graph]
        if rule == "one":
            return list(units)
        return _cut(sum(units), BUCKETS if rule == "any" else (self._bucket(),), whole=rule == "any")

    def _run(self, graph: str, stage: str, call: Call, arrays: Sequence[NDArray[Any]], units: Sequence[int]) -> Vector:
        made, first = [], 0
        for size in self.sizes(graph, units):
            part = [array[first : first + size] for array in arrays]
            self.batches[stage][size] += 1
            made.append(padded(call, part, self._bucket()) if self.rules[graph] == "padded" else call(part))
            first += size
        return made[0] if len(made) == 1 else np.concatenate(made)

    def _encode_call(self, name: str) -> Call:
        return lambda arrays: self.backend.encode(name, *arrays)

    def _fuse_call(self, arrays: Sequence[NDArray[Any]]) -> Vector:
        return self.backend.fuse(*self._named(arrays))

    def _coalitions_call(self, arrays: Sequence[NDArray[Any]]) -> Vector:
        assert isinstance(self.backend, Attributing)  # noqa: S101 - it `shares`
        return self.backend.coalitions(*self._named(arrays))

    def _named(self, arrays: Sequence[NDArray[Any]]) -> tuple[dict[str, Vector], dict[str, Vector]]:
        names, count = list(self.inputs), len(self.inputs)
        return dict(zip(names, arrays[:count], strict=True)), dict(zip(names, arrays[count:], strict=True))

    def _bucket(self) -> int:
        return self.backend.bucket if isinstance(self.backend, Bucketed) else 1

    # -- what it costs

    def _cost_ns(self, windows: int, coalitions: bool) -> int:
        """On zeros; the shortest of several times, after one that warms up: on a busy machine any of them may be interrupted."""
        return min([self._once_ns(windows, coalitions) for _ in range(1 + TRIES)][1:])

    def _once_ns(self, windows: int, coalitions: bool) -> int:
        begun_ns = self.clock.now_ns()
        for name, rule in self.inputs.items():
            zeros = [np.repeat(array, windows, axis=0) for array in _zeros(rule)]
            self._timed(encoder(name), self._encode_call(name), zeros)
        if not (coalitions and self.decides):
            self._timed(FUSE, self._fuse_call, self._blank_windows(windows))
        if coalitions and self.shares:
            self._coalitions_call(self._blank_windows(1))
        elif coalitions and len(self.inputs) <= MOST_STREAMS:  # for more it may not be asked
            self._fuse_call(self._blank_windows(1 << len(self.inputs)))
        return self.clock.now_ns() - begun_ns

    def _timed(self, graph: str, call: Call, arrays: Sequence[NDArray[Any]]) -> None:
        first = 0
        for size in self.sizes(graph, [1] * len(arrays[0])):
            part = [array[first : first + size] for array in arrays]
            padded(call, part, self._bucket()) if self.rules[graph] == "padded" else call(part)
            first += size

    def _blank_windows(self, count: int) -> list[NDArray[Any]]:
        steps = [np.zeros((count, rule.steps, self.dims[name]), np.float32) for name, rule in self.inputs.items()]
        return [*steps, *(np.zeros((count, rule.steps), np.float32) for rule in self.inputs.values())]

    def _draw_windows(self, rng: np.random.Generator) -> list[NDArray[Any]]:
        blank, count = self._blank_windows(BUCKETS[-1]), len(self.inputs)
        steps = [rng.normal(size=array.shape).astype(np.float32) for array in blank[:count]]
        return [*steps, *((rng.random(array.shape) < 0.8).astype(np.float32) for array in blank[count:])]


def encoder(name: str) -> str:
    """The name of an input's encoder among the rules."""
    return f"encode {name}"


def _cut(count: int, buckets: Sequence[int], *, whole: bool) -> list[int]:
    """whole: 11 -> 8, 2, 1; else at most a bucket at a time: 40 -> 32, 8."""
    sizes = []
    while count:
        size = max((size for size in buckets if size <= count), default=buckets[0]) if whole else min(count, buckets[0])
        sizes.append(size)
        count -= size
    return sizes


def _zeros(rule: InputRule) -> list[NDArray[Any]]:
    rows: list[NDArray[Any]] = [np.zeros((1, *rule.shape), rule.dtype)]
    return [*rows, np.zeros((1, rule.dim), np.float32)] if rule.carry else rows


def _draw(rule: InputRule, rng: np.random.Generator) -> list[NDArray[Any]]:
    shape = (BUCKETS[-1], *rule.shape)
    if rule.dtype == "uint8":
        rows: NDArray[Any] = rng.integers(0, 256, shape, np.uint8)
    elif np.issubdtype(np.dtype(rule.dtype), np.integer):
        rows = rng.integers(0, 2, shape).astype(rule.dtype)  # words are numbers below a bound that is the model's own affair
    else:
        rows = rng.normal(size=shape).astype(rule.dtype)
    return [rows, rng.normal(size=(BUCKETS[-1], rule.dim)).astype(np.float32)] if rule.carry else [rows]

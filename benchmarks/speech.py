"""Words by PocketSphinx with a grammar, through the operator, on GRID clips: how many are right, and how far off their times are.

    python -m benchmarks.speech FOLDER [--every 9] [--clips 100]

FOLDER holds NAME.mp4 and NAME.align. Each clip goes through as a live stream would: 20 ms blocks. A word is right if it is the one that
was said at that place of the sentence (six words, aligned by edit distance). Times: of right words, start and end against the .align file,
which itself was made by a recogniser. after the end: from the end of the last word to the words coming out, in session time.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import markdown, where_and_when
from operators.packet import AudioBlock, Packet, TextSpan, Watermark
from operators.sphinx import Sphinx

GRAMMAR = Path(__file__).parent.parent / "configs" / "grammar" / "grid.jsgf"
RATE = 16_000
BLOCK = 320


def sound_of(path: Path) -> NDArray[np.float32]:
    with av.open(str(path)) as media:
        resampler, out = av.AudioResampler("flt", "mono", RATE), []
        for frame in media.decode(audio=0):
            out += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(out).astype(np.float32)


def truth_of(path: Path) -> list[tuple[str, float, float]]:
    """(word, start_s, end_s); the unit of the file is 1/25000 s."""
    lines = (line.split() for line in path.with_suffix(".align").read_text().splitlines())
    return [(word, int(a) / 25_000, int(b) / 25_000) for a, b, word in lines if word not in ("sil", "sp")]


def heard(operator: Sphinx, sound: NDArray[np.float32], start_ns: int) -> list[tuple[str, float, float, float]]:
    """(word, start_s, end_s, came out at s), from the start of the clip; the room's sound goes on for a second after it."""
    out = []
    padded = np.concatenate([sound, np.tile(sound[-RATE // 5 :], 5)])
    for seq, at in enumerate(range(0, padded.size - BLOCK + 1, BLOCK)):
        begin_ns = start_ns + at * 1_000_000_000 // RATE
        end_ns = begin_ns + BLOCK * 1_000_000_000 // RATE
        block = AudioBlock(data=padded[None, at : at + BLOCK], rate_hz=RATE)
        packet = Packet(stream="mic", seq=seq, start_ns=begin_ns, end_ns=end_ns, payload=block)
        for event in (packet, Watermark(stream="mic", time_ns=end_ns)):
            for made in operator.process(event):
                if isinstance(made, Packet) and isinstance(made.payload, TextSpan):
                    times = ((ns - start_ns) / 1e9 for ns in (made.start_ns, made.end_ns, end_ns))
                    out.append((made.payload.text, *times))
    return out


def aligned(got: list[str], wanted: list[str]) -> list[tuple[int, int]]:
    """Places of equal words in a least-edit alignment."""
    rows, columns = len(got), len(wanted)
    cost = np.zeros((rows + 1, columns + 1), int)
    cost[:, 0], cost[0, :] = np.arange(rows + 1), np.arange(columns + 1)
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            cost[i, j] = min(cost[i - 1, j] + 1, cost[i, j - 1] + 1, cost[i - 1, j - 1] + (got[i - 1] != wanted[j - 1]))
    pairs, i, j = [], rows, columns
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (got[i - 1] != wanted[j - 1]):
            pairs += [(i - 1, j - 1)] if got[i - 1] == wanted[j - 1] else []
            i, j = i - 1, j - 1
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=9)
    parser.add_argument("--clips", type=int, default=100)
    args = parser.parse_args()
    print(where_and_when())
    operator = Sphinx(grammar=GRAMMAR)
    right = said = extra = sentences = 0
    starts, ends, waits = [], [], []
    at_ns, cpu, seconds = 0, 0.0, 0.0
    clips = sorted(args.folder.glob("*.mp4"))[:: args.every][: args.clips]
    for clip in clips:
        sound, truth = sound_of(clip), truth_of(clip)
        begun = time.process_time()
        words = heard(operator, sound, at_ns)
        cpu += time.process_time() - begun
        seconds += sound.size / RATE + 1
        at_ns += 10_000_000_000
        pairs = aligned([word[0] for word in words], [word[0] for word in truth])
        right, said, extra = right + len(pairs), said + len(truth), extra + max(0, len(words) - len(truth))
        sentences += len(pairs) == len(truth) == len(words)
        starts += [words[i][1] - truth[j][1] for i, j in pairs]
        ends += [words[i][2] - truth[j][2] for i, j in pairs]
        waits += [words[-1][3] - truth[-1][2]] if words else []
    rows = [
        ["words right", f"{right / said:.1%} of {said}"],
        ["sentences right", f"{sentences / len(clips):.1%} of {len(clips)}"],
        ["words too many", str(extra)],
        ["start off, ms: median, p50 and p90 of the size", _off(starts)],
        ["end off, ms: median, p50 and p90 of the size", _off(ends)],
        ["out after the last word's end, ms: p50, p90", ", ".join(f"{q * 1e3:.0f}" for q in np.quantile(waits, [0.5, 0.9]))],
        ["CPU for a second of sound, ms", f"{cpu / seconds * 1e3:.0f}"],
    ]
    print(markdown(["", "PocketSphinx, GRID grammar"], rows))
    return 0


def _off(values: list[float]) -> str:
    size = np.abs(values) * 1e3
    return f"{np.median(values) * 1e3:+.0f}, {np.quantile(size, 0.5):.0f}, {np.quantile(size, 0.9):.0f}"


if __name__ == "__main__":
    sys.exit(main())

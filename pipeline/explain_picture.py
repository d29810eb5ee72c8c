"""One picture of an explanation: a bar a stream, and under it what each saw or heard with what mattered in it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import draw
from pipeline.draw import Picture
from pipeline.explain import Explained

WIDTH = 900
SHOWN_FRAMES = 6
FRAME = 140


def picture_of(explained: Explained) -> Picture:
    parts = [
        _head(explained),
        draw.bars(explained.streams, title=f"streams: for {explained.label} (right), for {explained.rival} (left), logits"),
    ]
    for name, saliency in explained.saliency.items():
        if not explained.presence[name].any():
            continue
        seen = explained.packets[name]
        title = f"{name}: {float(saliency.sum()):+.2f}"
        if seen.dtype == np.uint8:
            parts.append(_frames(title, seen, saliency, explained.presence[name]))
        elif seen.ndim == 3:
            parts.append(_spectrogram(title, seen, saliency))
        else:
            parts.append(_readings(title, saliency))
    if explained.words:
        parts.append(draw.bars(dict(_numbered(explained.words)), title="words: how far the lead falls without each"))
    return np.concatenate([_wide(part) for part in parts])


def _head(explained: Explained) -> Picture:
    picture = draw.blank(WIDTH, 76)
    scores = "  ".join(f"{name} {score:.2f}" for name, score in explained.scores.items())
    draw.write(picture, f"{explained.label}  {explained.start_ns / 1e9:.2f} .. {explained.end_ns / 1e9:.2f} s", 8, 24, size=0.7)
    draw.write(picture, scores, 8, 46)
    gap = f"ahead of {explained.rival} by {explained.gap:.2f} logits; with no stream at all by {explained.gap_of_nothing:.2f}"
    draw.write(picture, f"{gap}; the gradients leave {100 * explained.unexplained:.1f} % unexplained", 8, 66)
    return picture


def _frames(title: str, seen: NDArray[np.uint8], saliency: NDArray[np.float64], presence: NDArray[np.float32]) -> Picture:
    """Some pictures of the window, spread over it, red where they speak for the label and blue where against it."""
    there = np.flatnonzero(presence)
    chosen = there[np.linspace(0, len(there) - 1, min(SHOWN_FRAMES, len(there))).round().astype(int)]
    most = float(np.abs(_blurred(saliency[chosen])).max()) or 1.0
    row = [_coloured(seen[at], _blurred(saliency[at : at + 1])[0] / most) for at in chosen]
    picture = draw.blank(WIDTH, FRAME + 36)
    draw.write(picture, f"{title} (red for, blue against)", 8, 20, size=0.5)
    for number, part in enumerate(row):
        picture[28 : 28 + FRAME, 8 + number * (FRAME + 6) : 8 + number * (FRAME + 6) + FRAME] = part
    return picture


def _blurred(saliency: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([cv2.GaussianBlur(rows, (0, 0), 1.5) for rows in saliency])


def _coloured(grey: NDArray[np.uint8], share: NDArray[np.float64]) -> Picture:
    colour = np.repeat(grey[..., None], 3, 2) if grey.ndim == 2 else grey[..., ::-1]
    big = cv2.resize(colour, (FRAME, FRAME), interpolation=cv2.INTER_LINEAR)
    weight = cv2.resize(share, (FRAME, FRAME), interpolation=cv2.INTER_LINEAR)[..., None]
    tint = np.where(weight > 0, np.array(draw.RED), np.array(draw.BLUE))
    strength = 0.75 * np.abs(weight)
    return np.asarray((1 - strength) * big + strength * tint, np.uint8)


def _spectrogram(title: str, seen: NDArray[np.floating], saliency: NDArray[np.float64]) -> Picture:
    """Bands upwards, time to the right: what was heard, and beneath what mattered in it, for the label or against it."""
    heard, mattered = (rows.reshape(-1, rows.shape[-1]).T[::-1] for rows in (seen, saliency))
    picture = draw.blank(WIDTH, 2 * 120 + 44)
    draw.write(picture, f"{title} (above: sound; below: its part in the decision, red for, blue against)", 8, 20, size=0.5)
    picture[30:150, 8 : WIDTH - 8] = draw.heat(heard, WIDTH - 16, 120)
    most = float(np.abs(mattered).max()) or 1.0
    share = (mattered / most)[..., None]
    colour = 255 - np.abs(share) * (255 - np.where(share > 0, np.array(draw.RED), np.array(draw.BLUE)))
    picture[156:276, 8 : WIDTH - 8] = cv2.resize(colour.astype(np.uint8), (WIDTH - 16, 120), interpolation=cv2.INTER_NEAREST)
    return picture


def _readings(title: str, saliency: NDArray[np.float64]) -> Picture:
    """The channels that mattered most, over the window."""
    by_channel = saliency.sum(0)
    first = np.argsort(-np.abs(by_channel))[:12]
    return draw.bars({f"channel {channel}": float(by_channel[channel]) for channel in sorted(first.tolist())}, title=title)


def _numbered(words: object) -> list[tuple[str, float]]:
    return [(f"{number + 1} {word}", value) for number, (word, value) in enumerate(words)]  # type: ignore[arg-type, var-annotated]


def _wide(part: Picture) -> Picture:
    made = draw.blank(WIDTH, part.shape[0])
    made[:, : min(WIDTH, part.shape[1])] = part[:, :WIDTH]
    return made

"""Small media files made on the spot, with content that tells its own time, so that tests need no recordings."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet

MS = 1_000_000
ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


def grey_level(index: int) -> int:
    """How bright frame `index` is: tells frames apart after lossy coding."""
    return 40 + (index * 8) % 160


def frames_at(stamps_ms: Sequence[int], width: int = 64, height: int = 48) -> list[av.VideoFrame]:
    made = []
    for index, stamp_ms in enumerate(stamps_ms):
        frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), grey_level(index), np.uint8), format="rgb24")
        frame.pts, frame.time_base = stamp_ms, Fraction(1, 1000)
        made.append(frame)
    return made


def clicks(seconds: float, rate_hz: int, at_s: Sequence[float], channels: int = 1) -> np.ndarray:
    """Silence with a short loud click at each time: float32 (channels, samples)."""
    data = np.zeros((channels, round(seconds * rate_hz)), np.float32)
    for time_s in at_s:
        data[:, round(time_s * rate_hz) : round(time_s * rate_hz) + max(4, rate_hz // 2000)] = 0.8
    return data


def write_media(
    path: Path,
    *,
    stamps_ms: Sequence[int] | None = tuple(range(0, 1000, 40)),
    sound: np.ndarray | None = None,
    rate_hz: int = 16000,
    sound_at_ms: int = 0,
    cues: Sequence[tuple[int, int, str]] = (),
    codec: str = "mpeg4",
    audio_codec: str = "pcm_s16le",
    width: int = 64,
    height: int = 48,
    rotation: int | None = None,
    cover: bool = False,
    audio_last: bool = False,
) -> Path:
    """A file with the tracks that are given. audio_last: all sound after all pictures, as badly interleaved as can be."""
    options = {"max_interleave_delta": "1"} if audio_last else {}
    with av.open(str(path), "w", options=options) as container:
        video = audio = text = None
        if stamps_ms is not None:
            video = container.add_stream(codec, rate=25)
            video.width, video.height, video.pix_fmt = width, height, "yuvj420p" if codec == "mjpeg" else "yuv420p"
            video.codec_context.time_base = video.time_base = Fraction(1, 1000)
            if rotation is not None:
                video.set_display_rotation(rotation)
            if cover:
                video.disposition = Disposition.attached_pic
        if sound is not None:
            audio = container.add_stream(audio_codec, rate=rate_hz, layout="mono" if sound.shape[0] == 1 else "stereo")
        if cues:
            text = container.add_stream("mov_text" if path.suffix == ".mp4" else "subrip")
            text.time_base = Fraction(1, 1000)
            text.codec_context.subtitle_header = ASS_HEADER
        for start_ms, end_ms, words in cues:
            _mux_cue(container, text, start_ms, end_ms, words)
        if video is not None:
            for frame in frames_at(stamps_ms, width, height):
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None:
            for frame in _audio_frames(sound, rate_hz, sound_at_ms, audio):
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def _mux_cue(container, text, start_ms, end_ms, words):
    body = f"0,0,Default,,0,0,0,,{words}".encode()
    packet = text.codec_context.encode_subtitle(SubtitleSet.create(text=body, start=0, end=end_ms - start_ms))
    packet.stream, packet.time_base = text, Fraction(1, 1000)
    packet.pts = packet.dts = start_ms
    packet.duration = end_ms - start_ms
    container.mux(packet)


def _audio_frames(sound, rate_hz, at_ms, stream):
    size = stream.codec_context.frame_size or 400
    planar = stream.codec_context.format.is_planar
    whole = stream.codec_context.format.name.startswith("s16")
    for first in range(0, sound.shape[1], size):
        part = sound[:, first : first + size]
        data = np.round(part * 32767).astype(np.int16) if whole else part.astype(np.float32)
        data = data if planar else np.ascontiguousarray(data.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(
            data, format=stream.codec_context.format.name, layout="mono" if sound.shape[0] == 1 else "stereo"
        )
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = first + at_ms * rate_hz // 1000
        yield frame

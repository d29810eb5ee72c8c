"""A scene with exactly known truth: somebody drawn who talks, or keeps silent while somebody off screen talks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from heapq import merge

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Frame, Packet, Watermark
from pipeline.media.captions import Cue
from pipeline.media.container import Timed
from pipeline.media.text import TextTrack
from pipeline.ports import StreamSpec, Wanted
from pipeline.scene.face import Face
from pipeline.scene.look import draw_look
from pipeline.scene.motion import draw_motion
from pipeline.scene.sound import Sounds
from pipeline.scene.story import Span, mouth_curves, plan_story, truth_of
from pipeline.scene.voice import RATE_HZ, draw_other_voice, draw_voice
from pipeline.sources.faults import StreamFaults, check_streams, inject

STREAMS = ("video", "audio", "text")
BLOCK_NS = 20_000_000
CHUNK_BLOCKS = 250
"""Sound is made for so many blocks at once (5 s)."""


class Scene:
    """Streams "video", "audio" (16 kHz mono) and "text" of a scene that is drawn and spoken as it is read. The same seed, the same scene.

    The face, its voice, the other voices, the room, the noise, what is said and when: all of it comes from the seed.
    The person in the picture speaks ("speaking"); keeps still or chews ("silent"); keeps still, or says other words, while somebody
    else is heard ("voice-off"). Captions come for most that is said; now and then they say that the speaker is not in the picture.

    seconds        length
    width, height, fps   of the video
    noise_db       level of the room below the voices; None: drawn from the seed, 8 to 40
    captions       False: the text stream exists and stays empty
    faults, fault_seed   by stream, see `pipeline.sources.faults`; the truth stays that of the scene
    """

    live = False

    def __init__(
        self,
        *,
        seconds: float = 30.0,
        seed: int = 0,
        width: int = 640,
        height: int = 480,
        fps: float = 30.0,
        noise_db: float | None = None,
        captions: bool = True,
        faults: dict[str, StreamFaults] | None = None,
        fault_seed: int = 0,
    ) -> None:
        if not (0 < seconds <= 24 * 3600 and 0 < fps <= 240 and 32 <= width <= 4096 and 32 <= height <= 4096 and seed >= 0):
            raise ContractError("0 < seconds <= 86400, 0 < fps <= 240, seed >= 0 and 32 to 4096 pixels a side wanted")
        self._seconds, self._seed, self._size, self._fps = seconds, seed, (width, height), fps
        lot = np.random.default_rng((seed, 0))
        self._acts = plan_story(seconds, lot)
        self._look = draw_look(lot)
        self._motion = draw_motion(
            mouth_curves(self._acts, lot, effort=lot.uniform(0.75, 1.1)), seconds, lot, liveliness=lot.uniform(0.1, 1.0)
        )
        person = draw_voice(lot)
        others = tuple(draw_other_voice(lot, than=person) for _ in range(2))
        below_db = lot.uniform(8, 40) if noise_db is None else noise_db
        loudness = lot.uniform(0.4, 2.0)
        noise = 0.1 * loudness * 10 ** (-below_db / 20)
        self._sounds = Sounds(seed=seed, acts=self._acts, person=person, others=others, noise=float(noise), loudness=float(loudness))
        self._captions = captions
        self._faults, self._fault_seed = check_streams(faults, STREAMS), fault_seed
        self._wanted: dict[str, Wanted] = {name: Wanted() for name in STREAMS}
        self._running: Generator[Timed, None, None] | None = None

    @property
    def truth(self) -> list[Span]:
        """What is so when; tiles [0, end)."""
        return truth_of(self._acts)

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        self.close()
        width, height = self._size
        specs = [
            StreamSpec(name="video", kind="video", rate_hz=self._fps, detail=f"{width}x{height} drawn"),
            StreamSpec(name="audio", kind="audio", rate_hz=RATE_HZ, detail="mono synthetic"),
            StreamSpec(name="text", kind="text", detail="captions"),
        ]
        self._wanted = {spec.name: wanted.get(spec.name, Wanted()) for spec in specs if not wanted or spec.name in wanted}
        return [spec for spec in specs if spec.name in self._wanted]

    def events(self, from_ns: int = 0) -> Iterator[Timed]:
        """Also without open(): then all three streams, as drawn."""
        self.close()
        self._running = self._events(from_ns)
        if self._faults:
            self._running = inject(self._running, self._faults, seed=self._fault_seed)
        return self._running

    def end_ns(self) -> int | None:
        return self._acts[-1].end_ns

    def close(self) -> None:
        """Also ends the iterator that events() gave."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _events(self, from_ns: int) -> Generator[Timed, None, None]:
        makers = {"video": self._video, "audio": self._audio, "text": self._text}
        yield from merge(*(makers[name](from_ns) for name in self._wanted), key=lambda timed: timed[0])

    def _video(self, from_ns: int) -> Iterator[Timed]:
        face = Face(self._look, *self._size, np.random.default_rng((self._seed, 3)))
        end_ns = self._acts[-1].end_ns
        for index in range(self._frame_after(from_ns), self._frame_after(end_ns)):
            start_ns, next_ns = self._frame_ns(index), min(end_ns, self._frame_ns(index + 1))
            picture = self._as_wanted(face.draw(self._motion.pose(start_ns), index))
            yield start_ns, Packet(stream="video", seq=index, start_ns=start_ns, end_ns=next_ns, payload=Frame(data=picture))
            yield start_ns, Watermark(stream="video", time_ns=next_ns)
        yield end_ns, Closed(stream="video", time_ns=end_ns)

    def _frame_ns(self, index: int) -> int:
        return round(index * 1e9 / self._fps)

    def _frame_after(self, time_ns: int) -> int:
        """The first frame that starts at or after time_ns."""
        index = max(0, int(time_ns * self._fps / 1e9) - 1)
        while self._frame_ns(index) < time_ns:
            index += 1
        return index

    def _as_wanted(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        wanted, (width, height) = self._wanted["video"], self._size
        made = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if wanted.pixels == "gray" else picture
        if wanted.max_width is not None and wanted.max_width < width:
            size = wanted.max_width, max(1, round(height * wanted.max_width / width))
            made = cv2.resize(made, size, interpolation=cv2.INTER_AREA)
        return np.asarray(made, np.uint8)

    def _audio(self, from_ns: int) -> Iterator[Timed]:
        end_ns, size = self._acts[-1].end_ns, RATE_HZ * BLOCK_NS // 1_000_000_000
        samples = end_ns * RATE_HZ // 1_000_000_000
        first = -(-from_ns // BLOCK_NS)
        for chunk in range(first - first % CHUNK_BLOCKS, -(-samples // size), CHUNK_BLOCKS):
            sound = self._sounds.between(chunk * size, min(samples, (chunk + CHUNK_BLOCKS) * size))
            for index in range(max(first, chunk), min(chunk + CHUNK_BLOCKS, -(-samples // size))):
                data = sound[None, (index - chunk) * size : (index - chunk + 1) * size].copy()
                start_ns = index * BLOCK_NS
                stop_ns = start_ns + data.shape[1] * 1_000_000_000 // RATE_HZ
                payload = AudioBlock(data=data, rate_hz=RATE_HZ)
                yield stop_ns, Packet(stream="audio", seq=index, start_ns=start_ns, end_ns=stop_ns, payload=payload)
                yield stop_ns, Watermark(stream="audio", time_ns=stop_ns)
        yield end_ns, Closed(stream="audio", time_ns=end_ns)

    def _text(self, from_ns: int) -> Iterator[Timed]:
        cues = [Cue(start_ns=act.start_ns, end_ns=act.end_ns, text=act.caption) for act in self._acts if act.caption and self._captions]
        left_out = sum(cue.start_ns < from_ns for cue in cues)
        track = TextTrack("text", iter(cues[left_out:]), seq=left_out, from_ns=from_ns)
        end_ns = self._acts[-1].end_ns
        yield from track.before(end_ns)
        yield from track.close(end_ns)

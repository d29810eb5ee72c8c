"""A microphone through PortAudio: its blocks as they come, counted by the device's own samples.

What PortAudio does not say, and is found out: that a device was unplugged (callbacks stop, nothing else: the watchdog), that samples were
lost (often without a flag: the clock map), when a block was captured (its ADC time is on one of two clocks, or nonsense: only its age is
used, checked).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import DeviceLost, DeviceNotFound, SourceError
from operators.packet import AudioBlock
from operators.sample_clock import time_of
from pipeline.live.captured import Captured, Happened, Lost, Now

BLOCK_S = 0.01
MOST_WAITING = 100
"""Blocks, a second of sound."""
OLDEST_S = 0.5
"""An ADC time that is older than this when the block comes is nonsense."""
TASTE = 20
"""So many blocks are held back at the start, until it is known how old they are when they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrophoneDevice:
    """index, name: PortAudio's. rate_hz: its usual one."""

    index: int
    name: str
    channels: int
    rate_hz: int
    default: bool


def library() -> ModuleType:
    """sounddevice. Raises SourceError that says what to install."""
    try:
        with quiet():
            import sounddevice
    except ModuleNotFoundError:
        raise SourceError("microphone", "needs the package sounddevice: pip install 'sensorium[mic]'") from None
    except OSError as error:
        raise SourceError("microphone", f"needs PortAudio ({error}): apt install libportaudio2") from None
    return sounddevice  # type: ignore[no-any-return]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """ALSA and JACK talk to stderr, of which nobody can make anything, whenever PortAudio looks for devices."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def microphones() -> list[MicrophoneDevice]:
    """What can be recorded from now. Raises SourceError. Not while a stream is open in this process: the list is read afresh."""
    sd = library()
    with quiet():
        sd._terminate()  # a device that came later is not seen otherwise
        sd._initialize()
        default = sd.default.device[0]
        found = [(index, device) for index, device in enumerate(sd.query_devices()) if device["max_input_channels"] > 0]
    return [
        MicrophoneDevice(
            index=index,
            name=device["name"],
            channels=device["max_input_channels"],
            rate_hz=round(device["default_samplerate"]),
            default=index == default,
        )
        for index, device in found
    ]


class PortAudioStream:
    """An open microphone: a `Connection`. channels, rate_hz: asked; None: one channel, the device's own rate."""

    def __init__(self, device: MicrophoneDevice, label: str, channels: int | None, rate_hz: int | None, now_ns: Now) -> None:
        sd = library()
        self._label, self._now_ns = label, now_ns
        self._blocks: deque[tuple[int, float, NDArray[np.float32], bool]] = deque()
        self._there = threading.Event()
        self._finished = self._closing = False
        self._dropped = 0
        self.rate_hz = rate_hz or device.rate_hz
        options = {"device": device.index, "samplerate": self.rate_hz, "dtype": "float32", "latency": "low"}
        options |= {"blocksize": max(1, round(self.rate_hz * BLOCK_S)), "callback": self._callback, "finished_callback": self._ended}
        try:
            with quiet():
                self._stream = _opened(sd, options, channels, device)
                self._stream.start()
        except (sd.PortAudioError, ValueError) as error:
            raise DeviceNotFound(label, f"cannot be opened ({_one_line(error)})") from error
        granted = f"{device.name}: {self.rate_hz / 1000:g} kHz, {self._stream.channels} channel{'s' * (self._stream.channels > 1)}"
        self.details: Mapping[str, str] = {"audio": granted}

    def read(self, stop: threading.Event) -> Iterator[Captured | Lost | Happened]:
        blocks = Blocks(self.rate_hz)
        while not stop.is_set():
            self._there.wait(0.1)
            self._there.clear()
            while self._blocks:
                yield from blocks.take(*self._blocks.popleft())
            if self._dropped:
                lost, self._dropped = self._dropped, 0
                yield Lost(stream="audio", reason="capture_overflow", count=lost)
            if self._finished:
                raise DeviceLost(self._label, "the sound system ended the stream")

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(Exception), quiet():
            self._stream.abort()
            self._stream.close()

    def _callback(self, data: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:  # noqa: ANN401 - cffi's
        # On PortAudio's own thread: an exception here would end the stream without a word, a wait would lose samples.
        arrival_ns = self._now_ns()
        if len(self._blocks) >= MOST_WAITING:
            self._dropped += 1
            return
        age_s = times.currentTime - times.inputBufferAdcTime
        self._blocks.append((arrival_ns, age_s, data.T.copy(), bool(status.input_overflow)))
        self._there.set()

    def _ended(self) -> None:
        self._finished = not self._closing
        self._there.set()


class Blocks:
    """PortAudio's blocks as Captured."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._samples = 0
        self._held: list[tuple[int, float, NDArray[np.float32], bool]] | None = []
        self._delay_ns = 0

    def take(self, arrival_ns: int, age_s: float, data: NDArray[np.float32], overflow: bool) -> Iterator[Captured | Happened]:
        """age_s: between the capture of the block's first sample and its arrival, as the library says. data: (channels, samples)."""
        if self._held is None:
            yield from self._captured(arrival_ns, data, overflow)
            return
        self._held.append((arrival_ns, age_s, data, overflow))
        if len(self._held) >= TASTE:
            held, self._held = self._held, None
            yield from self._settle([age - block.shape[1] / self._rate_hz for _, age, block, _ in held])
            for when_ns, (_, _, block, flag) in zip(self._smoothed(held), held, strict=True):
                yield from self._captured(when_ns, block, flag)

    def _smoothed(self, held: list[tuple[int, float, NDArray[np.float32], bool]]) -> list[int]:
        """The arrivals as they would have been if all had been as prompt as the promptest: the first ones come in bursts."""
        ends = np.cumsum([block.shape[1] for _, _, block, _ in held])
        counted = [int(end) * 1_000_000_000 // self._rate_hz for end in ends]
        least = min(when_ns - count_ns for (when_ns, _, _, _), count_ns in zip(held, counted, strict=True))
        return [least + count_ns for count_ns in counted]

    def _settle(self, ages_s: list[float]) -> Iterator[Happened]:
        """The delay from the end of a block to its arrival: the median of what the ADC times say, if most can be true; else none.

        The library's own figure of its latency is not taken: it counts buffers that sound does not wait in (20 ms too many, measured).
        """
        plausible = [age for age in ages_s if -BLOCK_S <= age <= OLDEST_S]
        believed = len(plausible) > len(ages_s) // 2
        if not believed:
            yield Happened(stream="audio", what="adc_implausible")
        self._delay_ns = max(0, round(median(plausible) * 1e9)) if believed else 0

    def _captured(self, arrival_ns: int, data: NDArray[np.float32], overflow: bool) -> Iterator[Captured | Happened]:
        # What was lost is not in the count; whether it was flagged or not, the clock map finds the step.
        start_ns = time_of(self._samples, self._rate_hz)
        self._samples += data.shape[1]
        if overflow:
            yield Happened(stream="audio", what="overflow")
        yield Captured(
            stream="audio",
            payload=AudioBlock(data=np.ascontiguousarray(data, np.float32), rate_hz=self._rate_hz),
            arrival_ns=arrival_ns,
            device_ns=start_ns,
            length_ns=time_of(self._samples, self._rate_hz) - start_ns,
            delay_ns=self._delay_ns,
        )


def _opened(sd: ModuleType, options: Mapping[str, Any], channels: int | None, device: MicrophoneDevice) -> Any:  # noqa: ANN401
    """One channel if nothing is asked; some devices only give all they have."""
    try:
        return sd.InputStream(channels=channels or 1, **options)
    except sd.PortAudioError:
        if channels is not None or device.channels == 1:
            raise
        return sd.InputStream(channels=min(device.channels, 32), **options)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

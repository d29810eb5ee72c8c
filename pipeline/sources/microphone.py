"""A microphone of this machine, or anything else that its sound system records from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from operators.errors import ContractError, DeviceNotFound
from pipeline.live.captured import Connection, Now
from pipeline.live.source import Live
from pipeline.live.stream import StreamRules
from pipeline.ports import Wanted

if TYPE_CHECKING:
    from pipeline.media.portaudio import MicrophoneDevice


class Microphone(Live):
    """Stream "audio": blocks of 10 ms, float32. Needs the extra `mic`.

    device     an index, or (part of) the name that `sensorium devices` shows, in any case; nothing: the system's default
    channels   asked of the device; nothing: one
    rate_hz    nothing: the device's own rate, which the model's transforms make their own
    """

    def __init__(self, *, device: int | str | None = None, channels: int | None = None, rate_hz: int | None = None) -> None:
        if channels is not None and not 1 <= channels <= 128:
            raise ContractError(f"1 to 128 channels wanted, got {channels}")
        if rate_hz is not None and not 1000 <= rate_hz <= 768_000:
            raise ContractError(f"rate_hz of 1000 to 768000 wanted, got {rate_hz}")
        super().__init__(f"microphone {'(default)' if device is None else device}", {"audio": StreamRules(kind="audio")})
        self._device, self._channels, self._rate_hz = device, channels, rate_hz

    def look(self) -> None:
        self._resolved()

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Connection:
        from pipeline.media.portaudio import PortAudioStream

        return PortAudioStream(self._resolved(), self.label, self._channels, self._rate_hz, now_ns)

    def _resolved(self) -> MicrophoneDevice:
        from pipeline.media.portaudio import microphones

        found = microphones()
        chosen = [device for device in found if _is(device, self._device)]
        exact = [device for device in chosen if device.name == self._device]
        if not chosen:
            there = ", ".join(f"{device.index} ({device.name})" for device in found)
            raise DeviceNotFound(self.label, f"no such microphone; {f'there are {there}' if found else 'this machine has none'}")
        return (exact or chosen)[0]


def _is(device: MicrophoneDevice, name: int | str | None) -> bool:
    if name is None:
        return device.default
    return device.index == name if isinstance(name, int) else name.lower() in device.name.lower()

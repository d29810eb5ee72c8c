"""What PortAudio's blocks become, without PortAudio."""

import numpy as np
import pytest

from operators.errors import ContractError, DeviceNotFound
from pipeline.live.captured import Captured, Happened
from pipeline.media import portaudio
from pipeline.media.portaudio import TASTE, Blocks, MicrophoneDevice
from pipeline.sources.microphone import Microphone

MS = 1_000_000
RATE = 48_000


def fed(ages_ms, *, late_ms=lambda n: 0, overflow=()):
    """What comes of one block of 10 ms for each age; block n arrives at 10 * (n + 1) ms, late_ms(n) later."""
    blocks, out = Blocks(RATE), []
    for n, age_ms in enumerate(ages_ms):
        arrival_ns = round((10 * (n + 1) + late_ms(n)) * MS)
        out += blocks.take(arrival_ns, age_ms / 1000, np.full((1, 480), n / 100, np.float32), n in overflow)
    return out


def captured(items):
    return [item for item in items if isinstance(item, Captured)]


def test_blocks_are_held_back_until_their_delay_is_known_and_none_is_lost():
    assert fed([12] * (TASTE - 1)) == []
    blocks = captured(fed([12] * (TASTE + 5)))
    assert [block.device_ns for block in blocks] == [n * 10 * MS for n in range(TASTE + 5)]
    assert {block.length_ns for block in blocks} == {10 * MS}
    assert [round(float(block.payload.data[0, 0]) * 100) for block in blocks] == list(range(TASTE + 5))


def test_the_delay_is_the_median_of_the_adc_times_less_the_block_itself():
    assert captured(fed([17] * TASTE))[0].delay_ns == 7 * MS
    assert captured(fed([17, 900, 17] * TASTE))[0].delay_ns == 7 * MS


@pytest.mark.parametrize("nonsense_ms", [3.8e11, -400, 5000])
def test_adc_times_that_cannot_be_are_counted_and_no_delay_is_taken_off(nonsense_ms):
    items = fed([nonsense_ms] * TASTE)
    assert Happened(stream="audio", what="adc_implausible") in items
    assert {block.delay_ns for block in captured(items)} == {0}


def test_an_age_a_little_below_the_block_is_a_delay_of_0():
    assert captured(fed([9.7] * TASTE))[0].delay_ns == 0


def test_the_burst_of_the_first_blocks_does_not_show_in_their_arrivals():
    arrivals = [block.arrival_ns for block in captured(fed([10] * TASTE, late_ms=lambda n: max(0, 150 - 10 * n)))]
    assert set(np.diff(arrivals)) == {10 * MS}
    assert arrivals[-1] == 10 * TASTE * MS


def test_flagged_overflows_are_events():
    items = fed([10] * (TASTE + 3), overflow={5, TASTE + 1})
    assert [item.what for item in items if isinstance(item, Happened)] == ["overflow", "overflow"]


THERE = [
    MicrophoneDevice(index=0, name="USB Audio: - (hw:1,0)", channels=2, rate_hz=48_000, default=False),
    MicrophoneDevice(index=3, name="USB Audio", channels=2, rate_hz=48_000, default=False),
    MicrophoneDevice(index=4, name="default", channels=32, rate_hz=44_100, default=True),
]


@pytest.mark.parametrize(("device", "index"), [(None, 4), (0, 0), ("usb", 0), ("USB Audio", 3), ("hw:1", 0)])
def test_a_microphone_is_found_by_number_or_by_part_of_its_name(monkeypatch, device, index):
    monkeypatch.setattr(portaudio, "microphones", lambda: THERE)
    assert Microphone(device=device)._resolved().index == index


def test_a_microphone_that_is_not_there_is_told_with_what_is(monkeypatch):
    monkeypatch.setattr(portaudio, "microphones", lambda: THERE)
    with pytest.raises(DeviceNotFound, match=r"no such microphone; there are 0 \(USB Audio: - \(hw:1,0\)\), 3"):
        Microphone(device="headset").look()


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"rate_hz": 10}])
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(ContractError):
        Microphone(**wrong)

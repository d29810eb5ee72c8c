"""Finding a camera by what a config calls it."""

import sys

import pytest

from operators.errors import ContractError, DeviceNotFound
from pipeline.media.v4l2 import CameraDevice, CameraFormat
from pipeline.sources import camera as module
from pipeline.sources.camera import Camera

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cameras have names on Linux only")
THERE = [
    CameraDevice(index=0, name="Laptop Webcam", formats=()),
    CameraDevice(index=2, name="HD Pro Webcam", formats=()),
    CameraDevice(index=4, name="Webcam", formats=()),
]


@pytest.fixture(autouse=True)
def there(monkeypatch):
    monkeypatch.setattr(module, "cameras", lambda: THERE)


@pytest.mark.parametrize(("device", "found"), [(0, 0), (2, 2), ("hd pro", 2), ("webcam", 4), ("LAPTOP", 0), ("/dev/null", "/dev/null")])
def test_a_camera_is_found_by_number_path_or_name(device, found):
    assert Camera(device=device)._resolved() == found


@pytest.mark.parametrize("device", [1, "scanner", "/dev/video99"])
def test_a_camera_that_is_not_there_is_told_with_what_is(device):
    with pytest.raises(DeviceNotFound, match=r"there are 0 \(Laptop Webcam\), 2 \(HD Pro Webcam\), 4 \(Webcam\)"):
        Camera(device=device).look()


def test_a_machine_without_cameras_says_so(monkeypatch):
    monkeypatch.setattr(module, "cameras", lambda: [])
    with pytest.raises(DeviceNotFound, match="this machine has none"):
        Camera().look()


@pytest.mark.parametrize("wrong", [{"width": 640}, {"width": 0, "height": 5}, {"fps": 0.0}, {"device": -1}])
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(ContractError):
        Camera(**wrong)


def test_a_format_is_shown_in_one_line():
    assert str(CameraFormat(fourcc="MJPG", width=1280, height=720, rates_hz=(30.0, 15.0))) == "1280x720 MJPG 30/15 fps"

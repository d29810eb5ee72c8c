"""Real parts, each made for one test and gone after it."""

import socket

import pytest
from realparts import FakeCamera, Sender, SoundServer, Watched


@pytest.fixture
def watch():
    watched = []

    def begin(use, options, env=None):
        watched.append(Watched(use, options, env or {}))
        return watched[-1]

    yield begin
    for each in watched:
        each.end()


@pytest.fixture
def sound(tmp_path):
    server = SoundServer(tmp_path)
    yield server
    server.end()


@pytest.fixture(scope="session")
def camera_library(tmp_path_factory):
    return FakeCamera.build(tmp_path_factory.mktemp("camera"))


@pytest.fixture
def camera(tmp_path, camera_library):
    return FakeCamera(tmp_path, camera_library)


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def rtsp(port):
    server = Sender.rtsp(port)
    yield server
    server.end()


@pytest.fixture(params=["udp", "http"])
def sender(request, port):
    made = Sender.plain(request.param, port)
    made.kind = request.param
    yield made
    made.end()

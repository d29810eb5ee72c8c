"""Nothing of a run can be reached from another machine."""

from __future__ import annotations

import os
import socket

import pytest

from operators.errors import SensoriumError
from pipeline.runtime.listeners import is_loopback, listening, refuse_open_ports


@pytest.mark.parametrize(("address", "inside"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True)])
def test_loopback_addresses_are_known(address: str, inside: bool) -> None:
    assert is_loopback(address) is inside


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.2", "::ffff:192.0.2.2", "fe80::1%eth0"])
def test_all_others_are_not(address: str) -> None:
    assert not is_loopback(address)


def test_a_port_on_loopback_is_seen_and_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert (os.getpid(), "127.0.0.1", server.getsockname()[1]) in list(listening(os.getpid()))
        refuse_open_ports(os.getpid())


def test_a_port_that_others_can_reach_is_refused() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server, pytest.raises(SensoriumError, match=f"0.0.0.0:{server.getsockname()[1]}"):
        refuse_open_ports(os.getpid())

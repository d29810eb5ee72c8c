"""The keys of edges that leave a machine: ZeroMQ's CURVE, elliptic-curve encryption with a key pair for each side.

One pair serves all receivers of a session, another all its senders, and a receiver takes nobody who does not hold the latter. They are
made for each session and travel with its actors' arguments, so they are worth what Ray's own connections are worth (RAY_USE_TLS).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

DOMAIN = "sensorium"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Z85 texts of 40 characters."""

    receiver: str
    receiver_secret: str = field(repr=False)
    sender: str
    sender_secret: str = field(repr=False)


def new_keys() -> Keys:
    (receiver, receiver_secret), (sender, sender_secret) = zmq.curve_keypair(), zmq.curve_keypair()
    return Keys(
        receiver=receiver.decode(), receiver_secret=receiver_secret.decode(), sender=sender.decode(), sender_secret=sender_secret.decode()
    )


def receives(edge: zmq.Socket[Any], keys: Keys | None) -> None:
    """Before it binds. None: an edge inside a machine, which the file system guards."""
    if keys is not None:
        edge.curve_server = True
        edge.curve_publickey, edge.curve_secretkey = keys.receiver.encode(), keys.receiver_secret.encode()
        edge.zap_domain = DOMAIN.encode()


def sends(edge: zmq.Socket[Any], keys: Keys | None) -> None:
    """Before it connects."""
    if keys is not None:
        edge.curve_serverkey = keys.receiver.encode()
        edge.curve_publickey, edge.curve_secretkey = keys.sender.encode(), keys.sender_secret.encode()


def own_address(towards: str) -> str:
    """The address of this machine from which that other one is reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((towards, 9))  # sends nothing
        return str(probe.getsockname()[0])


class Doorman:
    """Lets senders into the sockets of a context whose public key is known. One a context; there must be one where keys are used."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self._auth = ThreadAuthenticator(context)
        self._known: set[bytes] = set()
        self._auth.start()
        self._auth.configure_curve_callback(DOMAIN, credentials_provider=self)

    def admit(self, keys: Keys) -> None:
        self._known.add(keys.sender.encode())

    def forget(self, keys: Keys) -> None:
        """Its session is over."""
        self._known.discard(keys.sender.encode())

    def callback(self, domain: str, key: bytes) -> bool:
        """Asked by ZeroMQ's authenticator."""
        return key in self._known

    def close(self) -> None:
        self._auth.stop()

"""The keys of edges that leave a machine: ZeroMQ's CURVE, elliptic-curve encryption with a key pair for each side.

One pair serves all receivers of a session, another all its senders, and a receiver takes nobody who does not hold the latter. They are
made for each session and travel with its actors' arguments, so they are worth what Ray's own connections are worth (RAY_USE_TLS).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Z85 texts of 40 characters."""

    receiver: str
    receiver_secret: str
    sender: str
    sender_secret: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def new_keys() -> Keys:
    (receiver, receiver_secret), (sender, sender_secret) = zmq.curve_keypair(), zmq.curve_keypair()
    return Keys(
        receiver=receiver.decode(), receiver_secret=receiver_secret.decode(), sender=sender.decode(), sender_secret=sender_secret.decode()
    )


def receives(socket: zmq.Socket[Any], keys: Keys | None) -> None:
    """Before it binds. None: an edge inside a machine, which the file system guards."""
    if keys is not None:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = keys.receiver.encode(), keys.receiver_secret.encode()
        socket.zap_domain = b"sensorium"


def sends(socket: zmq.Socket[Any], keys: Keys | None) -> None:
    """Before it connects."""
    if keys is not None:
        socket.curve_serverkey = keys.receiver.encode()
        socket.curve_publickey, socket.curve_secretkey = keys.sender.encode(), keys.sender_secret.encode()


class Doorman:
    """Lets senders into the sockets of a context whose public key is known. One a context; there must be one where keys are used."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self._auth = ThreadAuthenticator(context)
        self._known: set[bytes] = set()
        self._auth.start()
        self._auth.configure_curve_callback("*", credentials_provider=self)

    def admit(self, keys: Keys) -> None:
        self._known.add(keys.sender.encode())

    def callback(self, domain: str, key: bytes) -> bool:
        """Asked by ZeroMQ's authenticator."""
        return zmq.utils.z85.encode(key) in self._known

    def close(self) -> None:
        self._auth.stop()

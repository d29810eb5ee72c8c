"""Which ports a process and its descendants listen on, and that none of them can be reached from another machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import psutil

from operators.errors import SensoriumError


def listening(pid: int) -> Iterator[tuple[int, str, int]]:
    """(pid, address, port) of every listening TCP socket of the process and its descendants."""
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    yield process.pid, connection.laddr.ip, connection.laddr.port
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone meanwhile, or not ours to look at


def is_loopback(address: str) -> bool:
    """127.0.0.0/8, ::1, and the former written as IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def refuse_open_ports(pid: int) -> None:
    """Raises SensoriumError if anything of ours can be reached from outside."""
    found = [f"{address}:{port} (pid {owner})" for owner, address, port in listening(pid) if not is_loopback(address)]
    if found:
        raise SensoriumError(f"listening beyond this machine on {', '.join(found)}; refused to start")

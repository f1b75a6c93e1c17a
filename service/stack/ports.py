"""TCP ports on this machine."""

from __future__ import annotations

import socket

from service.stack.errors import PortTaken

HOST = "127.0.0.1"


def require(port: int, what: str, option: str) -> None:
    """Raise PortTaken if a program listens on the port; ``what`` it is for and its ``option`` go into the message."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTaken(port, what, option) from error


def free(count: int) -> list[int]:
    """Return different ports that no program listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()

"""Find free TCP ports on this machine's loopback address, and check those that were asked for."""

from __future__ import annotations

import socket

from service.stack.errors import PortTaken

HOST = "127.0.0.1"


def require(port: int, what: str, option: str) -> None:
    """Raise PortTaken if this process cannot listen on a port of ``HOST``.

    Args:
        port: The port.
        what: What the port is for, for the message.
        option: The option by which the user can choose another port, for the message.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTaken(port, what, option) from error


def free(count: int) -> list[int]:
    """Return ``count`` different ports on which no program listens at the moment. They are not reserved."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()

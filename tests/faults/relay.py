"""A TCP relay before a server, which can be cut and mended like a network cable."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

CHUNK = 65_536


class Relay:
    """Passes bytes between clients at ``port`` of 127.0.0.1 and a server's Unix socket. Use it as a context manager.

    Args:
        target: The path of the server's socket.

    Attributes:
        port: The port to connect to.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._cut = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """Reset all connections, and every new one, until ``mend``."""
        self._cut = True
        with self._lock:
            found, self._open = self._open, set()
        for connection in found:
            _reset(connection)

    def mend(self) -> None:
        """Pass new connections on again."""
        self._cut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                if self._cut:
                    raise ConnectionResetError
                server.connect(str(self._target))
            except OSError:
                server.close()
                _reset(client)
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(CHUNK):
                sink.sendall(content)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            done = {source, sink} & self._open
            self._open -= done
        for end in done:
            end.close()


def _reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees an error at once."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()

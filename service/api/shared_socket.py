"""An event loop that shares the connections of one listening socket evenly between the processes that serve it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import uvloop

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.001
"""How long a process that has accepted a connection leaves the next one to the others."""
TROUBLE_SECONDS = 1.0
"""How long a process waits after it could not accept a connection, for example because it has too many files open."""


class SharingServer:
    """Accepts the connections of a listening socket one at a time, with a pause after each.

    While its loop is too busy for that, it accepts several at a time, so that no connection waits long.

    Args:
        loop: The loop that runs the connections.
        protocol: Makes the protocol of a connection.
        listening: The listening socket; the server closes it in the end.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.Protocol], listening: socket.socket
    ) -> None:
        self._loop, self._protocol, self._listening = loop, protocol, listening
        self._task = loop.create_task(self._accept_all())

    def close(self) -> None:
        """Accept no more connections; those that are open stay open."""
        self._task.cancel()

    async def wait_closed(self) -> None:
        """Wait until no more connections are accepted."""
        with suppress(asyncio.CancelledError):
            await self._task

    async def _accept_all(self) -> None:
        due = 1
        with self._listening:
            while True:
                try:
                    first, _ = await self._loop.sock_accept(self._listening)
                    begun = time.monotonic()
                    await asyncio.gather(*(self._serve(one) for one in (first, *self._waiting(due - 1))))
                    await asyncio.sleep(PAUSE_SECONDS)
                except Exception as error:  # whatever it is, the next connections must be accepted
                    log.warning("cannot accept a connection, trying again: %s", error)
                    await asyncio.sleep(TROUBLE_SECONDS)
                    due = 1
                else:
                    # a loop with much to do comes back late, and then accepts what it would have accepted meanwhile
                    due = max(1, int((time.monotonic() - begun) / PAUSE_SECONDS))

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:
            log.warning("a connection was lost while it was accepted: %s", error)
            connection.close()

    def _waiting(self, most: int) -> Iterator[socket.socket]:
        """Accept up to this many of the connections that wait by now, fewer if accepting fails."""
        with suppress(OSError):
            for _ in range(most):
                yield self._listening.accept()[0]


class SharingLoop(uvloop.Loop):
    """uvloop's event loop, with servers that leave each other a share of the connections.

    Its own servers accept all connections that wait. The process that wakes up first would then get nearly all of a
    crowd that connects at once, and keep them, while the others had nothing to do.
    """

    async def create_server(self, *args: Any, sock: socket.socket | None = None, **options: Any) -> Any:
        """Start a server as uvloop does; one for a given socket (without TLS) is a ``SharingServer``."""
        if sock is None or options.get("ssl") is not None:
            return await super().create_server(*args, sock=sock, **options)
        (protocol,) = args
        sock.listen(options.get("backlog", 100))
        listening = sock.dup()
        listening.setblocking(False)
        return SharingServer(self, protocol, listening)

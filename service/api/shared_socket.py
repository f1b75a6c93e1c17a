"""An event loop that shares the connections of one listening socket evenly between the processes that serve it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

ACCEPTED_AT_ONCE = 1
"""How many connections a process accepts before it does anything else."""


class SharingLoop(asyncio.SelectorEventLoop):
    """An event loop that accepts ``ACCEPTED_AT_ONCE`` connections at a time.

    Other loops accept all connections that wait. The process that wakes up first would then get nearly all of a crowd
    that connects at once, and keep them, while the others had nothing to do.
    """

    async def create_server(
        self, *args: Any, sock: socket.socket | None = None, backlog: int = 100, **options: Any
    ) -> asyncio.Server:
        """Start a server as asyncio does. ``backlog`` connections wait in the kernel, as they do elsewhere."""
        if sock is None:
            return await super().create_server(*args, backlog=backlog, **options)
        # asyncio takes one number for both, the length of the queue and how many it accepts at a time
        server = await super().create_server(*args, sock=sock, backlog=ACCEPTED_AT_ONCE, **options)
        sock.listen(backlog)
        return server

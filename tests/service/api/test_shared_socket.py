"""Processes that share a listening socket accept one connection at a time."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

from service.api.shared_socket import SharingLoop

CLIENTS = 5


def test_a_process_leaves_waiting_connections_to_the_others_and_accepts_all_in_time() -> None:
    loop, made = SharingLoop(), []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    with ExitStack() as open_sockets, socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        server = loop.run_until_complete(loop.create_server(Accepted, sock=listening, backlog=100))
        for _ in range(CLIENTS):
            open_sockets.enter_context(socket.create_connection(listening.getsockname()))
        loop.call_soon(loop.stop)
        loop.run_forever()  # one round of the loop
        accepted_elsewhere, _ = listening.accept()  # as another process would
        open_sockets.enter_context(accepted_elsewhere)

        async def until_all_are_made() -> None:
            while len(made) < CLIENTS - 1:
                await asyncio.sleep(0)

        loop.run_until_complete(asyncio.wait_for(until_all_are_made(), 10))
        for transport in made:
            transport.abort()
        server.close()
        loop.run_until_complete(server.wait_closed())
    loop.close()

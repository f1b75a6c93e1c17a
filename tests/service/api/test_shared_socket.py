"""Processes that share a listening socket share its connections evenly."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.api import shared_socket
from service.api.shared_socket import SharingLoop, SharingServer

CLIENTS = 20


class Served:
    """Two servers of one listening socket, as two processes have them, and who accepted which connection."""

    def __init__(self, loop: SharingLoop, listening: socket.socket) -> None:
        self.loop = loop
        self.made: list[tuple[int, asyncio.Transport]] = []
        self.servers: list[SharingServer] = [self._serve(number, listening) for number in range(2)]

    def _serve(self, number: int, listening: socket.socket) -> SharingServer:
        served = self

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                served.made.append((number, cast(asyncio.Transport, transport)))

        return self.loop.run_until_complete(self.loop.create_server(Accepted, sock=listening, backlog=100))

    def until(self, is_true: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not is_true():
                await asyncio.sleep(0.001)

        self.run(asyncio.wait_for(wait(), 20))

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def shares(self) -> list[int]:
        return [sum(by == number for by, _ in self.made) for number in range(2)]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def served(listening: socket.socket) -> Iterator[Served]:
    loop = SharingLoop()
    served = Served(loop, listening)
    yield served
    for _, transport in served.made:
        transport.abort()
    for server in served.servers:
        server.close()
        served.run(server.wait_closed())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_crowd_that_connects_at_once_is_shared_evenly(served: Served, listening: socket.socket) -> None:
    with ExitStack() as clients:
        for _ in range(CLIENTS):
            clients.enter_context(socket.create_connection(listening.getsockname()))
        served.until(lambda: len(served.made) == CLIENTS)
        assert min(served.shares()) >= CLIENTS // 4


def test_an_answer_is_sent_at_once_and_not_held_back_until_the_last_one_is_acknowledged(
    served: Served, listening: socket.socket
) -> None:
    with socket.create_connection(listening.getsockname()):
        served.until(lambda: len(served.made) == 1)
        connection = served.made[0][1].get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_server_that_is_closed_leaves_its_connections_open_and_the_next_ones_to_the_other(
    served: Served, listening: socket.socket
) -> None:
    with ExitStack() as clients:
        first = clients.enter_context(socket.create_connection(listening.getsockname()))
        served.until(lambda: len(served.made) == 1)
        served.servers[0].close()
        served.run(served.servers[0].wait_closed())
        before = served.shares()[0]
        for _ in range(5):
            clients.enter_context(socket.create_connection(listening.getsockname()))
        served.until(lambda: len(served.made) == 6)
        assert served.shares()[0] == before
        served.made[0][1].write(b"still here")
        first.settimeout(20)
        served.run(asyncio.sleep(0))  # the loop sends what was written
        assert first.recv(10) == b"still here"


def test_a_connection_that_could_not_be_accepted_is_accepted_later(
    monkeypatch: pytest.MonkeyPatch, served: Served, listening: socket.socket
) -> None:
    monkeypatch.setattr(shared_socket, "TROUBLE_SECONDS", 0.01)
    accept, failures = SharingLoop.sock_accept, [OSError(24, "Too many open files")] * 2

    async def fail_first(loop: SharingLoop, sock: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return await accept(loop, sock)

    monkeypatch.setattr(SharingLoop, "sock_accept", fail_first)
    with ExitStack() as clients:
        for _ in range(5):
            clients.enter_context(socket.create_connection(listening.getsockname()))
        served.until(lambda: len(served.made) == 5)
        assert not failures


def test_a_loop_that_was_kept_busy_then_accepts_all_that_have_waited(
    monkeypatch: pytest.MonkeyPatch, served: Served, listening: socket.socket
) -> None:
    other = served.servers.pop()
    other.close()
    served.run(other.wait_closed())
    accept, rounds = SharingLoop.sock_accept, []
    late = SimpleNamespace(monotonic=time.monotonic)
    monkeypatch.setattr(shared_socket, "time", late)

    async def count(loop: SharingLoop, sock: socket.socket) -> Any:
        rounds.append(sock)
        return await accept(loop, sock)

    with ExitStack() as clients:
        for _ in range(CLIENTS):
            clients.enter_context(socket.create_connection(listening.getsockname()))
        monkeypatch.setattr(SharingLoop, "sock_accept", count)
        served.until(lambda: len(served.made) >= 1)
        late.monotonic = lambda: time.monotonic() + 0.1  # the loop is busy
        served.until(lambda: len(served.made) == CLIENTS)
        assert len(rounds) < CLIENTS // 2

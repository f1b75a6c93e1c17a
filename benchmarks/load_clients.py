"""Many HTTP clients in one process, each with a connection of its own, as cheap as Python allows.

A client library would take more of the two shared cores than the service: a request through this module costs about a
tenth of a millisecond of CPU.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any, cast


@dataclass(frozen=True)
class Call:
    """A request: its method, its path and query, further headers, and a body of JSON text."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def encoded(self, host: str) -> bytes:
        """Return the request as it is sent."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in self.headers)]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass
class CrowdRecord:
    """What a crowd of clients saw.

    Attributes:
        seconds: The time of each answered request, in seconds.
        statuses: How many answers had each status; ``lost`` counts requests whose connection broke.
        problems: Calls whose 503 came without a ``Retry-After`` header.
        wall: How long the crowd was at work, in seconds.
        client_cpu: CPU seconds of this process meanwhile.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int | str] = field(default_factory=Counter)
    problems: int = 0
    wall: float = 0.0
    client_cpu: float = 0.0

    def quantile(self, share: float) -> float:
        """Return the time in milliseconds within which this share of the requests was answered."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else float("nan")

    @property
    def served(self) -> int:
        """The number of requests that were answered with a status below 400."""
        return sum(n for status, n in self.statuses.items() if isinstance(status, int) and status < 400)


class _Connection(asyncio.Protocol):
    """One connection with keep-alive; one request at a time."""

    def __init__(self) -> None:
        self._read = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._read[:end]).lower()
        at = head.find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._read) < end + 4 + length:
            return
        body = bytes(self._read[end + 4 : end + 4 + length])
        del self._read[: end + 4 + length]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(head[9:12]), head, body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed the connection"))

    async def send(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Return the status, the head in lower case and the body of the answer."""
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def crowd(
    port: int,
    clients: int,
    calls: Iterator[Call],
    seconds: float,
    seen: Callable[[Call, int, bytes], None] | None = None,
) -> CrowdRecord:
    """Let clients make calls, each one after another, until the time is up; then wait for the last answers.

    Args:
        port: The server's port on this machine.
        clients: How many clients make calls at the same time.
        calls: What they call; each takes the next one.
        seconds: For how long new calls are made.
        seen: Is told each call, its status (0 if the connection broke) and the body of its answer.
    """
    outcome, host = CrowdRecord(), f"127.0.0.1:{port}"
    begun, cpu = time.perf_counter(), time.process_time()
    until = begun + seconds

    async def client() -> None:
        loop, connection = asyncio.get_running_loop(), None
        while time.perf_counter() < until:
            call = next(calls)
            at = time.perf_counter()
            try:
                if connection is None:
                    _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
                status, head, body = await connection.send(call.encoded(host))
            except OSError:
                outcome.statuses["lost"] += 1
                connection = None
                status, head, body = 0, b"", b""
            else:
                outcome.seconds.append(time.perf_counter() - at)
                outcome.statuses[status] += 1
                outcome.problems += status == 503 and b"\r\nretry-after:" not in head
            if seen is not None:
                seen(call, status, body)
            if status == 503:
                await asyncio.sleep(0.2)
            if connection is not None and b"\r\nconnection: close" in head:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    outcome.wall, outcome.client_cpu = time.perf_counter() - begun, time.process_time() - cpu
    return outcome


async def once(port: int, call: Call, patience: float = 120.0) -> tuple[int, Any, float]:
    """Make one call; return the status, the decoded answer, or None if it is no JSON, and the seconds it took."""
    begun = time.perf_counter()
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
    try:
        status, _, body = await asyncio.wait_for(connection.send(call.encoded(f"127.0.0.1:{port}")), patience)
    finally:
        connection.close()
    try:
        return status, json.loads(body), time.perf_counter() - begun
    except ValueError:
        return status, None, time.perf_counter() - begun

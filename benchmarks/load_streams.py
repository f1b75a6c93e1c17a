"""Listeners of event streams whose connections are cut: is anything lost or repeated, and what do they cost?"""

from __future__ import annotations

import asyncio
import random
import time
from asyncio import to_thread

from benchmarks.load_clients import Call, crowd
from benchmarks.load_servers import Server
from benchmarks.results import Row, row
from service.store import events, sweeps
from service.store.database import Database

LISTENERS = 200
PATIENCE = 120.0
"""Seconds within which a listener has to have everything after the last event was written."""


async def rows(server: Server, database: Database, ids: list[str], quick: bool) -> list[Row]:
    """Let listeners follow sweeps that are being written to, and return what they missed and what they cost.

    Args:
        server: The API.
        database: Its database, into which events are written.
        ids: Sweeps that have not ended; the first 20 are listened to.
        quick: Use few listeners and events.
    """
    watched, count = ids[:20], 20 if quick else LISTENERS
    seconds = 3.0 if quick else 20.0
    begun, cpu = time.perf_counter(), server.cpu()
    last: dict[str, int] = {}
    writing = asyncio.create_task(_write(database, watched, seconds, last))
    listening = [asyncio.create_task(_listen(server.port, watched[n % len(watched)], last, n)) for n in range(count)]
    lists = await crowd(server.port, 1, iter(lambda: Call("GET", "/v1/sweeps"), None), seconds)
    await writing
    found = await asyncio.gather(*listening)
    cost = (server.cpu() - cpu) / (time.perf_counter() - begun)
    seen, faults, drops = (sum(part) for part in zip(*found, strict=True))
    shape = f"listeners={count}, drops={drops}"
    method = f"events lost or repeated of {seen} received; a list of 50 meanwhile: p50 {lists.quantile(0.5):.0f} ms"
    return [
        row("L5", shape, faults, None, faults, method, at_most=0),
        row("L5-cpu", shape, cost, None, None, "cores that the API used meanwhile"),
    ]


async def _write(database: Database, ids: list[str], seconds: float, last: dict[str, int]) -> None:
    """Write events to sweeps in turn; put the number of each sweep's last event into ``last`` when all are written."""
    until, number, newest = time.monotonic() + seconds, 0, dict.fromkeys(ids, 0)
    for id in ids:
        newest[id] = await to_thread(_record, database, id, number)
    while time.monotonic() < until:
        id = ids[number % len(ids)]
        newest[id] = await to_thread(_record, database, id, number)
        number += 1
        await asyncio.sleep(0.02)
    last.update(newest)


def _record(database: Database, id: str, number: int) -> int:
    with database.write() as session:
        sweeps.lock(session, id)
        return events.record(session, id, "trial.metrics", {"number": number})


async def _listen(port: int, id: str, last: dict[str, int], seed: int) -> tuple[int, int, int]:
    """Follow one sweep over dropped connections; return the events received, those lost or repeated, and the drops."""
    numbers, seen, received, faults, drops = random.Random(seed), 0, 0, 0, 0
    until: float | None = None
    while id not in last or seen < last[id]:
        if id in last:
            until = until or time.monotonic() + PATIENCE
            if time.monotonic() > until:
                return received, faults + last[id] - seen, drops
        cut = time.monotonic() + numbers.uniform(0.2, 5.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ask = f"GET /v1/sweeps/{id}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nLast-Event-ID: {seen}\r\n\r\n"
        writer.write(ask.encode())
        while time.monotonic() < cut and (id not in last or seen < last[id]):
            try:
                line = await asyncio.wait_for(reader.readline(), max(0.01, cut - time.monotonic()))
            except (TimeoutError, ConnectionError):
                break
            if not line:
                break
            if line.startswith(b"id: "):
                number = int(line[4:])
                faults += number != seen + 1
                seen, received = max(seen, number), received + 1
        drops += 1
        writer.close()
        await asyncio.sleep(numbers.uniform(0, 0.1))
    return received, faults, drops

"""Hostile bodies and headers: each is answered within a second, and memory stays flat."""

from __future__ import annotations

from benchmarks.hostile_bodies import BODIES
from benchmarks.load_clients import Call, once
from benchmarks.load_servers import Server
from benchmarks.results import Row, row

SECOND = 1.0
MOST = 990_000
"""About the largest body that the API reads by default, in bytes."""
MOST_GROWTH = 200 * 2**20
"""Bytes by which all hostile bodies together may raise the memory of the API: two or three copies of the largest."""


async def rows(server: Server) -> list[Row]:
    """Send each hostile body to the dry run, and return how long its refusal took."""
    before, found = server.memory(), []
    for name, body_of in BODIES.items():
        status, _, seconds = await once(server.port, Call("POST", "/v1/sweeps/validate", (), body_of(MOST)))
        method = f"seconds until the answer, status {status}"
        found.append(row("L6", name, seconds, None, seconds, method, at_most=SECOND))
    grown = (server.memory() - before) / 2**20
    method = "MiB by which the API grew over all of them"
    return [*found, row("L6-memory", "all bodies", grown, None, grown, method, at_most=MOST_GROWTH / 2**20)]

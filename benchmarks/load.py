"""Benchmark L: the API over a full database, with up to 1,000 clients. See docs/benchmarks.md.

python -m benchmarks.load [--quick] [--database postgresql] [--workers 2] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import uvloop
from sqlalchemy import select

from benchmarks import load_database, load_hostile, load_servers, load_streams, machine, results
from benchmarks.load_clients import Call, CrowdRecord, crowd, once
from benchmarks.load_database import FULL, QUICK, Filling, document
from benchmarks.load_servers import Server
from benchmarks.results import Row, row
from service.store import migrations
from service.store.database import Database
from service.store.tables import IdempotencyKey, Sweep

READ_MS, SUBMIT_MS = 250.0, 500.0
"""The bounds on the 99th percentile with 50 clients, in milliseconds."""
BOUNDED = ("list 50", "detail", "trials", "report", "submit")
CROWD = 1_000
MIB = 2**20


class Calls:
    """Endless calls of each kind, over sweeps chosen by chance.

    Args:
        ids: The sweeps' ids.
        seed: Of the choice.
    """

    def __init__(self, ids: list[str], seed: int = 0) -> None:
        self._ids, self._numbers = ids, random.Random(seed)
        self.kinds: dict[str, Callable[[], Iterator[Call]]] = {
            "live": lambda: self._get("/health/live"),
            "list 50": lambda: self._get("/v1/sweeps"),
            "list 200": lambda: self._get("/v1/sweeps?limit=200"),
            "detail": lambda: self._get("/v1/sweeps/{}"),
            "trials": lambda: self._get("/v1/sweeps/{}/trials?sort=objective"),
            "report": lambda: self._get("/v1/sweeps/{}/report"),
            "submit": self.submissions,
            "validate": self._validations,
            "cluster": lambda: self._get("/v1/cluster"),
            "metrics": lambda: self._get("/metrics"),
        }

    def mixed(self) -> Iterator[Call]:
        """Yield calls of all kinds by turns."""
        every = [kind() for kind in self.kinds.values()]
        while True:
            yield next(self._numbers.choice(every))

    def submissions(self) -> Iterator[Call]:
        """Yield posts of new sweeps, each with a key of its own."""
        for number in range(10**9):
            body = json.dumps(document(number, 8)).encode()
            yield Call("POST", "/v1/sweeps", (("Idempotency-Key", f"load-{secrets.token_hex(8)}"),), body)

    def _validations(self) -> Iterator[Call]:
        for number in range(10**9):
            yield Call("POST", "/v1/sweeps/validate", (), json.dumps(document(number, 8)).encode())

    def _get(self, path: str) -> Iterator[Call]:
        while True:
            yield Call("GET", path.format(self._numbers.choice(self._ids)))


class Ledger:
    """Remembers which keys were sent and which sweep each acknowledged one has, to be compared with the database."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        self.unsure: set[str] = set()

    def seen(self, call: Call, status: int, body: bytes) -> None:
        """Note the answer to a call; others than submissions are ignored."""
        key = dict(call.headers).get("Idempotency-Key")
        if key is None:
            return
        if status == 202:
            self.acknowledged[key] = json.loads(body)["id"]
        else:
            self.unsure.add(key)

    def faults(self, database: Database, before: int) -> tuple[int, int]:
        """Return how many acknowledged submissions have no row, and how many rows have no submission of their own."""
        with database.read() as session:
            stored = dict(session.execute(select(IdempotencyKey.key, IdempotencyKey.sweep_id)).all())
            rows = set(session.scalars(select(Sweep.id)))
        lost = sum(stored.get(key) != id or id not in rows for key, id in self.acknowledged.items())
        shared = len(stored) - len(set(stored.values()))
        return lost, shared + len(rows) - before - len(stored)


def main() -> None:
    """Run the benchmark and save its results."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    filling = QUICK if options.quick else FULL
    with ExitStack() as stack:
        home = options.out / "bench-load"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        url = f"sqlite:///{home}/load.db"
        if options.database == "postgresql":
            url = stack.enter_context(load_servers.postgres())
        migrations.upgrade(url)
        database = Database(url)
        stack.callback(database.close)
        begun = time.perf_counter()
        ids = load_database.fill(database, filling)
        print(f"filled with {_words(filling)} in {time.perf_counter() - begun:.0f} s", flush=True)
        header = machine.describe("fastapi", "uvicorn", "sqlalchemy", "psycopg") | {
            "stored": _words(filling),
            "database": options.database,
            "api processes": str(options.workers),
        }
        with load_servers.floor(options.port, home / "floor.log") as server:
            bare = _floor(server, options)
        with load_servers.api(url, options.workers, options.port, home / "api.log") as server:
            at_first = server.memory()
            rows += _latencies(server, Calls(ids), bare, options)
            if "crowd" in options.only:
                rows += _crowd(server, Calls(ids, seed=1), database, options)
            if "streams" in options.only:
                rows += uvloop.run(load_streams.rows(server, database, ids[::10], options.quick))
            if "memory" in options.only:
                rows += _memory(server, ids, at_first, options)
            if "hostile" in options.only:
                rows += uvloop.run(load_hostile.rows(server))
    path = options.out / ("bench-load-quick.json" if options.quick else f"bench-load-{options.database}.json")
    results.save(rows, header, path, keep_others=False)
    results.show(rows, header)
    if options.write and not options.quick:
        results.write_section(options.write, f"bench-load-{options.database}", path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small database and a second for each figure")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--workers", type=int, default=2, help="processes of the API")
    parser.add_argument(
        "--clients", type=int, nargs="*", default=[1, 50, 200], help="how many clients, one after another"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="for how long each figure is measured")
    parser.add_argument("--kinds", nargs="*", help="kinds of calls to measure; all by default")
    parts = ("crowd", "streams", "memory", "hostile")
    parser.add_argument("--only", nargs="*", choices=parts, default=parts, help="what is measured beside latencies")
    parser.add_argument("--port", type=int, default=8090, help="a free port of this machine")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results and the database")
    parser.add_argument("--write", type=Path, help="put the results into this document")
    options = parser.parse_args()
    options.seconds = 1.0 if options.quick else options.seconds
    return options


def _words(filling: Filling) -> str:
    big = filling.sweeps // filling.nth
    trials = big * filling.many + (filling.sweeps - big) * filling.few
    return f"{filling.sweeps:,} sweeps, {trials:,} trials, about {trials * filling.reports * 49 // 50:,} reports"


def _floor(server: Server, options: argparse.Namespace) -> dict[int, CrowdRecord]:
    """Return what clients see of a route that does nothing, by their number."""

    def bare() -> Iterator[Call]:
        while True:
            yield Call("GET", "/bare")

    return {n: uvloop.run(crowd(server.port, n, bare(), options.seconds / 2)) for n in options.clients}


def _latencies(server: Server, calls: Calls, bare: dict[int, CrowdRecord], options: argparse.Namespace) -> list[Row]:
    rows = []
    for clients in options.clients:
        line = bare[clients]
        rows.append(row("L1", f"nothing, clients={clients}", line.quantile(0.99), None, None, _method(line, None)))
        for name, kind in calls.kinds.items():
            if options.kinds and name not in options.kinds:
                continue
            uvloop.run(crowd(server.port, clients, kind(), options.seconds / 8))  # as a server that has run for a while
            cpu = server.cpu()
            seen = uvloop.run(crowd(server.port, clients, kind(), options.seconds))
            bound = SUBMIT_MS if name == "submit" else READ_MS
            p99, floor = seen.quantile(0.99), line.quantile(0.99)
            rows.append(
                Row(
                    id="L1",
                    shape=f"{name}, clients={clients}",
                    ours=p99,
                    peer=floor,
                    ratio=p99 / floor,
                    target=f"<= {bound:g} ms" if clients == 50 and name in BOUNDED else "",
                    met=p99 <= bound if clients == 50 and name in BOUNDED else None,
                    method=_method(seen, server.cpu() - cpu),
                )
            )
            print(f"  {rows[-1].shape}: p99 {p99:.0f} ms ({p99 / floor:.1f} floors); {rows[-1].method}", flush=True)
    return rows


def _method(seen: CrowdRecord, cpu: float | None) -> str:
    """Describe a measurement: median and worst, what a request costs either side, and statuses other than success."""
    count = max(1, len(seen.seconds))
    costs = f"client {1000 * seen.client_cpu / count:.2f}"
    if cpu is not None:
        costs = f"server {1000 * cpu / count:.2f}, {costs}"
    others = {status: n for status, n in seen.statuses.items() if not isinstance(status, int) or status >= 300}
    return (
        f"p99 ms; p50 {seen.quantile(0.5):.0f}, max {seen.quantile(1):.0f}; {count / seen.wall:.0f}/s; "
        f"CPU ms a call: {costs}; {_statuses(others)}"
    )


def _statuses(found: dict[int | str, int]) -> str:
    return ", ".join(f"{n} x {status}" for status, n in sorted(found.items(), key=str)) or "no error"


def _crowd(server: Server, calls: Calls, database: Database, options: argparse.Namespace) -> list[Row]:
    """Return what becomes of a thousand clients that make calls of all kinds, and of their submissions."""
    with database.read() as session:
        before = len(set(session.scalars(select(Sweep.id)))) - len(set(session.scalars(select(IdempotencyKey.key))))
    rows = []
    clients = 50 if options.quick else CROWD
    for name, kind in (("all kinds", calls.mixed()), ("submit", calls.submissions())):
        ledger = Ledger()
        seen = uvloop.run(crowd(server.port, clients, kind, 2 * options.seconds, ledger.seen))
        wrong = {status: n for status, n in seen.statuses.items() if status not in (200, 202, 503)}
        lost, doubled = ledger.faults(database, before)
        shape = f"{name}, clients={clients}"
        statuses: Counter[int | str] = seen.statuses
        unable = sum(wrong.values()) + seen.problems
        method = f"answers other than success and 503 with Retry-After; {_method(seen, None)}; {_statuses(statuses)}"
        rows.append(row("L2", shape, unable, None, unable, method, at_most=0))
        method = f"lost and doubled of {len(ledger.acknowledged)} submissions acknowledged, {len(ledger.unsure)} not"
        rows.append(row("L3", shape, lost + doubled, None, lost + doubled, method, at_most=0))
        print(f"  {shape}: {_statuses(statuses)}; {lost} lost, {doubled} doubled", flush=True)
    return rows


def _memory(server: Server, ids: list[str], at_first: int, options: argparse.Namespace) -> list[Row]:
    """Return how the API's memory grows while 20,000 trials are read, each with its metrics."""
    trials = [f"{id}-{number:04d}" for id in ids for number in range(8)][: 500 if options.quick else 20_000]
    count = len(trials)

    def each() -> Iterator[Call]:
        for trial in trials:
            yield Call("GET", f"/v1/trials/{trial}")
            yield Call("GET", f"/v1/trials/{trial}/metrics")

    async def read(calls: Iterator[Call], most: int) -> None:
        for _ in range(most):
            await once(server.port, next(calls))

    calls = each()
    uvloop.run(read(calls, count // 5))
    early = server.memory()
    uvloop.run(read(calls, 2 * count - count // 5))
    late = server.memory()
    method = f"MiB after {count:,} trials, after {count // 5:,}; {at_first / MIB:.0f} at the start"
    return [row("L4", f"trials={count}", late / MIB, early / MIB, late / early, method, at_most=1.1)]


if __name__ == "__main__":
    main()

"""Benchmark T1-T5: what a tick of the controller costs while many sweeps wait, and its memory over many trials. No Ray.

python -m benchmarks.tick [--quick] [--sweeps 400] [--trials 20000] [--write docs/benchmarks.md]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import psutil

from benchmarks import machine, results
from benchmarks.results import Row, row, shape
from benchmarks.tick_cluster import FakeCluster, FakeRay
from service.controller import runner_requests
from service.controller.reconciler import Reconciler
from service.settings import ControllerSettings
from service.store import leases, migrations, packs, sweeps
from service.store.database import Database
from workers.spec.expand import trial_count
from workers.spec.parse import parse_sweep

MOST_MILLISECONDS = 100.0
"""What a tick may cost while ``--sweeps`` sweeps wait."""
MOST_GROWTH = 1.1
"""By which factor the process may be larger after all trials than after the first quarter of them."""
TRIALS_OF_A_SWEEP = 10


def main() -> None:
    """Run the benchmark and save its results."""
    options = _options()
    logging.disable(logging.WARNING)
    with (
        tempfile.TemporaryDirectory(prefix="spectral-tick-") as folder,
        mock.patch.object(runner_requests, "ray", FakeRay()),
    ):
        rows = [
            *_waiting(Path(folder), options.sweeps, options.ended, options.ticks),
            _memory(Path(folder), options.trials),
        ]
    header = machine.describe("sqlalchemy", "pydantic")
    results.publish(rows, header, options, "bench-tick")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tick", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few sweeps and trials, to show that everything runs")
    parser.add_argument("--sweeps", type=int, help="open sweeps that wait (default: 400; 40 with --quick)")
    parser.add_argument("--ended", type=int, help="sweeps that have ended (default: 5000; 100 with --quick)")
    parser.add_argument("--trials", type=int, help="trials of the memory row (default: 20000; 640 with --quick)")
    parser.add_argument("--ticks", type=int, default=20, help="ticks of each kind, of which the median counts")
    results.add_options(parser)
    options = parser.parse_args()
    for name, full, quick in (("sweeps", 400, 40), ("ended", 5_000, 100), ("trials", 20_000, 640)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    return options


def _waiting(folder: Path, count: int, ended: int, ticks: int) -> list[Row]:
    """Return the rows of ticks while the only CPU is taken and ``count`` sweeps wait for it."""
    database = _new_database(folder / "waiting.db")
    for state, number in (("cancelled", ended), ("queued", count)):
        _submit(database, number, state, trials=TRIALS_OF_A_SWEEP)
    reconciler = _reconciler(database, folder, FakeCluster(cpus=1, done=False))
    sizes = shape(open=count, ended=ended, trials=TRIALS_OF_A_SWEEP)
    first = [_cpu_of(reconciler)]
    while reconciler.behind:
        first.append(_cpu_of(reconciler))
    _cpu_of(reconciler)  # what the first looks have changed is looked at once more
    quiet = [_cpu_of(reconciler) for _ in range(ticks)]
    waiting = [sweep.id for sweep in _open(database)[1:]]
    verbs = [_cpu_after(reconciler, lambda i=i: _cancel(database, waiting[-1 - i])) for i in range(ticks)]  # type: ignore[misc]
    freed = [_cpu_after(reconciler, lambda: _end_pack(database)) for _ in range(min(ticks, count - ticks - 1))]
    database.close()
    most = MOST_MILLISECONDS
    return [
        row("T1", sizes, max(first), most, max(first) / most, "CPU ms, largest of a new term; bound", at_most=1),
        row("T2", sizes, median(quiet), most, median(quiet) / most, "CPU ms, nothing has changed; bound", at_most=1),
        row("T3", sizes, median(verbs), most, median(verbs) / most, "CPU ms, a waiting sweep ends; bound", at_most=1),
        row("T4", sizes, median(freed), most, median(freed) / most, "CPU ms, a pack is launched; bound", at_most=1),
    ]


def _memory(folder: Path, count: int) -> Row:
    """Return the row of the size of the process while ``count`` trials pass through it."""
    database = _new_database(folder / "memory.db")
    of_each = min(count, 320)
    reconciler = _reconciler(database, folder, FakeCluster(cpus=4, done=True))
    samples: list[float] = []
    for _ in range(max(4, count // of_each)):
        _submit(database, 1, "queued", trials=of_each)
        while _open(database):
            reconciler.tick(0.0)
        samples.append(psutil.Process().memory_info().rss / 2**20)
    database.close()
    before, after = samples[len(samples) // 4], samples[-1]
    text = "MiB after all trials; after the first quarter"
    return row("T5", shape(trials=count), after, before, after / before, text, at_most=MOST_GROWTH)


def _new_database(path: Path) -> Database:
    migrations.upgrade(f"sqlite:///{path}")
    return Database(f"sqlite:///{path}")


def _reconciler(database: Database, folder: Path, cluster: Any) -> Reconciler:
    with database.write() as session:
        term = leases.acquire(session, "benchmark", 1e6)
    assert term is not None
    return Reconciler(database, cluster, ControllerSettings(checkpoint_dir=folder), term)


def _submit(database: Database, count: int, state: str, trials: int) -> None:
    document = {
        "name": "waiting",
        "task": {"name": "adding", "length": 100},
        "model": {"hidden_size": 32},
        "training": {"steps": 100},
        "space": {"model.margin": {"low": 0.01, "high": 0.1}},
        "search": {"sampler": "random", "trials": trials},
    }
    spec = parse_sweep(document)
    stored = spec.model_dump(mode="json")
    with database.write() as session:
        for _ in range(count):
            sweep = sweeps.create(session, spec.name, stored, trial_count(spec))
            sweep.state = state


def _open(database: Database) -> list[sweeps.OpenSweep]:
    with database.read() as session:
        return sweeps.open_sweeps(session)


def _cancel(database: Database, sweep_id: str) -> None:
    with database.write() as session:
        sweeps.apply(session, sweep_id, "cancel")


def _end_pack(database: Database) -> None:
    """End the oldest pack, and with it its sweep, as if a runner had reported it."""
    with database.write() as session:
        pack = packs.open_packs(session)[0]
        packs.end(pack)
        sweeps.apply(session, pack.sweep_id, "pause")


def _cpu_after(reconciler: Reconciler, act: Callable[[], None]) -> float:
    """Return the CPU milliseconds of the next tick after a change."""
    act()
    return _cpu_of(reconciler)


def _cpu_of(reconciler: Reconciler) -> float:
    before = time.process_time()
    reconciler.tick(0.0)
    return (time.process_time() - before) * 1000


if __name__ == "__main__":
    main()

"""Benchmark R1: a sweep with early stopping, with and without waiting trials that take the places of pruned ones.

python -m benchmarks.refill [--quick] [--trials 64] [--steps 900] [--rounds 1] [--write docs/benchmarks.md]

Both run on a Ray head with two CPUs through the real controller, one after another. The clock runs from the moment at
which the sweep is stored to its end, so it includes the start of every process. Wherever a trial has reported in both
runs, its values must be the same, bit for bit where the compiled code runs.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from sqlalchemy import func, select

from benchmarks import machine, results
from benchmarks.results import Row, row, shape
from service.controller import runners
from service.controller.cluster import Cluster, ClusterUnreachable
from service.controller.reconciler import Reconciler
from service.controller.refilling import PackRefiller
from service.settings import ControllerSettings
from service.stack import Stack, guard
from service.stack.child import Child
from service.stack.processes import managed_processes
from service.states import SWEEP_ENDED
from service.store import leases, migrations, sweeps
from service.store.database import Database
from service.store.tables import Pack, Trial, TrialReport
from workers.spec.expand import trial_count
from workers.spec.parse import parse_sweep

MOST_SHARE = 0.6
"""The share of the wall time without refill that the sweep may take with it."""
CLOCK = ("throughput/", "time/", "system/")
"""How the names of metrics begin that depend on the time or the machine."""
CPUS = 2
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""The variable by which Ray's processes listen on, and connect to, 127.0.0.1 alone, if it is 0."""

ReportedValues = dict[tuple[int, int], dict[str, float]]
"""The metrics of reports by the number of the trial and the step."""


@dataclass(frozen=True)
class RefillRun:
    """What one run of the sweep took.

    Attributes:
        seconds: The wall time from its submission to its end.
        packs: The number of packs, and with that of processes.
        pruned: The number of trials that were stopped early.
        steps: The steps that all trials have reported together.
        values: The metrics of all reports, without those that depend on the time.
    """

    seconds: float
    packs: int
    pruned: int
    steps: int
    values: ReportedValues


def main() -> None:
    """Run the benchmark and save its results."""
    options = _options()
    logging.disable(logging.WARNING)
    header = machine.describe("ray", "sqlalchemy")
    with tempfile.TemporaryDirectory(prefix="spectral-refill-") as folder, _connected(Path(folder)) as cluster:
        pairs = []
        for number in range(options.rounds):
            order = (False, True) if number % 2 == 0 else (True, False)
            found = {refill: _run(Path(folder) / f"{number}-{refill}", cluster, options, refill) for refill in order}
            pairs.append((found[True], found[False]))
    rows = [_row(pairs, options)]
    results.publish(rows, header, options, "bench-refill")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refill", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few trials and steps, to show that everything runs")
    parser.add_argument("--trials", type=int, help="trials of the sweep (default: 64; 16 with --quick)")
    parser.add_argument("--steps", type=int, help="steps of a trial (default: 900; 90 with --quick)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each kind, whose median counts")
    results.add_options(parser)
    options = parser.parse_args()
    for name, full, quick in (("trials", 64, 16), ("steps", 900, 90)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    return options


def document(trials: int, steps: int) -> dict[str, Any]:
    """Return the sweep: scanned digits, read pixel by pixel, with margins and learning rates of every size."""
    return {
        "name": "refill",
        "task": {"name": "digits"},
        "model": {"kind": "spectral_rnn", "hidden_size": 96, "reflectors": 8, "activation": "tanh"},
        "training": {"steps": steps, "batch_size": 64, "report_every": steps // 30, "checkpoint_every": steps // 3},
        "space": {
            "model.margin": {"low": 0.001, "high": 0.3, "log": True},
            "training.lr": {"low": 0.0003, "high": 0.01, "log": True},
        },
        "search": {"sampler": "random", "trials": trials, "seed": 1},
        "early_stopping": {"kind": "asha", "reduction": 3, "min_steps": steps // 30},
    }


def _run(folder: Path, cluster: Cluster, options: argparse.Namespace, refill: bool) -> RefillRun:
    """Run the sweep on a database of its own; without refill, packs train the trials with which they began alone."""
    folder.mkdir()
    url = f"sqlite:///{folder / 'database.db'}"
    migrations.upgrade(url)
    database = Database(url)
    with ExitStack() as stack:
        if not refill:
            stack.enter_context(mock.patch.object(PackRefiller, "_serve"))
            stack.enter_context(mock.patch.object(runners, "IDLE_SECONDS", 0.0))
        with database.write() as session:
            term = leases.acquire(session, "benchmark", 1e6)
        assert term is not None
        settings = ControllerSettings(database_url=url, checkpoint_dir=folder / "checkpoints")
        reconciler = Reconciler(database, cluster, settings, term)
        started = time.monotonic()
        spec = parse_sweep(document(options.trials, options.steps))
        with database.write() as session:
            sweep_id = sweeps.create(session, spec.name, spec.model_dump(mode="json"), trial_count(spec)).id
        while not _ended(database, sweep_id):
            before = time.monotonic()
            reconciler.tick(settings.tick_seconds / 2)
            time.sleep(max(0.0, settings.tick_seconds - (time.monotonic() - before)))
        seconds = time.monotonic() - started
    found = _collect(database, seconds)
    database.close()
    print(f"{'with' if refill else 'without'} refill: {seconds:.1f} s, {found.packs} packs, {found.pruned} pruned")
    return found


def _ended(database: Database, sweep_id: str) -> bool:
    with database.read() as session:
        return sweeps.get(session, sweep_id).state in SWEEP_ENDED


def _collect(database: Database, seconds: float) -> RefillRun:
    with database.read() as session:
        numbers = {trial.id: trial for trial in session.scalars(select(Trial))}
        values = {
            (numbers[report.trial_id].number, report.step): {
                name: value for name, value in report.values.items() if not name.startswith(CLOCK)
            }
            for report in session.scalars(select(TrialReport))
        }
        packs = session.scalar(select(func.count()).select_from(Pack)) or 0
    pruned = sum(trial.state == "pruned" for trial in numbers.values())
    return RefillRun(seconds, packs, pruned, sum(trial.step for trial in numbers.values()), values)


def _row(pairs: Sequence[tuple[RefillRun, RefillRun]], options: argparse.Namespace) -> Row:
    ours, theirs = median(own.seconds for own, _ in pairs), median(other.seconds for _, other in pairs)
    own, other = pairs[0]
    for key in own.values.keys() & other.values.keys():
        if own.values[key] != other.values[key]:
            raise SystemExit(f"trial {key[0]} has other values at step {key[1]} with refill than without")
    method = (
        f"s of wall time with refill; without. {own.packs} and {other.packs} processes, {own.pruned} and "
        f"{other.pruned} trials pruned, {own.steps:,} and {other.steps:,} steps"
    )
    sizes = shape(trials=options.trials, steps=options.steps, cpus=CPUS)
    ratio = median(own.seconds / other.seconds for own, other in pairs)
    return row("R1", sizes, ours, theirs, ratio, method, at_most=MOST_SHARE)


@contextmanager
def _connected(folder: Path) -> Iterator[Cluster]:
    """Start a Ray head, and give a connection to it."""
    stack = Stack(folder / "home", 0, 0, cpus=CPUS)
    stack.home.claim({"url": ""})
    stack.home.prepare()
    part = managed_processes(stack.layout)[0]
    # without a token and on every address, since this process would have to know of both before it imports Ray
    environment = {name: value for name, value in part.environment.items() if name != LOOPBACK_ONLY}
    part = replace(part, environment=environment | {"RAY_AUTH_MODE": "disabled"})
    head = Child(part, stack.home.logs / "ray.log", print)
    head.start()
    cluster = Cluster(f"127.0.0.1:{stack.layout.ray_port}", "benchmark")
    try:
        deadline = time.monotonic() + 120
        while not cluster.connected:
            try:
                cluster.connect()
            except ClusterUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield cluster
    finally:
        cluster.close()
        head.terminate()
        head.finish(time.monotonic() + 10)
        guard.end_all(str(stack.home.path))
        stack.home.release()


if __name__ == "__main__":
    os.environ["RAY_AUTH_MODE"] = "disabled"
    main()

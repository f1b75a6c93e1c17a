"""``spectral train``: train one sweep on this machine, without a service."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli import point_tables, tables
from service.cli.errors import UserError
from service.cli.output import console_on
from workers.errors import DataMissing, OtherSweep, SpecError
from workers.protocol import Ended
from workers.runtime.local_sweep import LocalResult, LocalSweep
from workers.spec.advice import warnings
from workers.spec.data_warnings import result_warnings
from workers.spec.parse import parse_sweep
from workers.spec.repeats import without_seed
from workers.tasks.data_folder import folder_of

console = console_on(sys.stdout)


def train(document: dict[str, Any], out: Path) -> None:
    """Train every trial of a sweep and print warnings and a table of all trials, best first.

    The folder of task data is read from the environment variable ``SPECTRAL_DATA_DIR``.

    Args:
        document: The sweep, as decoded JSON that has not been validated.
        out: The folder for results and checkpoints. If it holds checkpoints of this very sweep, training continues from
            them.

    Raises:
        UserError: The sweep is not valid, its data are missing, or the folder holds another sweep or cannot be made.
        SystemExit: At least one trial failed; the exit code is 1. All trials were tried and the table was printed.
    """
    data = os.environ.get("SPECTRAL_DATA_DIR")
    data_dir = folder_of(Path(data) if data else None)
    try:
        parsed = parse_sweep(document, data_dir)
        tables.print_warnings(console, [warning.as_dict() for warning in warnings(parsed)])
        _make_folder(out)
        sweep = LocalSweep(parsed, out, data_dir=data_dir)
        _run(sweep)
    except SpecError as error:
        raise UserError("Invalid sweep", [found.as_dict() for found in error.errors]) from None
    except (OtherSweep, DataMissing) as error:
        raise UserError(str(error)) from None
    if parsed.repeats > 1:
        console.print(point_tables.points(_points(sweep), sweep.trials[0].objective.metric, parsed.objective.statistic))
    console.print(tables.trials([_row(result) for result in sweep.ranked], sweep.trials[0].objective.metric))
    if sweep.best is not None and sweep.best.objective is not None:
        found = result_warnings(sweep.sweep, sweep.best.params, sweep.best.objective)
        tables.print_warnings(console, [warning.as_dict() for warning in found])
    console.print(f"results: {out / 'results.json'}", soft_wrap=True)
    if any(result.state == "failed" for result in sweep.results):
        raise SystemExit(1)


def _make_folder(out: Path) -> None:
    """Create the folder for the results. Raise UserError if it cannot be created, such as for a file of this name."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot use {out} as the folder for results: {error.strerror}; give another --out") from None


def _run(sweep: LocalSweep) -> None:
    """Train, with one progress bar over the steps of all trials and a line for each trial that ends.

    If a trial ends early, the steps that it leaves undone are taken off the bar's total.
    """
    planned = {str(trial.number): trial.training.steps for trial in sweep.trials}
    done = dict.fromkeys(planned, 0)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task(tables.plain(sweep.sweep.name), total=sum(planned.values()))
        for report in sweep.run():
            # A sampler that learns adds trials while the sweep runs.
            planned.setdefault(report.trial_id, sweep.trials[int(report.trial_id)].training.steps)
            done[report.trial_id] = max(done.get(report.trial_id, 0), report.step)
            if isinstance(report, Ended):
                planned[report.trial_id] = done[report.trial_id]
                bars.console.print(tables.plain(_line(sweep.results[int(report.trial_id)])), soft_wrap=True)
            bars.update(bar, completed=sum(done.values()), total=sum(planned.values()))


def _line(result: LocalResult) -> str:
    value = "" if result.objective is None else f" {result.objective:.6g}"
    reason = f": {result.reason}" if result.reason else ""
    return f"trial {result.number} {result.state}{value}  {tables.params({'params': result.params})}{reason}"


def _points(sweep: LocalSweep) -> list[dict[str, Any]]:
    return [
        {
            "number": point.number,
            "objective": point.objective,
            **point.summary._asdict(),
            "reason": point.missing,
            "params": without_seed(sweep.results[point.repeats[0].number].params, sweep.sweep.repeats),
        }
        for point in sweep.points
    ]


def _row(result: LocalResult) -> dict[str, Any]:
    return {
        "id": str(result.number),
        "state": result.state,
        "step": result.step,
        "objective": result.objective,
        "params": result.params,
        "reason": result.reason,
    }

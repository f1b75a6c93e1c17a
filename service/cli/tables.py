"""Text and tables for a terminal, made from the sweeps, trials and warnings that the API returns."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

from service.cli.fitted_table import FittedColumn, FittedTable

__all__ = [
    "advice",
    "attempts",
    "counted",
    "definitions",
    "duration",
    "ended_trials",
    "estimate",
    "list_facts",
    "metrics",
    "params",
    "params_and_reason",
    "plain",
    "print_sweep",
    "print_warnings",
    "queue_facts",
    "sweeps",
    "time_left",
    "trials",
]


def sweeps(rows: Sequence[dict[str, Any]]) -> FittedTable:
    """Return a table with one row for each sweep.

    Its column ``trials`` has the trials that have ended, of all, ``done`` the share of the optimiser steps done,
    ``best`` the best objective so far, ``age`` how long ago it was submitted, ``left`` the time until its end, if that
    is known of any sweep, and ``tags`` the tags, if any sweep has some.
    """
    now = time.time()
    ages = [max(0.0, now - datetime.fromisoformat(row["created_at"]).timestamp()) for row in rows]
    bests = [row["best_objective"] for row in rows]
    shares = [row["progress"]["done"] / (row["progress"]["total"] or 1) for row in rows]
    columns = [
        FittedColumn("id", [row["id"] for row in rows], 0),
        FittedColumn("name", [row["name"] for row in rows], 3, least=8),
        FittedColumn("task", [row["task"] for row in rows], 8),
        FittedColumn("state", [row["state"] for row in rows], 1),
        FittedColumn("trials", [f"{ended_trials(row)}/{row['trials']['total']}" for row in rows], 4),
        FittedColumn("done", [f"{share:.0%}" for share in shares], 6),
        FittedColumn("best", ["" if best is None else f"{best:.4g}" for best in bests], 2),
        FittedColumn("left", [time_left(row) for row in rows], 5),
        FittedColumn("age", [duration(age) for age in ages], 7),
        FittedColumn("tags", [" ".join(row["tags"]) for row in rows], 9, least=8),
    ]
    return FittedTable([one for one in columns if one.heading not in ("left", "tags") or any(one.cells)])


def ended_trials(sweep: dict[str, Any]) -> int:
    """Return how many trials of a sweep have ended."""
    counts: dict[str, int] = sweep["trials"]
    return counts["total"] - counts["waiting"] - counts["running"]


def time_left(sweep: dict[str, Any]) -> str:
    """Return in how long a sweep is expected to end, such as ``about 3 min``; empty if that is not known."""
    left = sweep.get("seconds_left")
    return "" if left is None else f"about {duration(left)}"


def duration(seconds: float) -> str:
    """Return a number of seconds for a person to read, such as ``45 s``, ``2.5 min``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 10 * 60:
        return f"{seconds / 60:.1f} min"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86_400:.1f} days"


def estimate(plan: dict[str, Any]) -> Table:
    """Return a table with the numbers of a dry run, each with its reasons.

    Args:
        plan: The answer of the API.
    """
    found, why = plan["estimate"], dict[str, list[str]]()
    for reason in found["reasons"]:
        why.setdefault(reason["about"], []).append(reason["reason"])
    seconds, hours = found["seconds"], found["device_hours"]
    rows = {
        "trials": ("trials", str(plan["trials"])),
        "packs": ("packs", str(found["packs"])),
        "workers": ("at a time", str(found["workers"])),
        "seconds": ("wall time", "not known"),
        "device_hours": ("device-hours", "not known"),
        "peak_memory_bytes": ("memory of a worker", f"{found['peak_memory_bytes'] / 1e9:.2f} GB"),
    }
    if seconds is not None and hours is not None:
        between = f"{duration(seconds['low'])} to {duration(seconds['high'])}"
        rows["seconds"] = ("wall time", f"{duration(seconds['expected'])} ({between})")
        gpu = f", {hours['gpu']:.3g} of GPUs" if hours["gpu"] else ""
        rows["device_hours"] = ("device-hours", f"{hours['cpu']:.3g} of CPUs{gpu}")
    if found["gpu_memory_bytes"] is not None:
        name, text = rows["peak_memory_bytes"]
        rows["peak_memory_bytes"] = (name, f"{text}, {found['gpu_memory_bytes'] / 1e9:.2f} GB of a GPU")
    table = Table("number", "estimate", "why", box=None, pad_edge=False)
    for about, (name, text) in rows.items():
        for place, reason in enumerate(why.get(about, [""])):
            table.add_row(*((name, text) if not place else ("", "")), plain(reason))
    return table


def trials(rows: Sequence[dict[str, Any]], metric: str) -> FittedTable:
    """Return a table with the state, step, objective and parameters of each trial.

    Args:
        rows: The trials.
        metric: The name of the sweep's objective, for the heading of its column.
    """
    ids = [row["id"] for row in rows]
    numbers = [id.rpartition("-")[2].lstrip("0") or "0" for id in ids]
    values = ["" if row["objective"] is None else f"{row['objective']:.6g}" for row in rows]
    return FittedTable(
        [
            FittedColumn("trial", ids, 0, short=numbers),
            FittedColumn("state", [row["state"] for row in rows], 3),
            FittedColumn("step", [str(row["step"]) for row in rows], 4),
            FittedColumn(f"best {metric}", values, 1),
            FittedColumn("parameters", [params_and_reason(row) for row in rows], 2, least=14, wraps=True),
        ]
    )


def params_and_reason(row: dict[str, Any]) -> str:
    """Return the parameters of a trial or point in one line, followed by the reason that it has, if any."""
    return params(row) + (f"  ({row['reason']})" if row["reason"] else "")


def attempts(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table with one row for each attempt of a trial: where it began, how it ended and why."""
    table = Table("attempt", "from step", "outcome", "cause", "reason", box=None, pad_edge=False)
    for row in rows:
        outcome = row["outcome"] or "running"
        table.add_row(
            str(row["number"]), str(row["from_step"]), outcome, row["cause"] or "", plain(row["reason"] or "")
        )
    return table


def metrics(values: Mapping[str, float]) -> Table:
    """Return a table with the metrics of one report. Cells of arrays, such as ``grad_t/03``, are left out."""
    table = Table("metric", "last value", box=None, pad_edge=False)
    for name, value in sorted(values.items()):
        if not re.search(r"/\d+$", name):
            table.add_row(name, f"{value:.6g}")
    return table


def definitions(what: str, rows: Mapping[str, str]) -> Table:
    """Return a table of names and what they mean; ``what`` is the heading of the names."""
    table = Table(what, "", box=None, pad_edge=False)
    for name, meaning in rows.items():
        table.add_row(name, plain(meaning))
    return table


def params(trial: dict[str, Any]) -> str:
    """Return a trial's parameters in one line, such as ``margin=0.1 reflectors=4``.

    The first part of each path, such as ``model.``, is left out, and floats are rounded to four digits.
    """
    shown = ((name.partition(".")[2], value) for name, value in trial["params"].items())
    return " ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in shown)


def advice(warning: dict[str, Any]) -> str:
    """Return a warning of the API in one line: the field, its value, what is wrong with it, and what to do."""
    return f"{warning['field']} = {warning['given']} {warning['problem']}; {warning['allowed']}"


def print_warnings(console: Console, warnings: Iterable[dict[str, Any]]) -> None:
    """Print warnings of the API, each in one line, which the terminal breaks where it ends."""
    for warning in warnings:
        console.print(f"[yellow]warning[/] {plain(advice(warning))}", soft_wrap=True)


def counted(count: int, noun: str) -> str:
    """Return a number of things in words, such as ``1 trial`` or ``9 trials``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def queue_facts(sweep: dict[str, Any]) -> str:
    """Return a sweep's priority and its number of parallel trials in words, and what its trials wait for."""
    most = sweep["max_parallel"]
    text = f"priority {sweep['priority']}, " + ("as many trials as fit" if most is None else f"max_parallel {most}")
    return text + (f"; waits for {sweep['waiting_for']}" if sweep["waiting_for"] else "")


def list_facts(sweep: dict[str, Any]) -> str:
    """Return a sweep's tags in words, and whether it is archived; empty if there is nothing to say."""
    facts = [f"tags {', '.join(sweep['tags'])}"] if sweep["tags"] else []
    return "; ".join([*facts, "archived"] if sweep["archived"] else facts)


def print_sweep(console: Console, sweep: dict[str, Any], base_url: str) -> None:
    """Print a sweep's warnings, state, numbers of trials and best trial, and its pages in the service and in MLflow.

    Args:
        console: Where to print.
        sweep: The sweep as the API returns it.
        base_url: The address of the service.
    """
    print_warnings(console, sweep["warnings"])
    counts = {name: n for name, n in sweep["trials"].items() if n and name != "total"}
    console.print(f"[bold]{plain(sweep['name'])}[/]  {sweep['id']}  {sweep['state']}", soft_wrap=True)
    if sweep["tags"]:
        console.print(f"tags:   {plain(', '.join(sweep['tags']))}", soft_wrap=True)
    if sweep["archived"]:
        console.print("It is archived: spectral ls --archived lists it.", soft_wrap=True)
    if sweep["reason"]:
        console.print(f"reason: {plain(sweep['reason'])}", soft_wrap=True)
    console.print(
        f"trials: {sweep['trials']['total']} (" + ", ".join(f"{n} {name}" for name, n in counts.items()) + ")"
    )
    if sweep.get("waiting_for"):
        console.print(f"queue:  {plain(queue_facts(sweep))}", soft_wrap=True)
    if sweep.get("seconds_left") is not None:
        console.print(f"left:   {time_left(sweep)}")
    elif sweep.get("eta_reason"):
        console.print(f"left:   not known: {plain(sweep['eta_reason'])}", soft_wrap=True)
    if sweep["best"]:
        best = sweep["best"]
        metric = sweep["objective"]["metric"]
        if sweep.get("best_point"):
            point = sweep["best_point"]
            spread = "" if point["sd"] is None else f", sd {point['sd']:.4g} of {point['n']}"
            console.print(
                f"best point: {point['number']}  {metric} = {point['objective']:.6g}{spread}  {plain(params(point))}",
                soft_wrap=True,
            )
        console.print(
            f"best:   {metric} = {best['objective']:.6g}  {plain(params(best))}  ({best['id']})", soft_wrap=True
        )
    if sweep.get("checkpoint_bytes"):
        console.print(f"disk:   {sweep['checkpoint_bytes'] / 1e6:,.1f} MB of checkpoints")
    console.print(f"page:   {base_url}/#{sweep['id']}", soft_wrap=True)
    for subject, reason in sweep.get("mlflow_lacks", {}).items():
        console.print(f"MLflow lacks a part of {subject}: {reason}", style="yellow", soft_wrap=True, markup=False)
    if sweep["mlflow_url"]:
        console.print(f"MLflow: {sweep['mlflow_url']}", soft_wrap=True)

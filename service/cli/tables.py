"""Text and tables for a terminal, made from the sweeps, trials and warnings that the API returns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape as plain
from rich.table import Table

__all__ = ["advice", "attempts", "definitions", "metrics", "params", "plain", "print_sweep", "sweeps", "trials"]


def sweeps(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table with one row for each sweep.

    Its column ``trials`` has the trials that have ended, of all; ``done`` has the share of the optimiser steps done.
    """
    table = Table("id", "name", "state", "trials", "done", box=None, pad_edge=False)
    for row in rows:
        counts, progress = row["trials"], row["progress"]
        ended = counts["total"] - counts["waiting"] - counts["running"]
        share = progress["done"] / progress["total"] if progress["total"] else 1.0
        table.add_row(row["id"], plain(row["name"]), row["state"], f"{ended}/{counts['total']}", f"{share:.0%}")
    return table


def trials(rows: Sequence[dict[str, Any]], metric: str) -> Table:
    """Return a table with the state, step, objective and parameters of each trial.

    Args:
        rows: The trials.
        metric: The name of the sweep's objective, for the heading of its column.
    """
    table = Table("trial", "state", "step", f"best {metric}", "parameters", box=None, pad_edge=False)
    for row in rows:
        value = "" if row["objective"] is None else f"{row['objective']:.6g}"
        text = params(row) + (f"  ({row['reason']})" if row["reason"] else "")
        table.add_row(row["id"], row["state"], str(row["step"]), value, plain(text))
    return table


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


def print_sweep(console: Console, sweep: dict[str, Any], base_url: str) -> None:
    """Print a sweep's warnings, state, numbers of trials and best trial, and its pages in the service and in MLflow.

    Args:
        console: Where to print.
        sweep: The sweep as the API returns it.
        base_url: The address of the service.
    """
    for warning in sweep["warnings"]:
        console.print(f"[yellow]warning[/] {plain(advice(warning))}", soft_wrap=True)
    counts = {name: n for name, n in sweep["trials"].items() if n and name != "total"}
    console.print(f"[bold]{plain(sweep['name'])}[/]  {sweep['id']}  {sweep['state']}", soft_wrap=True)
    if sweep["reason"]:
        console.print(f"reason: {plain(sweep['reason'])}", soft_wrap=True)
    console.print(
        f"trials: {sweep['trials']['total']} (" + ", ".join(f"{n} {name}" for name, n in counts.items()) + ")"
    )
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

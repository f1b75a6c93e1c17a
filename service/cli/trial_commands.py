"""The commands that show one trial: its settings and results, its history, its metrics."""

from __future__ import annotations

import csv
import json
import sys
from typing import Annotated

import typer

from service.cli import ids, log_lines, tables
from service.cli.options import FOLLOW_PATIENCE_SECONDS, HERE, JsonOption, TokenFileOption, UrlOption, connect, console

TrialArgument = Annotated[str, typer.Argument(help="A trial as show prints it, or short: last-7.")]


def trial(
    id: TrialArgument, as_json: JsonOption = False, url: UrlOption = HERE, token_file: TokenFileOption = None
) -> None:
    """Show a trial: its state, settings, last metrics, attempts and how to load its model."""
    with connect(url, token_file) as client:
        id = ids.trial(client, id)
        shown = client.trial(id)
        history, points = client.logs(id, "history"), client.metrics(id)
        metric = client.sweep(shown["sweep_id"])["objective"]["metric"]
    last = points[-1] if points else None
    if as_json:
        console.print_json(json.dumps({**shown, "attempts": history["attempts"], "last_metrics": last}))
        return
    console.print(f"[bold]trial {shown['number']}[/]  {shown['id']}  {shown['state']}", soft_wrap=True)
    if shown["reason"]:
        console.print(f"reason:   {tables.plain(shown['reason'])}", soft_wrap=True)
    console.print(f"settings: {tables.plain(tables.params(shown)) or 'those of the sweep'}", soft_wrap=True)
    if shown["objective"] is not None:
        console.print(f"best:     {metric} = {shown['objective']:.6g} at step {shown['best_step']}")
    console.print(f"step:     {shown['step']}")
    if last is not None:
        console.print(tables.metrics(last["values"]))
    console.print(tables.attempts(history["attempts"]))
    console.print(f"All metrics: spectral metrics {id}   history and output: spectral logs {id}", soft_wrap=True)


def logs(
    id: TrialArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print what is added until the trial ends.")] = False,
    output_only: Annotated[
        bool, typer.Option("--output-only", help="Print only what its workers printed, not its events and attempts.")
    ] = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Print a trial's history and what its workers printed, in order of time."""
    with connect(url, token_file) as client:
        id = ids.trial(client, id)
        if follow:
            client.patience = FOLLOW_PATIENCE_SECONDS
        for line in log_lines.lines(client, id, follow=follow, output_only=output_only):
            console.print(line, markup=False, emoji=False, soft_wrap=True)
            console.file.flush()


def metrics(
    id: TrialArgument,
    keys: Annotated[list[str] | None, typer.Option("--key", help="Only this metric; may be repeated.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Print all metrics of a trial as CSV: a line for each report, a column for each metric."""
    with connect(url, token_file) as client:
        points = client.metrics(ids.trial(client, id), keys or [])
    if as_json:
        console.print_json(json.dumps(points))
        return
    names = sorted({name for point in points for name in point["values"]})
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["step", *names])
    writer.writerows([[point["step"], *(point["values"].get(name, "") for name in names)] for point in points])


COMMANDS = (trial, logs, metrics)

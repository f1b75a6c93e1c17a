"""The commands that show one trial: its settings and results, its history, its metrics."""

from __future__ import annotations

import csv
import json
import sys
import time
from typing import Annotated, Any

import typer

from service.cli import ids, tables
from service.cli.options import HERE, JsonOption, TokenFileOption, UrlOption, connect, console

TrialArgument = Annotated[str, typer.Argument(help="A trial as show prints it, or short: last-7.")]
LOOK_SECONDS = 1.0
ENDED = frozenset({"succeeded", "pruned", "failed", "cancelled"})


def trial(
    id: TrialArgument, as_json: JsonOption = False, url: UrlOption = HERE, token_file: TokenFileOption = None
) -> None:
    """Show a trial: its state, settings, last metrics, attempts and how to load its model."""
    with connect(url, token_file) as client:
        id = ids.trial(client, id)
        shown = client.trial(id)
        history, points = client.logs(id), client.metrics(id)
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
    console.print(f"All metrics: spectral metrics {id}   history: spectral logs {id}", soft_wrap=True)


def logs(
    id: TrialArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print what is added until the trial ends.")] = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Print a trial's history: its attempts, why each of them ended, and its events."""
    with connect(url, token_file) as client:
        id = ids.trial(client, id)
        printed: set[str] = set()
        while True:
            history = client.logs(id)
            for line in _lines(history):
                if line not in printed:
                    console.print(line, markup=False, soft_wrap=True)
            printed |= set(_lines(history))
            if not follow or history["state"] in ENDED:
                return
            time.sleep(LOOK_SECONDS)


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


def _lines(history: dict[str, Any]) -> list[str]:
    """Return a trial's events, and the causes and log lines of its attempts, in order of time."""
    dated = [(event["at"], _event_line(event)) for event in history["events"]]
    for attempt in history["attempts"]:
        if attempt.get("ended_at"):
            dated.append((attempt["ended_at"], _attempt_line(attempt)))
            dated += [(attempt["ended_at"], f"    {line}") for line in (attempt.get("log") or "").splitlines()]
    return [f"{at[:19]}Z  {line}" for at, line in sorted(dated, key=lambda found: found[0])]


def _event_line(event: dict[str, Any]) -> str:
    facts = event.get("data") or {}
    told = "  ".join(f"{name}={value}" for name, value in facts.items() if value is not None and name != "number")
    return f"{event['kind']}  {told}".rstrip()


def _attempt_line(attempt: dict[str, Any]) -> str:
    cause = f" ({attempt['cause']})" if attempt.get("cause") else ""
    reason = f": {attempt['reason']}" if attempt.get("reason") else ""
    return f"attempt {attempt['number']} ended: {attempt['outcome']}{cause}{reason}"


COMMANDS = (trial, logs, metrics)

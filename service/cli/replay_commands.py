"""The commands that train a trial once more and say whether two trainings gave the same numbers."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli import ids, tables
from service.cli.commands import watch
from service.cli.options import HERE, JsonOption, TokenFileOption, UrlOption, connect, console
from service.cli.trial_commands import TrialArgument

MOST_SHOWN = 20
"""The most metrics that are shown, those that differ most first."""


def replay(
    id: TrialArgument,
    follow: Annotated[bool, typer.Option("--watch", help="Wait for its end, and then do what diff does.")] = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Train a trial once more with exactly its settings, as a new sweep of one trial."""
    with connect(url, token_file) as client:
        sweep = client.replay(ids.trial(client, id))
    console.print(f"{sweep['id']}  {tables.plain(sweep['name'])}, {sweep['state']}")
    own = f"{sweep['id']}-0000"
    if follow:
        watch(sweep["id"], url, token_file)
        diff(own, None, False, url, token_file)
    else:
        console.print(f"Once it has ended, compare the two with: spectral diff {own}", soft_wrap=True)


def diff(
    id: TrialArgument,
    other: Annotated[str | None, typer.Argument(help="Another trial; by default the one that is replayed.")] = None,
    as_json: JsonOption = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Compare the metrics of two trials step by step: a replay with its original, or any two.

    The exit code is 0 if they are equal, at least to rounding, and else 1.
    """
    with connect(url, token_file) as client:
        found = client.compare_trials(ids.trial(client, id), ids.trial(client, other) if other else None)
    if as_json:
        console.print_json(json.dumps(found))
    else:
        _print(found)
    if not found["likeness"].startswith("equal"):
        raise typer.Exit(1)


def _print(found: dict[str, Any]) -> None:
    console.print(f"{found['first']} and {found['second']}: [bold]{found['likeness']}[/]", soft_wrap=True)
    lone = [f"{count} in the {which} alone" for which in ("first", "second") if (count := found[f"only_{which}"])]
    console.print(f"steps compared: {', '.join([str(found['steps']), *lone])}", soft_wrap=True)
    unequal = sorted((m for m in found["metrics"] if m["largest"]), key=lambda m: -m["largest"])
    if unequal:
        table = Table("metric", "largest difference", "at step", "differs from step", box=None, pad_edge=False)
        for metric in unequal[:MOST_SHOWN]:
            size = f"{metric['largest']:.2g}"
            table.add_row(metric["name"], size, str(metric["largest_step"]), str(metric["first_step"]))
        console.print(table)
        console.print(f"Differences are relative; up to {found['rounding']:.2g} they count as rounding.")
    for one in found["settings"]:
        console.print(tables.plain(f"setting {one['field']}: {one['first']} and {one['second']}"), soft_wrap=True)
    for text in found["explanations"]:
        console.print(tables.plain(f"may be explained by: {text}"), soft_wrap=True)

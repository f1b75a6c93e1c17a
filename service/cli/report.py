"""``spectral report``: results, importance, course and trade-offs of a sweep, in the terminal or as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from service.cli import ids, point_tables, tables
from service.cli.commands import SweepArgument
from service.cli.errors import UserError
from service.cli.options import HERE, TokenFileOption, UrlOption, connect, console

SECONDS = 300.0
"""How long the command waits for the service to make one part: of 20,000 trials that takes a while."""
PARTS = ("importance", "best_so_far", "pareto")


def report(
    id: SweepArgument,
    html: Annotated[Path | None, typer.Option(help="File to write the report to, as one HTML page.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File to write all trials to, as CSV.")] = None,
    optuna: Annotated[
        Path | None, typer.Option(help="File to write a study of Optuna to, an SQLite file for optuna-dashboard.")
    ] = None,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Print a sweep's best trials, the importance of its fields and what it cost, or write its report to files."""
    wanted = {"report.html": html, "trials.csv": csv, "optuna.db": optuna}
    with connect(url, token_file, timeout=SECONDS) as client:
        id = ids.sweep(client, id)
        if not any(wanted.values()):
            _print(client.sweep(id), client.report(id, include=PARTS))
        for name, file in wanted.items():
            if file is not None:
                _write(file, client.report_file(id, name))


def _write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"cannot write {file}: {error.strerror}") from None
    console.print(f"wrote {tables.plain(str(file))} ({len(content):,} bytes)", soft_wrap=True)


def _print(sweep: dict[str, Any], found: dict[str, Any]) -> None:
    point_tables.print_leaders(console, sweep, found.get("points", []), found["leaderboard"])
    if not found["leaderboard"]:
        console.print("No trial has a result yet.")
    tables.print_warnings(console, found["warnings"])
    _print_importance(found["importance"])
    _print_course(found["best_so_far"])
    if found["pareto"]:
        _print_front(found["pareto"])


def _print_importance(found: dict[str, Any]) -> None:
    if found["fields"]:
        table = Table("importance", "field", box=None, pad_edge=False)
        for one in found["fields"]:
            table.add_row(f"{one['share']:.0%}", tables.plain(one["path"]))
        console.print()
        console.print(table)
    for note in found["notes"]:
        console.print(tables.plain(note), soft_wrap=True)


def _print_course(found: dict[str, Any]) -> None:
    changes = [
        now for before, now in zip([None, *found["points"]], found["points"], strict=False) if _is_new(before, now)
    ]
    if not changes:
        return
    hours = f"{found['device']}-hours"
    table = Table("best so far", "trial", "after trials", f"after {hours}", box=None, pad_edge=False)
    for point in changes[-10:]:
        table.add_row(
            f"{point['best']:.6g}", f"#{point['number']}", str(point["ended"]), f"{point['device_hours']:.4g}"
        )
    console.print()
    console.print(table)
    console.print(f"The sweep has used {found['device_hours']:.4g} {hours}; {found['ended']} trials have ended.")


def _is_new(before: dict[str, Any] | None, now: dict[str, Any]) -> bool:
    return now["best"] is not None and (before is None or before["best"] != now["best"])


def _print_front(found: dict[str, Any]) -> None:
    table = Table("Pareto front", *found["metrics"], box=None, pad_edge=False)
    for trial in found["front"][:20]:
        table.add_row(f"#{trial['number']}", *(f"{value:.6g}" for value in trial["values"]))
    console.print()
    console.print(table)
    more = len(found["front"]) - 20
    if more > 0:
        console.print(f"and {more} more; the HTML page and the API have all")

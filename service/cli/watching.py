"""Watch a sweep until it has ended: with bars in a terminal, and a line now and then where there is none."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from service.cli import tables
from service.client import RestClient
from service.states import SWEEP_ENDED

LOOK_SECONDS = 0.5
LINE_SECONDS = 10.0
"""Where there is no terminal, a line is printed so often at most, and whenever the state changes or a trial ends."""
SHOWN_TRIALS = 8
"""Bars are shown for at most this many running trials."""

NARROW = 70
"""A terminal with fewer columns has no room for bars."""
NUMBERS_WIDTH, BAR_WIDTH = 30, 20
"""How many columns are left for the steps and the time left, and for a bar and the time since it began."""


def follow(client: RestClient, sweep: dict[str, Any], console: Console) -> dict[str, Any]:
    """Show the progress of a sweep until it has ended, and return the ended sweep.

    Args:
        client: The service's client.
        sweep: The sweep as the client returned it.
        console: Where to print.
    """
    if not console.is_terminal:
        return _with_lines(client, sweep, console)
    with Progress(*_columns(console.width), console=console) as bars:
        return _with_bars(client, sweep, bars)


def _columns(width: int) -> list[ProgressColumn]:
    """Return what is shown of each bar in a terminal of a width. Names are cut there, and numbers are not.

    A bar has the room that names and numbers leave.
    """
    numbers, left = MofNCompleteColumn(table_column=Column(no_wrap=True)), TextColumn("{task.fields[left]}")
    if width < NARROW:
        return [_names(max(8, width - NUMBERS_WIDTH)), numbers, left]
    elapsed = TimeElapsedColumn(table_column=Column(no_wrap=True))
    return [_names(width - NUMBERS_WIDTH - BAR_WIDTH), BarColumn(), numbers, elapsed, left]


def _names(width: int) -> TextColumn:
    return TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", max_width=width))


def _with_lines(client: RestClient, sweep: dict[str, Any], console: Console) -> dict[str, Any]:
    printed, at = None, 0.0
    while True:
        total, progress, ended = sweep["trials"]["total"], sweep["progress"], tables.ended_trials(sweep)
        if (sweep["state"], ended) != printed or time.monotonic() - at > LINE_SECONDS:
            printed, at = (sweep["state"], ended), time.monotonic()
            value = sweep.get("best_objective")  # earlier releases of the service lack it
            best = "" if value is None else f"  best {value:.6g}"
            left = tables.time_left(sweep)
            console.print(
                f"{time.strftime('%H:%M:%S')}  {sweep['state']}  {ended}/{total} trials  "
                f"{progress['done']}/{progress['total']} steps{best}{f'  left: {left}' if left else ''}",
                soft_wrap=True,
                markup=False,
            )
            console.file.flush()
        if sweep["state"] in SWEEP_ENDED:
            return sweep
        time.sleep(LOOK_SECONDS)
        sweep = client.sweep(sweep["id"])


def _with_bars(client: RestClient, sweep: dict[str, Any], bars: Progress) -> dict[str, Any]:
    """Show the progress of a sweep and its running trials until the sweep has ended, and return the ended sweep.

    Args:
        client: The service's client.
        sweep: The sweep as the client returned it.
        bars: Where the progress is shown. The bars of trials are removed at the end, that of the sweep stays.
    """
    whole = bars.add_task(tables.plain(sweep["name"]), total=sweep["progress"]["total"], left="")
    shown: dict[str, TaskID] = {}
    while True:
        title = f"{sweep['state']}  {tables.plain(sweep['name'])}"  # where there is little room, its end is cut
        done, total, left = sweep["progress"]["done"], sweep["progress"]["total"], tables.time_left(sweep)
        bars.update(whole, description=title, completed=done, total=total, left=left)
        if sweep["state"] in SWEEP_ENDED:
            for bar in shown.values():
                bars.remove_task(bar)
            return sweep
        _show_running(client, sweep, bars, shown)
        time.sleep(LOOK_SECONDS)
        sweep = client.sweep(sweep["id"])


def _show_running(client: RestClient, sweep: dict[str, Any], bars: Progress, shown: dict[str, TaskID]) -> None:
    """Add, update and remove bars, so that each running trial, up to ``SHOWN_TRIALS``, has one.

    ``shown`` maps the ids of the trials that have a bar to their bars, and is changed in place.
    """
    running = {trial["id"]: trial for trial in client.trials(sweep["id"], state=["running"], limit=SHOWN_TRIALS)}
    for ended in shown.keys() - running.keys():
        bars.remove_task(shown.pop(ended))
    for id, trial in running.items():
        steps = trial["params"].get("training.steps", sweep["spec"]["training"]["steps"]) + trial["added_steps"]
        if id not in shown:
            text = f"  {trial['number']:>4} {tables.plain(tables.params(trial))}"
            shown[id] = bars.add_task(text, total=steps, left="")
        bars.update(shown[id], completed=trial["step"])

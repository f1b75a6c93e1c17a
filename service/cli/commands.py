"""The commands that talk to a service."""

from __future__ import annotations

import time
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from service.cli import tables
from service.client import ENDS, Client

PATIENCE_SECONDS = 1.0
WATCH_PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.5
SHOWN_TRIALS = 8

console = Console(highlight=False)


def submit(url: str, document: dict[str, Any], key: str | None, stay: bool) -> None:
    with Client(url, patience=PATIENCE_SECONDS) as client:
        sweep = client.submit(document, key)
    for warning in sweep["warnings"]:
        console.print(f"[yellow]warning[/] {tables.plain(tables.advice(warning))}")
    console.print(f"{sweep['id']}  {sweep['trials']['total']} trials, {sweep['state']}")
    console.print(f"follow it: spectral watch {sweep['id']}   or open {client.base_url}/#{sweep['id']}", soft_wrap=True)
    if stay:
        watch(url, sweep["id"])


def validate(url: str, document: dict[str, Any]) -> None:
    with Client(url, patience=PATIENCE_SECONDS) as client:
        plan = client.validate(document)
    for warning in plan["warnings"]:
        console.print(f"[yellow]warning[/] {tables.plain(tables.advice(warning))}")
    console.print(f"valid: {plan['trials']} trials, {len(plan['packs'])} pack(s) for one worker")


def ls(url: str, state: list[str], limit: int) -> None:
    with Client(url, patience=PATIENCE_SECONDS) as client:
        rows = list(client.sweeps(state, limit))
    console.print(tables.sweeps(rows) if rows else "no sweeps yet; submit one with: spectral submit FILE")


def show(url: str, id: str, limit: int) -> None:
    with Client(url, patience=PATIENCE_SECONDS) as client:
        sweep = client.sweep(id)
        rows = list(client.trials(id, "objective", limit=limit))
    tables.heading(console, sweep, client.base_url)
    if rows:
        console.print(tables.trials(rows, sweep["objective"]["metric"]))


def steer(url: str, id: str, verb: Literal["pause", "resume", "stop", "cancel"]) -> None:
    with Client(url, patience=PATIENCE_SECONDS) as client:
        subject = getattr(client, verb)(id)
    wanted = subject.get("wanted")
    console.print(f"{id} is {subject['state']}" + (f", {wanted} is under way" if wanted else ""))


def watch(url: str, id: str) -> None:
    """Bars until the sweep ends, then its leaderboard. Raises SystemExit(1) where it did not succeed."""
    with Client(url, patience=PATIENCE_SECONDS) as client:
        sweep = client.sweep(id)
        client.patience = WATCH_PATIENCE_SECONDS
        with _bars() as bars:
            sweep = _follow(client, sweep, bars)
        tables.heading(console, sweep, client.base_url)
        leaders = client.report(id)["leaderboard"]
    if leaders:
        console.print(tables.trials(leaders, sweep["objective"]["metric"]))
    if sweep["state"] != "succeeded":
        raise SystemExit(1)


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _follow(client: Client, sweep: dict[str, Any], bars: Progress) -> dict[str, Any]:
    """Look at the sweep and its running trials until it has ended, and return it as it then is."""
    whole = bars.add_task(tables.plain(sweep["name"]), total=sweep["progress"]["total"])
    shown: dict[str, TaskID] = {}
    while True:
        title = f"{tables.plain(sweep['name'])} ({sweep['state']})"
        bars.update(whole, description=title, completed=sweep["progress"]["done"], total=sweep["progress"]["total"])
        if f"sweep.{sweep['state']}" in ENDS:
            for bar in shown.values():
                bars.remove_task(bar)
            return sweep
        _show_running(client, sweep, bars, shown)
        time.sleep(LOOK_SECONDS)
        sweep = client.sweep(sweep["id"])


def _show_running(client: Client, sweep: dict[str, Any], bars: Progress, shown: dict[str, TaskID]) -> None:
    running = {trial["id"]: trial for trial in client.trials(sweep["id"], state=["running"], limit=SHOWN_TRIALS)}
    for gone in shown.keys() - running.keys():
        bars.remove_task(shown.pop(gone))
    for id, trial in running.items():
        steps = trial["params"].get("training.steps", sweep["spec"]["training"]["steps"])
        if id not in shown:
            shown[id] = bars.add_task(f"  {trial['number']:>4} {tables.plain(tables.params(trial))}", total=steps)
        bars.update(shown[id], completed=trial["step"])

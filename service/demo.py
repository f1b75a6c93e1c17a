"""``spectral demo``: start the service on this machine, run a sweep, show its result."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.client import RestClient
from service.http_client import http_client
from service.stack import Stack
from service.stack.errors import StackError
from service.states import SWEEP_ENDED

SWEEP = Path(__file__).parent / "examples" / "digits.json"
ENOUGH = 0.9
"""The demo has failed unless the best trial's accuracy is above this."""
PROJECTION_SECONDS = 120.0
ADDRESSES = """
  Web page     {stack.url}
  Manual       {stack.url}/manual/
  MLflow       {stack.mlflow_experiments_url}
"""
LOOK_SECONDS = 0.3

console = Console(highlight=False, soft_wrap=True)


def run(document: dict[str, Any], out: Path, *, keep: bool = False, port: int = 0, mlflow_port: int = 0) -> int:
    """Start a stack, run a sweep, show its result and stop the stack.

    Args:
        document: The sweep, as decoded JSON; its objective must be an accuracy.
        out: The folder for the plots and, in ``home``, for the stack's files.
        keep: Leave the stack running until Ctrl-C after the result is shown. The exit code is then 130.
        port: The port of the API; 0 picks a free one.
        mlflow_port: The port of MLflow; 0 picks a free one.

    Returns:
        The exit code: 0 if the sweep succeeded with an accuracy above ``ENOUGH``, 1 if it did not, 2 if the stack did
        not start or MLflow did not get the sweep in time, 130 after Ctrl-C.

    Raises:
        ApiError: The service refused the sweep.
    """
    home = out / "home"
    started = time.monotonic()
    stack = Stack(home, port, mlflow_port, say=console.print)
    try:
        with stack:
            console.print(f"Up after {time.monotonic() - started:.1f} s")
            console.print(ADDRESSES.format(stack=stack), style="dim")
            good = _demonstrate(stack, document, out)
            console.print(f"\nThe whole demo took {time.monotonic() - started:.0f} s.")
            if keep:
                console.print(f"Still running. Ctrl-C stops it.{ADDRESSES.format(stack=stack)}")
                stack.wait()
            else:
                console.print(f"To look at the results again: {_program()} up --home {home}")
    except StackError as error:
        console.print(str(error), style="red")
        return 2
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    return 0 if good else 1


def _program() -> str:
    """Return the shortest text that calls this environment's ``spectral`` from the current folder."""
    program = Path(sys.executable).parent / "spectral"
    if not program.exists():
        return "spectral"
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _demonstrate(stack: Stack, document: dict[str, Any], out: Path) -> bool:
    """Run the sweep, show its result, and return whether it succeeded with an accuracy above ``ENOUGH``."""
    with RestClient(stack.url) as client:
        began = time.monotonic()
        sweep = client.submit(document)
        console.print(
            f"Submitted {sweep['name']}: {sweep['trials']['total']} trials ({stack.url}/#/sweeps/{sweep['id']})\n"
        )
        sweep = _follow(client, sweep)
        took = time.monotonic() - began
        console.print(
            f"\nThe sweep {sweep['state']} after {took:.1f} s." + (f" {sweep['reason']}" if sweep["reason"] else "")
        )
        leaders = client.report(sweep["id"])["leaderboard"]
        _print_leaders(leaders, sweep["objective"]["metric"])
        run = _wait_projected(stack, sweep["id"])
        lag = time.monotonic() - began - took
        sweep = client.sweep(sweep["id"])
    plots = _fetch_plots(stack, run, out)
    console.print(f"\nMLflow has everything ({lag:.1f} s after the last step): {sweep['mlflow_url']}")
    for name, path in plots.items():
        console.print(f"  {name}: {path}")
    best = sweep["best"]
    if sweep["state"] != "succeeded" or best is None:
        return False
    params = ", ".join(f"{path.split('.')[-1]} {value:.4g}" for path, value in best["params"].items())
    console.print(f"\nBest: trial {best['number']} ({params}), {sweep['objective']['metric']} {best['objective']:.2%}")
    return bool(best["objective"] > ENOUGH)


def _follow(client: RestClient, sweep: dict[str, Any]) -> dict[str, Any]:
    """Show the sweep's progress until it has ended, and return the ended sweep."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("training steps", total=sweep["progress"]["total"])
        while sweep["state"] not in SWEEP_ENDED:
            time.sleep(LOOK_SECONDS)
            sweep = client.sweep(sweep["id"])
            counts, best = sweep["trials"], sweep["best"]
            shown = f"best {best['objective']:.1%}" if best else "no result yet"
            text = f"{counts['running']} running, {counts['succeeded']} of {counts['total']} done, {shown}"
            bars.update(task, description=text, completed=sweep["progress"]["done"], total=sweep["progress"]["total"])
    return sweep


def _print_leaders(leaders: list[dict[str, Any]], metric: str) -> None:
    table = Table(box=None, header_style="bold")
    paths = list(leaders[0]["params"]) if leaders else []
    for heading in ("rank", "trial", *(path.split(".")[-1] for path in paths), metric, "at step"):
        table.add_column(heading, justify="right")
    for rank, row in enumerate(leaders, 1):
        values = (f"{row['params'][path]:.4g}" for path in paths)
        table.add_row(str(rank), f"#{row['number']}", *values, f"{row['objective']:.2%}", str(row["best_step"]))
    console.print(table)


def _wait_projected(stack: Stack, sweep_id: str) -> dict[str, Any]:
    """Wait until MLflow has ended the sweep's run, and return the run.

    Raises:
        StackError: This has not happened after ``PROJECTION_SECONDS``.
    """
    until = time.monotonic() + PROJECTION_SECONDS
    query: dict[str, Any] = {"filter": f"tags.`spectral.sweep_id` = '{sweep_id}'", "max_results": 1000}
    with http_client(stack.mlflow_url, timeout=30) as http:
        while time.monotonic() < until:
            known = http.post("/api/2.0/mlflow/experiments/search", json={"max_results": 1000}).json()
            query["experiment_ids"] = [experiment["experiment_id"] for experiment in known.get("experiments", [])]
            found = http.post("/api/2.0/mlflow/runs/search", json=query).json()
            for run in found.get("runs", []):
                tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
                if tags.get("spectral.kind") == "sweep" and run["info"]["status"] != "RUNNING":
                    return dict(run)
            time.sleep(LOOK_SECONDS)
    waited = f"{PROJECTION_SECONDS:.0f} s"
    raise StackError(f"the sweep's run in MLflow is not complete after {waited}; the logs are in {stack.home.logs}")


def _fetch_plots(stack: Stack, run: dict[str, Any], out: Path) -> dict[str, Path]:
    found = {}
    with http_client(stack.mlflow_url, timeout=30) as http:
        for title, name in (
            ("heatmap (reflectors by margin)", "results.png"),
            ("learning curves", "learning_curves.png"),
        ):
            reply = http.get("/get-artifact", params={"path": f"plots/{name}", "run_uuid": run["info"]["run_id"]})
            reply.raise_for_status()
            found[title] = out / name
            found[title].write_bytes(reply.content)
    return found

"""Dry runs against reality: estimates for ten sweeps, and how long the same sweeps take then.

    python -m benchmarks.estimates            # about ten minutes on two cores, on a machine that does nothing else
    python -m benchmarks.estimates --only digits copy --quick

Each sweep is estimated in the way of ``spectral submit --dry-run``, with a calibration, and is then submitted to the
same service, which runs on this machine. Before the first one, the service has never trained anything; what it learns
from a sweep counts for the following ones, as it would for a user. ``eta`` is the estimate that the running sweep gave
when about half of its time was over.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from service.client import RestClient
from service.stack import Stack

LIMIT = 0.25
"""How far an estimate may be off, as a share of the truth."""
LOOK_SECONDS = 0.2
console = Console(highlight=False, width=150)

REFLECTORS, MARGIN = "model.reflectors", "model.margin"
ASHA = {"kind": "asha", "reduction": 3}


def _sweep(
    name: str,
    task: dict[str, Any],
    model: dict[str, Any],
    space: dict[str, list[Any]],
    training: dict[str, Any],
    **rest: Any,
) -> dict[str, Any]:
    parts = {"name": name, "task": task, "model": model, "training": training}
    return parts | {"space": {path: {"values": values} for path, values in space.items()}} | rest


SWEEPS = [
    _sweep(
        "digits",
        {"name": "digits"},
        {"hidden_size": 64, "activation": "tanh"},
        {REFLECTORS: [4, 8, 16], MARGIN: [0.001, 0.02, 0.3]},
        {"steps": 400, "batch_size": 64},
    ),
    _sweep(
        "adding-50",
        {"name": "adding", "length": 50},
        {"hidden_size": 32},
        {REFLECTORS: [2, 4], MARGIN: [0.001, 0.1]},
        {"steps": 2000, "batch_size": 32},
    ),
    _sweep(
        "adding-200",
        {"name": "adding", "length": 200},
        {"hidden_size": 64},
        {REFLECTORS: [4, 16], "training.lr": [0.0003, 0.001, 0.003]},
        {"steps": 300, "batch_size": 32},
    ),
    _sweep(
        "copy",
        {"name": "copy", "length": 60},
        {"hidden_size": 64},
        {REFLECTORS: [4, 8], MARGIN: [0.001, 0.01, 0.1], "training.seed": [0, 1]},
        {"steps": 300, "batch_size": 32},
    ),
    _sweep(
        "lstm",
        {"name": "digits"},
        {"kind": "lstm", "hidden_size": 48},
        {"training.lr": [0.001, 0.003, 0.01], "training.seed": [0, 1]},
        {"steps": 300, "batch_size": 64},
    ),
    _sweep(
        "gru-packs-of-2",
        {"name": "adding", "length": 60},
        {"kind": "gru", "hidden_size": 32},
        {"training.lr": [0.001, 0.003, 0.01], "training.seed": [0, 1, 2, 3]},
        {"steps": 300, "batch_size": 32},
        resources={"pack_size": 2},
    ),
    _sweep(
        "mixed-sizes",
        {"name": "digits"},
        {"activation": "tanh"},
        {"model.hidden_size": [16, 48, 96], REFLECTORS: [4, 8]},
        {"steps": 400, "batch_size": 64},
    ),
    _sweep(
        "asha-24",
        {"name": "digits"},
        {"hidden_size": 48, "activation": "tanh"},
        {REFLECTORS: [2, 4, 8], MARGIN: [0.001, 0.01, 0.1, 0.3], "training.lr": [0.001, 0.01]},
        {"steps": 900, "batch_size": 64},
        early_stopping=ASHA,
    ),
    _sweep(
        "adding-lengths",
        {"name": "adding", "length": 40},
        {"hidden_size": 32},
        {"task.length": [30, 60, 120], MARGIN: [0.001, 0.1]},
        {"steps": 800, "batch_size": 32},
    ),
    _sweep(
        "kinds",
        {"name": "adding", "length": 80},
        {"hidden_size": 32},
        {"model.kind": ["spectral_rnn", "lstm", "rnn", "gru"], "training.seed": [0, 1]},
        {"steps": 400, "batch_size": 32},
    ),
]
"""The sweeps, each of well under a minute on two cores."""


def measure(client: RestClient, document: dict[str, Any]) -> dict[str, Any]:
    """Estimate a sweep, run it, and return the numbers of both.

    The program ends if the sweep does not succeed.
    """
    plan = client.validate(document, calibrate=True)
    estimate = plan["estimate"]
    began = time.monotonic()
    sweep = client.submit(document)
    etas: list[tuple[float, float]] = []
    while sweep["ended_at"] is None:
        time.sleep(LOOK_SECONDS)
        sweep = client.sweep(sweep["id"])
        if sweep["seconds_left"] is not None:
            passed = time.monotonic() - began
            etas.append((passed, passed + sweep["seconds_left"]))
    real = time.monotonic() - began
    if sweep["state"] != "succeeded":
        raise SystemExit(f"sweep {document['name']} {sweep['state']}: {sweep['reason']}")
    halfway = min(etas, key=lambda eta: abs(eta[0] - real / 2), default=(0.0, 0.0))
    hours = _cpu_hours(client, sweep["id"]) * document.get("resources", {}).get("cpus", 1)
    return {
        "sweep": document["name"],
        "trials": plan["trials"],
        "packs": estimate["packs"],
        "estimated_s": estimate["seconds"]["expected"],
        "low_s": estimate["seconds"]["low"],
        "high_s": estimate["seconds"]["high"],
        "real_s": round(real, 1),
        "error": round(estimate["seconds"]["expected"] / real - 1, 3),
        "eta_s": round(halfway[1], 1),
        "eta_error": round(halfway[1] / real - 1, 3),
        "estimated_cpu_s": round(3600 * estimate["device_hours"]["cpu"], 1),
        "real_cpu_s": round(3600 * hours, 1),
        "cpu_error": round(estimate["device_hours"]["cpu"] / hours - 1, 3),
        "reasons": estimate["reasons"],
    }


def _cpu_hours(client: RestClient, sweep_id: str) -> float:
    """Return the hours that the packs of a sweep have taken, from the decision to train each to its end."""
    packs: dict[str, list[tuple[float, float]]] = {}
    for trial in client.trials(sweep_id):
        for attempt in client.logs(trial["id"])["attempts"]:
            times = _seconds(attempt["started_at"]), _seconds(attempt["ended_at"])
            packs.setdefault(attempt["pack_id"], []).append(times)
    spans = (max(end for _, end in times) - min(start for start, _ in times) for times in packs.values())
    return sum(spans) / 3600


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _print(rows: list[dict[str, Any]]) -> None:
    names = ("sweep", "trials", "packs", "estimated_s", "low_s", "high_s", "real_s", "error", "eta_s", "eta_error")
    names += ("estimated_cpu_s", "real_cpu_s", "cpu_error")
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        shown = (f"{row[name]:+.0%}" if name.endswith("error") else f"{row[name]}" for name in names)
        table.add_row(*shown)
    console.print(table)


def main() -> None:
    """Measure the sweeps, print a table, and write the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[sweep["name"] for sweep in SWEEPS], help="these sweeps alone")
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, to see that it runs")
    parser.add_argument("--cpus", type=int, default=2, help="CPUs to train on")
    parser.add_argument("--out", type=Path, default=Path("build/bench-estimates.json"))
    options = parser.parse_args()
    chosen = [sweep for sweep in SWEEPS if not options.only or sweep["name"] in options.only]
    if options.quick:
        for sweep in chosen:
            sweep["training"]["steps"] //= 10
    home = Path("build/bench-estimates-home")
    shutil.rmtree(home, ignore_errors=True)
    rows = []
    with Stack(home, 0, 0, cpus=options.cpus) as stack, RestClient(stack.url, patience=120.0) as client:
        for sweep in chosen:
            rows.append(measure(client, sweep))
            _print(rows[-1:])
    console.print()
    _print(rows)
    for name, key in (("wall time", "error"), ("CPU time", "cpu_error"), ("estimate while running", "eta_error")):
        within = sum(abs(row[key]) <= LIMIT for row in rows)
        console.print(f"{name}: {within} of {len(rows)} within {LIMIT:.0%}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

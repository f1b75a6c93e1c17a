"""Sweeps with trials and metrics for the page, written by the store's own functions."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from service.api.submission import stored
from service.store import attempts, components, events, pack_lines, reports, sweeps, trials
from service.store.database import Database
from service.store.tables import Attempt, Pack, Sweep, Trial
from workers.protocol import OutputLine
from workers.spec.expand import points_of, trial_count
from workers.spec.parse import parse_sweep

DOCUMENT: dict[str, Any] = {
    "name": "digits-margin",
    "task": {"name": "digits"},
    "model": {"hidden_size": 32},
    "training": {"steps": 400, "lr": 0.003, "report_every": 20},
    "space": {
        "model.reflectors": {"values": [2, 4, 8, 16]},
        "model.margin": {"low": 0.001, "high": 0.3, "log": True, "grid": 6},
        "training.lr": {"values": [0.001, 0.003, 0.01]},
    },
    "objective": {"metric": "val/accuracy"},
}
PRUNED = "val/accuracy 0.158314 at step 75 is not among the best 4 of 13 there (asha), so the trial ends early"
ROOM = {"used_bytes": 21 * 10**8, "free_bytes": 10**12, "reserve_bytes": 0, "limit_bytes": None, "to_come_bytes": 0}
START = 1_795_600_000.0
PRINTED = [
    OutputLine(seq=1, at=START, stream="log", level="INFO", text="training begins; trials: 8, task: digits"),
    OutputLine(seq=2, at=START + 1, stream="stdout", text="a line of the pack"),
    OutputLine(seq=9, at=START + 2, stream="note", text="... 7 lines are left out here ...", left_out=7),
    OutputLine(seq=10, at=START + 3, stream="log", level="WARNING", text="memory is short"),
    OutputLine(seq=11, at=START + 4, stream="log", level="ERROR", text="ArithmeticError: no number"),
]


def quality(params: dict[str, Any], noise: random.Random) -> float:
    """Return how good a trial becomes, from 0 to 1, as a smooth function of its values with some noise."""
    margin, lr = float(params.get("model.margin", 0.02)), float(params.get("training.lr", 0.003))
    many = math.log2(float(params.get("model.reflectors", 8))) / 6
    best = 0.97 - 0.13 * abs(math.log10(margin / 0.03)) - 0.1 * abs(math.log10(lr / 0.004)) - 0.18 * (1 - many)
    return max(0.12, min(0.99, best + noise.gauss(0, 0.012)))


def values_at(
    step: int, steps: int, goal: float, margin: float, noise: random.Random, diagnosed: bool
) -> dict[str, Any]:
    """Return the metrics of one report."""
    share = 1 - math.exp(-4 * step / steps)
    accuracy = 0.1 + (goal - 0.1) * share + noise.gauss(0, 0.008)
    found = {
        "train/loss": 2.3 * (1 - 0.95 * share * goal) + abs(noise.gauss(0, 0.02)),
        "val/loss": 2.3 * (1 - 0.9 * share * goal) + abs(noise.gauss(0, 0.03)),
        "val/accuracy": min(1.0, max(0.0, accuracy)),
        "train/accuracy": min(1.0, max(0.0, accuracy + 0.02)),
        "time/wall_s": step * 0.01,
    }
    if diagnosed:
        weights = [math.exp(-((i - 4.5) ** 2) / (2 + 6 * share)) for i in range(10)]
        found |= {f"spectral_hist/{i}": weight / sum(weights) for i, weight in enumerate(weights)}
        found |= {f"grad_t/{i:02d}": 1e-3 * (1 + margin) ** (-(15 - i) * 6 * (1 - share / 2)) for i in range(16)}
        found |= {"spectral/min": 1 - margin * share, "spectral/max": 1 + margin * share}
    return found


def new_sweep(database: Database, **changes: Any) -> Sweep:
    """Store a sweep that is running, with all of its trials waiting."""
    spec = parse_sweep(DOCUMENT | changes)
    with database.write() as session:
        row = sweeps.create(session, spec.name, stored(spec), trial_count(spec))
    with database.write() as session:
        row = sweeps.move(session, row.id, "running")
        trials.create(session, row, 0, list(points_of(spec)))
    return row


def run(
    database: Database,
    sweep: Sweep,
    numbers: Sequence[int],
    *,
    until: float = 1.0,
    reports_each: int = 20,
    seed: int = 0,
    end: bool = True,
) -> None:
    """Let some trials of a sweep report, and end: most succeed, some are pruned, few fail."""
    noise = random.Random(seed)
    with database.write() as session:
        for number in numbers:
            trial = trials.get(session, trials.id_of(sweep.id, number))
            pack = f"{sweep.id}-p{number // 4}"
            if session.get(Pack, pack) is None:
                session.add(
                    Pack(
                        id=pack,
                        sweep_id=sweep.id,
                        state="ended" if end else "started",
                        trial_ids=[],
                        cpus=1.0,
                        gpus=0.0,
                        term=1,
                    )
                )
                session.flush()
                pack_lines.add(session, pack, PRINTED)
            trial.pack_id = pack
            start = START + (number // 8) * 40 + (number % 8) * 0.5
            session.add(Attempt(trial_id=trial.id, number=1, pack_id=pack, from_step=0, started_at=start))
            trials.move(session, trial, "running")
            trial.started_at = start
            train(session, sweep, trial, until, reports_each, noise)
            if end:
                finish(session, trial, noise, start)


def replay_of(database: Database, sweep: Sweep, number: int) -> Sweep:
    """Store a sweep that has trained one trial of another one again, with other numbers, and return it."""
    with database.read() as session:
        trial = trials.get(session, trials.id_of(sweep.id, number))
    space = {path: {"values": [value]} for path, value in trial.params.items()}
    row = new_sweep(database, name=f"replay of {trial.id}", space=space, replays=trial.id)
    run(database, row, [0], reports_each=10, seed=1)
    close(database, row, "succeeded")
    return row


def train(session: Any, sweep: Sweep, trial: Trial, until: float, reports_each: int, noise: random.Random) -> None:
    """Store the reports of one trial up to a share of its steps."""
    steps = int(sweep.spec["training"]["steps"])
    goal = quality(trial.params, noise)
    if goal < 0.5:
        until = min(until, 0.4)
    points = []
    for i in range(1, reports_each + 1):
        step = round(steps * i / reports_each)
        if step > until * steps:
            break
        found = values_at(step, steps, goal, float(trial.params.get("model.margin", 0.02)), noise, i % 4 == 0)
        points.append((step, found))
    report(session, trial, points, sweep.metric, sweep.direction)


def report(session: Any, trial: Trial, points: list[tuple[int, dict[str, Any]]], metric: str, direction: str) -> None:
    """Store reports of a trial as the controller does, with an event for each."""
    for row in reports.add(session, trial.id, points, START):
        value = row.values.get(metric)
        better = value is not None and (
            trial.objective is None or (value > trial.objective if direction == "maximize" else value < trial.objective)
        )
        if better:
            trial.objective, trial.best_step = value, row.step
        trial.step = max(trial.step, row.step)
        data = {"number": trial.number, "step": row.step, "values": row.values}
        data |= {"objective": trial.objective, "best_step": trial.best_step}
        events.record(session, trial.sweep_id, "trial.metrics", data, trial.id)


def finish(session: Any, trial: Trial, noise: random.Random, start: float) -> None:
    """End a trial in a state that suits what it has reached."""
    attempt = session.get(Attempt, (trial.id, 1))
    if trial.number % 29 == 17:
        log = (
            'Traceback (most recent call last):\n  File "trainer.py", line 81, in step\nFloatingPointError: loss is inf'
        )
        attempts.end(attempt, "failed", "user", "train/loss was inf at step 40", log)
        trials.move(
            session, trial, "failed", "train/loss was inf at step 40; a lower training.lr or clip_norm may help"
        )
    elif (trial.objective or 0) < 0.5:
        attempts.end(attempt, "pruned", None, PRUNED)
        trials.move(session, trial, "pruned", PRUNED)
    else:
        attempts.end(attempt, "succeeded", None, None)
        trials.move(session, trial, "succeeded")
    trial.ended_at = start + 4 + trial.step * 0.07 + noise.random()
    attempt.ended_at = trial.ended_at


def healthy(database: Database) -> None:
    """Let all parts of the service have been seen just now."""
    with database.write() as session:
        node = {"name": "here", "cpus": 8, "gpus": 1}
        ray = {"nodes": [node], "cpus": 8, "gpus": 1, "cpus_used": 3, "gpus_used": 0, "packs": 3, "stalled": []}
        components.note(session, "controller", True, "leads")
        components.note(session, "ray", True, "1 node, 3 packs running", ray)
        components.note(session, "mlflow", True, "answers")
        components.note(session, "checkpoints", True, "2 GB used", ROOM)


def close(database: Database, sweep: Sweep, state: str) -> None:
    """Move a sweep to an end."""
    steps = {"cancelled": ("cancelling", "cancelled"), "stopped": ("stopping", "stopped")}
    with database.write() as session:
        for trial in trials.page(session, sweep.id, ("waiting",), 20_000):
            trials.move(session, trial, "cancelled", f"the sweep was {state}")
        for to in steps.get(state, (state,)):
            sweeps.move(session, sweep.id, to)  # type: ignore[arg-type]  # one of the states of sweeps


def over_two_lengths(database: Database) -> Sweep:
    """Return a sweep of four trials, two of which learn longer sequences than the others."""
    sweep = new_sweep(
        database,
        name="lengths",
        task={"name": "adding"},
        objective={"metric": "val/loss"},
        space={"task.length": {"values": [20, 50]}, "model.margin": {"values": [0.01, 0.1]}},
    )
    run(database, sweep, range(4), reports_each=5)
    return sweep

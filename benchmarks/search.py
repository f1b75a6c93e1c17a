"""Benchmark S1: TPE with ASHA against the full grid, by training steps. See docs/benchmarks.md.

Every point of a grid of 64 is trained to its end. Then a sweep with the sampler ``tpe`` and the rule ``asha`` searches
the same ranges, until it has spent a quarter of the grid's steps. Sampler, rule and trainer are those of the service;
trials take turns in one process, a report at a time, as they would on a few workers of equal speed.

python -m benchmarks.search [--quick] [--tasks digits adding] [--seeds 5] [--out build] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine, results
from benchmarks.results import Row, row
from workers.runtime.pack_planner import plan
from workers.spec.expand import next_points, objective, plan_trial, plan_trials, trial_count
from workers.spec.parse import parse_sweep
from workers.spec.pruning_rules import PRUNING_RULES
from workers.spec.ranking import has_result, merit
from workers.spec.samplers import Observation
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec
from workers.tasks import TASKS
from workers.training.batches import TaskData
from workers.training.trainer import Failed, Finished, Reported, Trainer
from workers.training.training_state import TrainingState

SWEEPS: dict[str, dict[str, Any]] = {
    "digits": {
        "task": {"name": "digits"},
        "model": {"kind": "spectral_rnn", "hidden_size": 64, "activation": "tanh", "start": "identity"},
        "training": {"steps": 1080, "batch_size": 64, "lr": 0.01, "reflector_lr": 0.2, "report_every": 40},
        "objective": {"metric": "val/accuracy", "direction": "maximize"},
        "space": {
            "model.reflectors": {"low": 4, "high": 64, "log": True, "grid": 8},
            "model.margin": {"low": 0.003, "high": 0.3, "log": True, "grid": 8},
        },
    },
    "adding": {
        "task": {"name": "adding", "length": 100},
        "model": {"kind": "spectral_rnn", "hidden_size": 32, "activation": "leaky_relu", "start": "gaussian"},
        "training": {"steps": 1620, "batch_size": 64, "lr": 0.01, "report_every": 60},
        "objective": {"metric": "val/loss", "direction": "minimize"},
        "space": {
            "model.reflectors": {"low": 2, "high": 16, "log": True, "grid": 8},
            "model.margin": {"low": 0.001, "high": 0.1, "log": True, "grid": 8},
        },
    },
}
"""What is trained and searched, without the seed: the number of reflectors and the margin. The grid takes 8 x 8 points,
and training, with the cosine schedule, is long enough that good ones converge."""
SHARE, WITHIN = 0.25, 0.01
"""The part of the grid's steps that the search may spend, and by which part of the grid's best score its own may be
lower. The score of an accuracy is the accuracy; that of a loss is the part of the baseline that is explained,
1 - loss / baseline, because losses near zero differ from seed to seed by far more than 1 %."""
TRIALS, CONCURRENT, STARTUP = 200, 4, 8
"""The most trials of a search (its steps end it before), how many train at once, and how many are random."""


@dataclass
class SearchCourse:
    """How the best objective fell or rose with the training steps that were spent.

    Attributes:
        steps: The steps that all trials together had done, at each report.
        best: The best objective at each of these.
    """

    steps: list[int] = field(default_factory=list)
    best: list[float] = field(default_factory=list)


@dataclass
class _Trial:
    """A trial of a search that has begun."""

    spec: TrialSpec
    trainer: Trainer
    curve: list[tuple[int, float]] = field(default_factory=list)
    state: str = "running"
    place: int | None = None


def main() -> None:
    """Run the benchmark, and save its results and its plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps and one seed: shows that it runs")
    parser.add_argument("--tasks", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, of data, weights and search alike")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    parser.add_argument("--plot", type=Path, help="file of the plot; by default bench-search.png in --out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    header, rows, shown = machine.describe("torch", "optuna"), [], []
    for task in options.tasks:
        for seed in range(1 if options.quick else options.seeds):
            full, searched, found = compare(task, seed, options.out, quick=options.quick)
            rows += found
            shown.append({"task": task, "seed": seed, "grid": vars(full), "search": vars(searched)})
            results.show(found)
    name = "bench-search-quick" if options.quick else "bench-search"
    results.save(rows, header, options.out / f"{name}.json")
    (options.out / f"{name}-curves.json").write_text(json.dumps(shown))
    plot(shown, options.plot or options.out / f"{name}.png")
    results.show(rows, header)


def compare(task: str, seed: int, folder: Path, *, quick: bool) -> tuple[SearchCourse, SearchCourse, list[Row]]:
    """Return the progress of the grid and of the search on one task, and their row.

    The grid's progress is kept in a file in ``folder``, and read from there the next time.
    """
    kept = folder / f"bench-search-grid-{task}-{seed}{'-quick' if quick else ''}.json"
    if kept.exists():
        full = SearchCourse(**json.loads(kept.read_bytes()))
    else:
        full = train_all(sweep_of(task, seed, {"sampler": "grid"}, quick=quick))
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(vars(full)))
    options = {"startup_trials": STARTUP, "concurrent": CONCURRENT}
    learning = {"sampler": "tpe", "seed": seed, "trials": TRIALS, "options": options}
    sweep = sweep_of(task, seed, learning, quick=quick)
    allowed = int(SHARE * full.steps[-1])
    searched = search(sweep, allowed)
    metric = objective(sweep)
    best, ours = full.best[-1], searched.best[-1]
    enough = (1 - WITHIN) * score(task, best)
    share = next((step / full.steps[-1] for step, value in _pairs(searched) if score(task, value) >= enough), None)
    what = f"{metric.metric}: the search's best, the grid's best; share of the grid's steps until its score is near"
    line = row("S1", results.shape(task=task, seed=seed), ours, best, share, what, at_most=SHARE)
    return full, searched, [line]


def score(task: str, value: float) -> float:
    """Return the score of an objective, of which 1 is the best that there can be: see ``WITHIN``."""
    document = SWEEPS[task]
    if document["objective"]["direction"] == "maximize":
        return value
    return 1 - value / TASKS[document["task"]["name"]].model_validate(document["task"]).baseline


def sweep_of(task: str, seed: int, how: dict[str, Any], *, quick: bool) -> SweepSpec:
    """Return the sweep of a task over its ranges: the grid, or a search, which ASHA shortens."""
    document = json.loads(json.dumps(SWEEPS[task])) | {"name": f"search-{task}", "search": how}
    training = document["training"] | {"seed": seed, "schedule": "cosine"}
    if quick:
        training |= {"steps": training["steps"] // 10, "report_every": max(1, training["report_every"] // 10)}
    document["training"] = training
    if how["sampler"] != "grid":
        document["early_stopping"] = {"kind": "asha", "reduction": 3, "min_steps": max(1, training["steps"] // 3)}
    return parse_sweep(document)


def train_all(sweep: SweepSpec) -> SearchCourse:
    """Train every trial of a sweep to its end, in packs, and return the progress with trials in their order."""
    trials = [planned.require_spec() for planned in plan_trials(sweep)]
    curves: dict[int, list[tuple[int, float]]] = {}
    metric = objective(sweep)
    for pack in plan(trials, "auto", 1, 0.0):
        trainer = Trainer([TrainingState.start(trials[place]) for place in pack], _data(trials[0]), torch.device("cpu"))
        while trainer.live:
            for event in trainer.advance():
                if isinstance(event, Reported):
                    curve = curves.setdefault(pack[event.trial], [])
                    curve.append((event.step, event.values[metric.metric]))
    progress, done = SearchCourse(), 0
    for _, curve in sorted(curves.items()):
        for step, value in curve:
            _note(progress, done + step, value, metric)
        done += trials[0].training.steps
    return progress


def search(sweep: SweepSpec, allowed: int) -> SearchCourse:
    """Train the trials that the sweep's sampler proposes, shortened by its rule, until ``allowed`` steps are done."""
    metric, progress = objective(sweep), SearchCourse()
    known: list[_Trial] = []
    rule = PRUNING_RULES[sweep.early_stopping.kind](sweep.early_stopping, metric, sweep.training.steps)
    data = _data(plan_trial(sweep, 0, next_points(sweep, [])[0]).require_spec())
    while True:
        if len(known) < trial_count(sweep):
            for params in next_points(sweep, [_observed(number, trial, metric) for number, trial in enumerate(known)]):
                spec = plan_trial(sweep, len(known), params).require_spec()
                trainer = Trainer([TrainingState.start(spec)], data, torch.device("cpu"))
                known.append(_Trial(spec, trainer))
        running = [number for number, trial in enumerate(known) if trial.state == "running"][:CONCURRENT]
        if not running:
            return progress
        for number in running:
            trial = known[number]
            if trial.state != "running":
                continue
            for event in trial.trainer.advance():
                if isinstance(event, Reported):
                    trial.curve.append((event.step, event.values[metric.metric]))
                    done = sum(other.trainer.step_of(0) for other in known)
                    if done > allowed:
                        return progress
                    _note(progress, done, event.values[metric.metric], metric)
                elif isinstance(event, Finished | Failed):
                    _end(known, trial, "succeeded" if isinstance(event, Finished) else "failed")
            alive = {n for n in running if known[n].state == "running"}
            curves = {n: other.curve for n, other in enumerate(known) if other.curve}
            for ended in rule.to_prune(curves, alive):
                _end(known, known[ended], "pruned")


def plot(shown: list[dict[str, Any]], path: Path) -> None:
    """Draw, for each task, how far from the grid's best each search was, by the share of the grid's steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(one["task"] for one in shown))
    figure, axes = plt.subplots(1, len(tasks), figsize=(5 * len(tasks), 3.6), squeeze=False, layout="constrained")
    for axis, task in zip(axes[0], tasks, strict=True):
        for one in (one for one in shown if one["task"] == task):
            total, best = one["grid"]["steps"][-1], one["grid"]["best"][-1]
            for part, colour in (("grid", "0.7"), ("search", "tab:blue")):
                gaps = [score(task, best) - score(task, value) for value in one[part]["best"]]
                shares = [100 * steps / total for steps in one[part]["steps"]]
                label = {"grid": "grid, in its order", "search": "tpe with asha"}[part] if one["seed"] == 0 else None
                percent = [max(100 * gap / score(task, best), 0.01) for gap in gaps]
                axis.step(shares, percent, where="post", color=colour, label=label, linewidth=1.2)
        axis.axhline(100 * WITHIN, color="tab:green", linewidth=0.8, linestyle="--", label="within 1 %")
        axis.axvline(100 * SHARE, color="tab:red", linewidth=0.8, linestyle="--", label="a quarter of the steps")
        axis.set(title=task, xlabel="training steps, % of the grid's", yscale="log", xlim=(0, 100))
        axis.set_ylabel("score: distance from the grid's best, %")
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def _data(spec: TrialSpec) -> TaskData:
    return TaskData(spec.task, None, torch.device("cpu"), getattr(torch, spec.training.parameter_dtype))


def _observed(number: int, trial: _Trial, metric: Any) -> Observation:
    best = max((value for _, value in trial.curve), key=lambda value: merit(value, metric.direction), default=None)
    counts = has_result(trial.state, best)
    return Observation(number, trial.spec.params, best if counts else None, trial.state != "running", trial.place)


def _end(known: list[_Trial], trial: _Trial, state: str) -> None:
    trial.state, trial.place = state, sum(other.place is not None for other in known)


def _note(progress: SearchCourse, steps: int, value: float, metric: Any) -> None:
    before = progress.best[-1] if progress.best else value
    progress.steps.append(steps)
    progress.best.append(max(before, value, key=lambda one: merit(one, metric.direction)))


def _pairs(progress: SearchCourse) -> Iterator[tuple[int, float]]:
    return zip(progress.steps, progress.best, strict=True)


if __name__ == "__main__":
    main()

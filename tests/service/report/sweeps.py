"""Synthetic sweeps for the tests of reports, the same at every call: ordinary ones, and ones in trouble."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from service.report.analysis import Analysis
from service.report.record import PackUse, SweepRecord, TrialRow
from workers.protocol import divergence
from workers.spec.expand import objectives
from workers.spec.sweep import SweepSpec

START = 1_790_000_000.0
NAN = divergence("train/loss", math.nan, 40, "a lower training.lr may help")
HOSTILE = '</script><img src=x onerror=alert(1)> $\\frac & "q" \'=1+1 ☃'

GRID = {"model.reflectors": [2, 4, 8], "model.margin": [0.001, 0.01, 0.1], "training.seed": [0, 1, 2]}
WIDE = {
    "model.kind": ["spectral_rnn", "lstm"],
    "model.reflectors": {"low": 2, "high": 16, "step": 2, "when": {"model.kind": "spectral_rnn"}},
    "model.margin": {"low": 0.001, "high": 0.3, "log": True, "when": {"model.kind": "spectral_rnn"}},
    "training.lr": {"low": 0.0001, "high": 0.01, "log": True},
}


def spec_of(**changes: Any) -> SweepSpec:
    document = {
        "name": "margins",
        "task": {"name": "adding", "length": 20},
        "model": {"hidden_size": 32},
        "training": {"steps": 100},
        "space": GRID,
        "search": {"sampler": "grid"},
    }
    return SweepSpec.model_validate(document | changes)


def row_of(
    number: int, params: dict[str, Any], objective: float | None, state: str = "succeeded", **own: Any
) -> TrialRow:
    ended = START + 60 * (number + 1) if state in ("succeeded", "pruned", "failed", "cancelled") else None
    facts = {
        "best_step": None if objective is None else 100,
        "step": 100,
        "reason": None,
        "started_at": START + 60 * number,
        "ended_at": ended,
    } | own
    return TrialRow(number, f"sw0123456789-{number:04d}", params, state, objective, **facts)


def record_of(
    rows: Sequence[TrialRow], spec: SweepSpec | None = None, packs: Sequence[PackUse] | None = None, **own: Any
) -> SweepRecord:
    spec = spec or spec_of()
    packs = (
        [PackUse(START + 60 * i, START + 60 * (i + 1), 0.0, 2.0) for i in range(len(rows))] if packs is None else packs
    )
    return SweepRecord("sw0123456789", spec.name, own.get("state", "succeeded"), objectives(spec), spec, rows, packs)


def grid_sweep(trouble: bool = False, name: str = "margins") -> SweepRecord:
    """A grid of 3 reflectors x 3 margins x 3 seeds; with trouble: failures, NaN, 1e30 and trials that are missing."""
    rng = random.Random(0)
    rows = []
    points = [(m, r, s) for m in (2, 4, 8) for r in (0.001, 0.01, 0.1) for s in (0, 1, 2)]
    for number, (m, r, s) in enumerate(points):
        params = {"model.reflectors": m, "model.margin": r, "training.seed": s}
        value = 0.16 / m + 0.01 * abs(math.log10(r) + 2) + rng.uniform(0, 0.01)
        row = row_of(number, params, value)
        if trouble and (m, r) == (2, 0.1):
            row = row_of(number, params, None, "failed", reason=NAN, step=40)
        elif trouble and (m, r) == (4, 0.1):
            row = row_of(number, params, 1e30)
        elif trouble and (m, r) == (2, 0.001):
            row = row_of(number, params, None, "failed", reason="its data are missing", step=0)
        elif trouble and (m, r) == (8, 0.001):
            if s:
                continue
            row = row_of(number, params, None, "running", ended_at=None)
        elif trouble and (m, r, s) == (8, 0.1, 2):
            row = row_of(number, params, None, "failed", reason=NAN)
        elif trouble and (m, r) == (4, 0.001):
            continue
        rows.append(row)
    return record_of(rows, spec_of(name=name))


def wide_sweep(count: int, trouble: bool = True, further: Sequence[str] = (), name: str = "kinds") -> SweepRecord:
    """A random search with conditions; a tenth of the trials fail, some are huge, some pruned, some still run."""
    rng = random.Random(1)
    spec = spec_of(
        name=name,
        space=WIDE,
        search={"sampler": "random", "trials": count},
        further_objectives=[{"metric": metric} for metric in further],
    )
    rows = []
    for number in range(count):
        kind = rng.choice(["spectral_rnn", "lstm"])
        params: dict[str, Any] = {"model.kind": kind}
        lr = 10 ** rng.uniform(-4, -2)
        value = 0.02 + 0.1 * abs(math.log10(lr) + 3) ** 2 + 0.01 * rng.random()
        if kind == "spectral_rnn":
            params |= {"model.reflectors": rng.randrange(2, 17, 2), "model.margin": 10 ** rng.uniform(-3, -0.55)}
            value += 0.05 * abs(math.log10(params["model.margin"]) + 2) - 0.002 * params["model.reflectors"]
        else:
            value += 0.06
        params["training.lr"] = lr
        at_best = {"time/wall_s": 5 + 20 * rng.random(), "val/loss": value}
        chance = rng.random() if trouble else 1.0
        if chance < 0.08:
            row = row_of(number, params, None, "failed", reason=NAN)
        elif trouble and number % 20 == 13:
            row = row_of(number, params, 1e30 * (1 + rng.random()), at_best=at_best)
        elif chance < 0.3:
            row = row_of(number, params, value + 0.1, "pruned", step=50, best_step=50, at_best=at_best)
        elif chance < 0.33:
            row = row_of(number, params, None, "running")
        else:
            row = row_of(number, params, value, at_best=at_best)
        rows.append(row)
    packs = [PackUse(START + 240 * i, START + 240 * (i + 1), 0.5, 1.0) for i in range(-(-count // 4))]
    return record_of(rows, spec, packs)


def curve_of(row: TrialRow, points: int = 20) -> list[tuple[int, float]]:
    rng = random.Random(row.number)
    end = row.objective if row.objective is not None else 0.3
    steps = [max(1, row.step) * (i + 1) // points for i in range(points)]
    return [(step, end * (1 + 2 * math.exp(-5 * step / 100)) + 0.005 * rng.random()) for step in steps if step]


def reports_of(row: TrialRow) -> list[tuple[int, dict[str, float]]]:
    found = []
    for step in range(10, 101, 10):
        values = {f"grad_t/{i:02d}": 10.0 ** -(i * (1 + 10 / step)) for i in range(16)}
        values |= {f"spectral_hist/{i}": 0.1 + 0.01 * (i - 4.5) * step / 100 for i in range(10)}
        margin = row.params.get("model.margin", 0.1)
        values |= {"spectral/min": 1 - margin * step / 110, "spectral/max": 1 + margin * step / 105}
        found.append((step, values))
    return found


def analysis_of(record: SweepRecord) -> Analysis:
    return Analysis(record, lambda rows, metric, most: ((r.number, curve_of(r)) for r in rows), reports_of)


SWEEPS = {
    "grid": lambda: grid_sweep(),
    "troubled grid": lambda: grid_sweep(trouble=True),
    "wide": lambda: wide_sweep(60),
    "three objectives": lambda: wide_sweep(60, further=("parameters", "seconds")),
    "two objectives": lambda: wide_sweep(60, further=("parameters",)),
    "hostile": lambda: grid_sweep(name=HOSTILE),
    "one trial": lambda: record_of([row_of(0, {"model.margin": 0.1}, 0.5)], spec_of(space={"model.margin": [0.1]})),
    "one field": lambda: record_of(
        [row_of(i, {"training.lr": v}, y) for i, (v, y) in enumerate([(0.0001, 0.3), (0.001, 0.1), (0.01, 1e30)])],
        spec_of(space={"training.lr": {"low": 0.0001, "high": 0.01, "log": True, "grid": 3}}),
    ),
    "all failed": lambda: record_of(
        [
            row_of(i, {"model.margin": m, "model.reflectors": 2}, None, "failed", reason=NAN)
            for i, m in enumerate((0.1, 0.2))
        ],
        spec_of(space={"model.margin": [0.1, 0.2], "model.reflectors": [2]}),
        state="failed",
    ),
    "no trials": lambda: record_of([]),
}

"""What MLflow is told at the end, as plain values read from our tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.store import reports, sweeps, trials
from service.store.reports import Curve
from service.store.tables import Sweep, Trial
from workers.spec.expand import objective, plan_trial
from workers.spec.sweep import SweepSpec
from workers.spec.trial import Objective, TrialSpec


@dataclass(frozen=True)
class TrialResult:
    """A trial with what it reached. ``spec``: None where its parameters do not go together, so that it never ran."""

    trial: Trial
    spec: TrialSpec | None
    curve: Curve


@dataclass(frozen=True)
class SweepResults:
    """A sweep with its trials, the best first and those without an objective last.

    looks: all that the best trial reported, (step, values).
    """

    sweep: Sweep
    spec: SweepSpec
    objective: Objective
    results: list[TrialResult]
    best: TrialResult | None
    looks: list[tuple[int, dict[str, float]]]

    @property
    def scored(self) -> list[tuple[TrialResult, float]]:
        return [(r, r.trial.objective) for r in self.results if r.trial.objective is not None]


def read(session: Session, sweep_id: str) -> SweepResults:
    sweep = sweeps.get(session, sweep_id)
    spec = SweepSpec.model_validate(sweep.spec)
    goal = objective(spec)
    curves = reports.curves_of_sweep(session, sweep_id, goal.metric)
    count = max(1, sweep.trial_count)
    ranked = trials.ranked(session, sweep_id, goal.direction, limit=count)
    results = [TrialResult(t, resolved(spec, t), curves.get(t.id, [])) for t in ranked]
    best = next((r for r in results if r.trial.objective is not None and r.trial.state == "succeeded"), None)
    looks = [(row.step, row.values) for row in reports.of_trial(session, best.trial.id)] if best else []
    return SweepResults(sweep, spec, goal, results, best, looks)


def resolved(spec: SweepSpec, trial: Trial) -> TrialSpec | None:
    """All that trains a trial; None where its parameters do not go together."""
    return plan_trial(spec, trial.number, trial.params).spec


def leaderboard(found: SweepResults) -> dict[str, Any]:
    """The trials by rank, for leaderboard.json."""
    rows = [
        {
            "rank": rank, "trial": r.trial.number, "trial_id": r.trial.id, "state": r.trial.state,
            "objective": r.trial.objective, "best_step": r.trial.best_step, "steps": r.trial.step,
            "params": r.trial.params,
        }
        for rank, r in enumerate(found.results, 1)
    ]  # fmt: skip
    return {
        "sweep": found.sweep.id, "name": found.sweep.name, "state": found.sweep.state,
        "objective": found.objective.model_dump(), "trials": rows,
    }  # fmt: skip

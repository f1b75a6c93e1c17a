"""The results of a sweep, read from the database, for its leaderboard and its plots."""

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
    """A trial and what it reached.

    Attributes:
        trial: The trial's row.
        spec: What it trained; None if its parameters contradict each other, so that it never ran.
        curve: The objective over training, as (step, value).
    """

    trial: Trial
    spec: TrialSpec | None
    curve: Curve


@dataclass(frozen=True)
class SweepResults:
    """A sweep and its trials.

    Attributes:
        sweep: The sweep's row.
        spec: The sweep.
        objective: What it optimises.
        results: Its trials, best first; those without an objective come last.
        best: The best trial among those that succeeded.
        best_reports: All reports of that trial, as (step, values).
    """

    sweep: Sweep
    spec: SweepSpec
    objective: Objective
    results: list[TrialResult]
    best: TrialResult | None
    best_reports: list[tuple[int, dict[str, float]]]

    @property
    def scored(self) -> list[tuple[TrialResult, float]]:
        """The trials that have an objective, each with it, best first."""
        return [(r, r.trial.objective) for r in self.results if r.trial.objective is not None]


def read(session: Session, sweep_id: str) -> SweepResults:
    """Return the results of a sweep."""
    sweep = sweeps.get(session, sweep_id)
    spec = SweepSpec.model_validate(sweep.spec)
    goal = objective(spec)
    curves = reports.curves_of_sweep(session, sweep_id, goal.metric)
    count = max(1, sweep.trial_count)
    ranked = trials.ranked(session, sweep_id, goal.direction, limit=count)
    results = [TrialResult(t, resolved(spec, t), curves.get(t.id, [])) for t in ranked]
    best = next((r for r in results if r.trial.objective is not None and r.trial.state == "succeeded"), None)
    best_reports = [(row.step, row.values) for row in reports.of_trial(session, best.trial.id)] if best else []
    return SweepResults(sweep, spec, goal, results, best, best_reports)


def resolved(spec: SweepSpec, trial: Trial) -> TrialSpec | None:
    """Return what a trial trains, or None if its parameters contradict each other."""
    return plan_trial(spec, trial.number, trial.params).spec


def leaderboard(found: SweepResults) -> dict[str, Any]:
    """Return the content of leaderboard.json: the trials by rank."""
    rows = [
        {
            "rank": rank,
            "trial": r.trial.number,
            "trial_id": r.trial.id,
            "state": r.trial.state,
            "objective": r.trial.objective,
            "best_step": r.trial.best_step,
            "steps": r.trial.step,
            "params": r.trial.params,
        }
        for rank, r in enumerate(found.results, 1)
    ]
    return {
        "sweep": found.sweep.id,
        "name": found.sweep.name,
        "state": found.sweep.state,
        "objective": found.objective.model_dump(),
        "trials": rows,
    }

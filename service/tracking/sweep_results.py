"""A sweep's trials, ranked by the objective, as the leaderboard reads them from the database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from service.store import checkpoints, points, reports, sweeps, trials
from service.store.tables import Sweep, Trial, TrialReport
from workers.spec.expand import objective, plan_trial
from workers.spec.point_results import PointResult, ranked_points
from workers.spec.ranking import has_result
from workers.spec.sweep import SweepSpec
from workers.spec.trial import Objective, TrialSpec


@dataclass(frozen=True)
class TrialResult:
    """A trial of a sweep.

    Attributes:
        trial: The trial's row, with its state and its best objective.
        sweep_spec: The sweep's document.
    """

    trial: Trial
    sweep_spec: SweepSpec

    @property
    def spec(self) -> TrialSpec | None:
        """The task, model and training of the trial; None if it cannot be trained, so that it never ran."""
        return resolved(self.sweep_spec, self.trial)

    @property
    def has_result(self) -> bool:
        """Whether the trial's objective counts."""
        return has_result(self.trial.state, self.trial.objective)


@dataclass(frozen=True)
class SweepResults:
    """A sweep and its trials, ranked.

    Attributes:
        sweep: The sweep's row.
        spec: The sweep's document.
        objective: The metric that the sweep optimises, and whether it is minimised or maximised.
        results: The trials in every state, in the order of ``workers.spec.ranking``: the best first, those without a
            result last.
        best: The first of them, or with ``repeats`` the best trial of the best point, as ``store.points.best_trial``
            returns it; None if no trial, or no point, has a result.
        best_reports: All reports of ``best``, as (step, metrics by name) in order of step.
        best_told: The reports of ``best`` at the step of its best checkpoint, and its last one.
        best_checkpoint: The folder of the best checkpoint of ``best``; None if there is none.
        points: The points of a sweep with ``repeats``, the best first, those without a result last; empty without.
    """

    sweep: Sweep
    spec: SweepSpec
    objective: Objective
    results: list[TrialResult]
    best: TrialResult | None
    best_reports: list[tuple[int, dict[str, float]]]
    best_told: list[TrialReport]
    best_checkpoint: Path | None
    points: list[PointResult]

    @property
    def scored(self) -> list[tuple[TrialResult, float]]:
        """The trials that have a result, each with its objective, best first."""
        return [(r, r.trial.objective) for r in self.results if r.trial.objective is not None and r.has_result]


def read(session: Session, sweep_id: str) -> SweepResults:
    """Read a sweep and its trials, ranked by the objective.

    Raises:
        NotFound: If there is no such sweep.
        pydantic.ValidationError: If the sweep's stored document is not valid in this version.
    """
    sweep = sweeps.get(session, sweep_id)
    spec = SweepSpec.model_validate(sweep.spec)
    goal = objective(spec)
    count = max(1, sweep.trial_count)
    ranked = trials.ranked(session, sweep_id, goal.direction, limit=count)
    results = [TrialResult(t, spec) for t in ranked]
    by_point = ranked_points(points.of_sweep(session, sweep), goal.direction) if spec.repeats > 1 else []
    first = points.best_trial(session, sweep)
    best = next((result for result in results if first is not None and result.trial.id == first.id), None)
    told = reports.of_trial(session, best.trial.id) if best else []
    best_reports = [(row.step, row.values) for row in told]
    best_told = [row for row in told if best and (row.step == best.trial.best_step or row is told[-1])]
    checkpoint = checkpoints.find(session, best.trial.id, "best") if best else None
    folder = Path(checkpoint.path) if checkpoint else None
    return SweepResults(sweep, spec, goal, results, best, best_reports, best_told, folder, by_point)


def resolved(spec: SweepSpec, trial: Trial) -> TrialSpec | None:
    """Return the task, model and training of a trial; None if it cannot be trained, as its swept values do not fit."""
    return plan_trial(spec, trial.number, trial.params).spec


def leaderboard(found: SweepResults) -> dict[str, Any]:
    """Return the content of leaderboard.json: all trials, also failed ones, with their ranks from 1, best first.

    Of a sweep with ``repeats`` it has all points too, each with the numbers of its trials.
    """
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
    board = {
        "sweep": found.sweep.id,
        "name": found.sweep.name,
        "state": found.sweep.state,
        "objective": found.objective.model_dump(),
        "trials": rows,
    }
    if found.points:
        board["points"] = [
            {
                "rank": rank,
                "point": point.number,
                "objective": point.objective,
                **point.summary._asdict(),
                "reason": point.missing,
                "trials": [repeat.number for repeat in point.repeats],
            }
            for rank, point in enumerate(found.points, 1)
        ]
    return board

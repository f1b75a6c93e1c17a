"""Turn the rows of sweeps and trials into the documents with which the API answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import Session

from service.api import dry_run, schemas
from service.settings import ApiSettings
from service.states import SWEEP_ENDED, TRIAL_ENDED
from service.store import checkpoints, components, projections, trials
from service.store.tables import Projection, Sweep, Trial
from workers.spec.advice import warnings as warnings_of
from workers.spec.expand import objective, points_of
from workers.spec.sweep import SweepSpec

TRAINING = "?workflowType=machine_learning"
"""The query of a run's address that makes MLflow show its training runs; without it MLflow opens its GenAI side."""

_SHOWN = ("id", "name", "state", "reason", "created_at", "started_at", "ended_at")
_TRIAL = tuple(name for name in schemas.TrialView.model_fields if name != "links")


def sweep(session: Session, row: Sweep, settings: ApiSettings) -> schemas.SweepView:
    """Return one sweep in full. While it has not ended, its warnings say which resources no node has."""
    spec = SweepSpec.model_validate(row.spec)
    best = trials.best(session, row.id, objective(spec).direction)
    run = projections.get(session, row.id)
    warnings = warnings_of(spec)
    if row.state not in SWEEP_ENDED:
        warnings += dry_run.no_room(spec, components.nodes(session))
    return schemas.SweepView(
        **_summary(session, row, spec, trials.tally(session, [row.id])[row.id]),
        best=trial(best) if best else None,
        mlflow_url=mlflow_url(settings, run) if run else None,
        mlflow_lacks=projections.lacks_of_sweep(session, row.id),
        checkpoint_bytes=checkpoints.bytes_of_sweeps(session, [row.id]).get(row.id, 0),
        warnings=[schemas.Advice(**warning.as_dict()) for warning in warnings],
        spec=row.spec,
    )


def sweep_list(session: Session, rows: Sequence[Sweep]) -> list[schemas.SweepSummary]:
    """Return sweeps for a list, without their specs and best trials."""
    tallies = trials.tally(session, [row.id for row in rows])
    shown = [_summary(session, row, SweepSpec.model_validate(row.spec), tallies[row.id]) for row in rows]
    return [schemas.SweepSummary(**summary) for summary in shown]


def trial(row: Trial) -> schemas.TrialView:
    """Return one trial as the API shows it, with the paths of its metrics, checkpoint, model and logs."""
    base = f"/v1/trials/{row.id}"
    links = {"self": base} | {name: f"{base}/{name}" for name in ("metrics", "checkpoint", "model", "logs")}
    return schemas.TrialView(**{name: getattr(row, name) for name in _TRIAL}, links=links)


def mlflow_url(settings: ApiSettings, run: Projection) -> str:
    """Return the address of a run's page, as a browser reaches it."""
    return f"{settings.mlflow_public_url.rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.run_id}{TRAINING}"


def _summary(session: Session, row: Sweep, spec: SweepSpec, tally: dict[str, tuple[int, int]]) -> dict[str, Any]:
    base = f"/v1/sweeps/{row.id}"
    counts = {state: count for state, (count, _) in tally.items()}
    unmade = "cancelled" if row.state in SWEEP_ENDED else "waiting"
    counts[unmade] = counts.get(unmade, 0) + row.trial_count - sum(counts.values())
    return {name: getattr(row, name) for name in _SHOWN} | {
        "trials": schemas.Counts(total=row.trial_count, **counts),
        "progress": _progress(session, row, spec, tally),
        "objective": schemas.ObjectiveView(**objective(spec).model_dump()),
        "links": {"self": base} | {name: f"{base}/{name}" for name in ("trials", "events", "report", "data")},
    }


def _progress(session: Session, row: Sweep, spec: SweepSpec, tally: dict[str, tuple[int, int]]) -> schemas.Progress:
    done = sum(steps for _, steps in tally.values())
    ended = [(count, steps) for state, (count, steps) in tally.items() if state in TRIAL_ENDED]
    walked = sum(steps for _, steps in ended)
    if row.state in SWEEP_ENDED:
        left = 0
    elif "training.steps" in spec.space:
        over = trials.ended_numbers(session, row.id)
        left = sum(
            steps for number, steps in enumerate(_planned_steps(row.id, spec.model_dump_json())) if number not in over
        )
    else:
        left = (row.trial_count - sum(count for count, _ in ended)) * spec.training.steps
    return schemas.Progress(done=done, total=walked + left)


@lru_cache(maxsize=64)
def _planned_steps(_sweep_id: str, spec: str) -> list[int]:
    """Return the number of steps of each trial in order of number, for a sweep with ``training.steps`` in its space."""
    return [int(params["training.steps"]) for params in points_of(SweepSpec.model_validate_json(spec))]

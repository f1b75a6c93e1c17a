"""The report of a sweep: its best trials, and the objective over the paper's two numbers, reflectors and margin."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.api import presenters, schemas
from service.states import SWEEP_ENDED
from service.store import trials
from service.store.tables import Sweep, Trial
from workers.errors import FieldError
from workers.spec.data_warnings import data_warnings, result_warnings
from workers.spec.expand import objective, tasks_of
from workers.spec.sweep import SweepSpec
from workers.spec.trial import Objective

LEADERS = 20
MAX_AXIS = 16


def of(session: Session, sweep: Sweep) -> schemas.SweepReport:
    """Return the sweep's best trials, its objective by reflectors and margin, and warnings, as far as it has them.

    Trials without an objective and failed trials are left out.
    """
    spec = SweepSpec.model_validate(sweep.spec)
    goal = objective(spec)
    rows = trials.ranked(session, sweep.id, goal.direction, limit=sweep.trial_count)
    rows = [row for row in rows if row.objective is not None and row.state != "failed"]
    places = [place for row in rows if (place := _place(spec, row)) is not None]
    return schemas.SweepReport(
        sweep_id=sweep.id,
        objective=schemas.ObjectiveView(**goal.model_dump()),
        leaderboard=[presenters.trial(row) for row in rows[:LEADERS]],
        grid=_grid(places, goal),
        places=places,
        warnings=[schemas.Advice(**warning.as_dict()) for warning in _warnings(spec, sweep, rows[:1])],
    )


def _warnings(spec: SweepSpec, sweep: Sweep, best: list[Trial]) -> list[FieldError]:
    """Return the warnings about the sweep's data and, once it has ended, about its best trial."""
    found = data_warnings(spec, tasks_of(spec))
    if sweep.state in SWEEP_ENDED and best and best[0].objective is not None:
        found += result_warnings(spec, best[0].params, best[0].objective)
    return found


def _place(spec: SweepSpec, row: Trial) -> schemas.PlanePoint | None:
    """Return the trial's numbers of reflectors, margin and objective.

    It is None if the trial has no objective, or if its kind of model has no margin.
    """
    swept = {path.removeprefix("model."): value for path, value in row.params.items() if path.startswith("model.")}
    model = spec.model.model_copy(update=swept)
    if not model.spectral or row.objective is None:
        return None
    return schemas.PlanePoint(
        trial_id=row.id,
        number=row.number,
        reflectors=model.reflector_counts,
        margin=model.band_margin,
        objective=row.objective,
    )


def _grid(places: list[schemas.PlanePoint], goal: Objective) -> schemas.Grid | None:
    reflectors = sorted({place.reflectors for place in places})
    margins = sorted({place.margin for place in places})
    if not places or max(len(reflectors), len(margins)) > MAX_AXIS:
        return None
    found: dict[tuple[tuple[int, int], float], list[float]] = {}
    for place in places:
        found.setdefault((place.reflectors, place.margin), []).append(place.objective)
    cells = [[_cell(found.get((count, margin), []), goal) for margin in margins] for count in reflectors]
    return schemas.Grid(reflectors=reflectors, margins=margins, cells=cells)


def _cell(values: list[float], goal: Objective) -> schemas.GridCell | None:
    if not values:
        return None
    best = max(values) if goal.direction == "maximize" else min(values)
    return schemas.GridCell(count=len(values), best=best, mean=sum(values) / len(values))

"""The report of a sweep as a document: best trials, reflectors and margin, and the parts that are asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any, Literal

from service.api import points, presenters
from service.report import plane
from service.report.analysis import Analysis
from service.report.plane import Place, PlaneGrid
from service.report.record import SweepRecord, TrialRow
from service.states import SWEEP_ENDED
from service.store import sweep_record, sweeps, trials
from service.store.database import Database
from service.store.sweep_summary import advice_on
from service.store.tables import Sweep
from workers.spec.data_warnings import result_warnings

LEADERS = 20
ReportPart = Literal["importance", "learning_curves", "best_so_far", "parallel_coordinates", "pareto", "diagnostics"]
"""The parts that a report has only if they are asked for, because they take longer."""
PARTS: tuple[ReportPart, ...] = ReportPart.__args__  # type: ignore[attr-defined]  # of every Literal


def of(
    database: Database, sweep_id: str, wanted: Collection[ReportPart] = (), trial: int | None = None
) -> dict[str, Any]:
    """Return a ``SweepReport``: best trials, the objective by reflectors and margin, warnings, and the wanted parts.

    Trials without a result (``workers.spec.ranking``) are not among the best ones. No part is read or computed inside
    of a transaction that another part needs.

    Args:
        database: The database.
        sweep_id: The sweep.
        wanted: The further parts; the others are None.
        trial: The number of the trial whose diagnostics are shown; None for the best one.

    Raises:
        NotFound: There is no such sweep, or no such trial.
    """
    with database.read() as session:
        sweep = sweeps.get(session, sweep_id)
        record = sweep_record.read(session, sweep, with_packs="best_so_far" in wanted, with_values="pareto" in wanted)
        leaders = trials.of_numbers(session, sweep.id, [row.number for row in record.scored[:LEADERS]])
        best_trials = presenters.trials_of(session, sweep, [leaders[row.number] for row in record.scored[:LEADERS]])
        best_points = points.leaders(session, sweep, LEADERS)
    model = plane.model_of(sweep.spec)
    placed = plane.placed(model, record.ranked) if model else []
    grid = plane.grid_of(placed, record.objective.direction)
    analysis = sweep_record.analysis_of(database, record)
    return {
        "sweep_id": sweep.id,
        "objective": presenters.objective(sweep),
        "objectives": [one.model_dump() for one in record.objectives],
        "leaderboard": best_trials,
        "points": best_points,
        "grid": _grid(grid) if grid and _tells_something(grid) else None,
        "places": [_place(row, place) for row, place in placed if row.has_result],
        "warnings": warnings_of(sweep, record),
        **{part: _part(analysis, part, trial) if part in wanted else None for part in PARTS},
    }


def row_of(record: SweepRecord, number: int | None) -> TrialRow | None:
    """Return the trial with a number, None for None; raise NotFound if the sweep has no such trial."""
    if number is None:
        return None
    row = record.row(number)
    if row is None:
        raise sweep_record.no_trial(record.sweep_id, number)
    return row


def warnings_of(sweep: Sweep, record: SweepRecord) -> list[dict[str, Any]]:
    """Return the warnings about the sweep's data and, once it has ended, about its best trial."""
    advice, best = sweep.advice, record.best
    if advice is None:
        advice = advice_on(record.spec) if record.spec else {"data": []}
    found = list(advice["data"])
    if record.spec and sweep.state in SWEEP_ENDED and best is not None:
        found += [warning.as_dict() for warning in result_warnings(record.spec, best.params, best.value)]
    return found


def _part(analysis: Analysis, part: ReportPart, trial: int | None) -> Any:
    if part == "diagnostics":
        row = row_of(analysis.record, trial)
        return analysis.best_diagnostics if row is None else analysis.diagnostics(row)
    return getattr(analysis, "parallel" if part == "parallel_coordinates" else part)


def _place(row: TrialRow, place: Place) -> dict[str, Any]:
    """Return a ``PlanePoint``."""
    own = {"trial_id": row.trial_id, "number": row.number}
    return {**own, "reflectors": place[0], "margin": place[1], "objective": row.value}


def _tells_something(grid: PlaneGrid) -> bool:
    """Return whether a trial of the grid has a result or has failed."""
    return any(cell.results or cell.failed for row in grid.cells for cell in row)


def _grid(grid: PlaneGrid) -> dict[str, Any]:
    """Return a ``Grid``."""
    cells = [
        [{"count": c.results, "best": c.best, "mean": c.mean} if c.results else None for c in row] for row in grid.cells
    ]
    return {
        "reflectors": grid.reflectors,
        "margins": grid.margins,
        "cells": cells,
        "details": [[asdict(cell) for cell in row] for row in grid.cells],
        "scale": asdict(grid.scale),
    }

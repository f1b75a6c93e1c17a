"""The paper's two numbers of each trial, reflectors and margin, and the objective as a table over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from service.report.record import SweepRecord, TrialRow
from service.report.repeated_points import spread_of
from service.report.robust_scale import RobustScale, scale_of
from workers.spec.model import ModelSpec

MAX_AXIS = 16
"""The most rows and columns of the table."""

CellState = Literal["result", "not_finite", "failed", "cancelled", "open", "missing"]
"""What a cell of the table shows: results, or why there is none.

``not_finite``: the numbers of its trials became NaN or infinite; ``failed``: some failed for another reason;
``open``: some have not ended; ``missing``: there is no trial."""
REASONS: dict[CellState, str] = {
    "not_finite": "NaN",
    "failed": "failed",
    "cancelled": "cancelled",
    "open": "open",
    "missing": "no trial",
}
"""What is written into a cell without a result."""

Place = tuple[tuple[int, int], float]
"""The numbers of reflectors on the left and on the right, and the margin."""


@dataclass(frozen=True)
class PlaneCell:
    """The trials with one pair of reflector counts and one margin.

    Attributes:
        state: What there is to show.
        trials: How many trials there are.
        failed: How many of them failed, those whose numbers were not finite among them.
        not_finite: How many failed because their numbers became NaN or infinite.
        results: How many have a result.
        best: The best objective; None without a result.
        mean: The mean of the objectives; None without a result.
        sd: Their standard deviation; None for fewer than two results.
        off_scale: Whether the best objective is so far from the others that ``PlaneGrid.scale`` leaves it out.
    """

    state: CellState
    trials: int
    failed: int
    not_finite: int
    results: int
    best: float | None
    mean: float | None
    sd: float | None
    off_scale: bool


@dataclass(frozen=True)
class PlaneGrid:
    """The objective as a table: a row for each pair of reflector counts, a column for each margin, both ascending.

    ``scale`` is the range of the best objectives without extremes.
    """

    reflectors: list[tuple[int, int]]
    margins: list[float]
    cells: list[list[PlaneCell]]
    scale: RobustScale


def places_of(record: SweepRecord) -> list[tuple[TrialRow, Place]]:
    """Return the trials that have a margin, the best first, each with its place.

    There are none for kinds of model that have no margin, nor for a model that this release cannot read.
    """
    if record.spec is None:
        return []
    return placed(record.spec.model, record.ranked)


def placed(base: ModelSpec, rows: Sequence[TrialRow]) -> list[tuple[TrialRow, Place]]:
    """Return the trials that have a margin, in their order, each with its place, for the model of their sweep."""
    known: dict[tuple[Any, ...], Place | None] = {}
    found = []
    for row in rows:
        swept = {path[6:]: value for path, value in row.params.items() if path.startswith("model.")}
        key = tuple(swept.items())
        if key not in known:
            model = base.model_copy(update=swept)
            known[key] = (model.reflector_counts, model.band_margin) if model.spectral else None
        place = known[key]
        if place is not None:
            found.append((row, place))
    return found


def model_of(document: dict[str, Any]) -> ModelSpec | None:
    """Return the model of a stored sweep document; None if this release cannot read it."""
    try:
        return ModelSpec.model_validate(document.get("model", {}))
    except ValidationError:
        return None


def grid_of(found: list[tuple[TrialRow, Place]], direction: str, most: int = MAX_AXIS) -> PlaneGrid | None:
    """Return the table; None if no trial has a place, or if there are more than ``most`` rows or columns."""
    reflectors = sorted({place[0] for _, place in found})
    margins = sorted({place[1] for _, place in found})
    if not found or max(len(reflectors), len(margins)) > most:
        return None
    by_place: dict[Place, list[TrialRow]] = {}
    for row, place in found:
        by_place.setdefault(place, []).append(row)
    better = max if direction == "maximize" else min
    bests = {
        place: better(row.value for row in rows if row.has_result)
        for place, rows in by_place.items()
        if any(row.has_result for row in rows)
    }
    scale = scale_of(bests.values())
    cells = [
        [_cell(by_place.get((count, margin), []), bests.get((count, margin)), scale) for margin in margins]
        for count in reflectors
    ]
    return PlaneGrid(reflectors, margins, cells, scale)


def _cell(rows: Sequence[TrialRow], best: float | None, scale: RobustScale) -> PlaneCell:
    failed = [row for row in rows if row.state == "failed"]
    not_finite = sum(row.diverged for row in failed)
    values = [row.value for row in rows if row.has_result]
    state: CellState = "missing"
    if values:
        state = "result"
    elif any(not row.has_ended for row in rows):
        state = "open"
    elif failed:
        state = "not_finite" if not_finite == len(failed) else "failed"
    elif rows:
        state = "cancelled"
    counted = spread_of(values) if values else None
    return PlaneCell(
        state,
        len(rows),
        len(failed),
        not_finite,
        len(values),
        best,
        counted.mean if counted else None,
        counted.sd if counted else None,
        best is not None and not scale.holds(best),
    )

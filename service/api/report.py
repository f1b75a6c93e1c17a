"""The report of a sweep: its best trials, and the objective over the paper's two numbers, reflectors and margin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from service.api import points, presenters
from service.states import SWEEP_ENDED
from service.store import trials
from service.store.sweep_summary import advice_on
from service.store.tables import Sweep
from service.store.trials import Result
from workers.spec.data_warnings import result_warnings
from workers.spec.model import ModelSpec

LEADERS = 20
MAX_AXIS = 16


def of(session: Session, sweep: Sweep) -> dict[str, Any]:
    """Return a ``SweepReport``: best trials, the objective by reflectors and margin, and warnings, if there are any.

    Trials without a result (``workers.spec.ranking``) are left out.
    """
    direction = presenters.direction(sweep)
    results = trials.results(session, sweep.id, direction)
    leaders = trials.of_numbers(session, sweep.id, [result.number for result in results[:LEADERS]])
    places = _places(sweep, results)
    return {
        "sweep_id": sweep.id,
        "objective": presenters.objective(sweep),
        "leaderboard": [presenters.trial(leaders[result.number]) for result in results[:LEADERS]],
        "points": points.leaders(session, sweep, LEADERS),
        "grid": _grid(places, max if direction == "maximize" else min),
        "places": places,
        "warnings": _warnings(sweep, results[:1]),
    }


def _warnings(sweep: Sweep, best: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the warnings about the sweep's data and, once it has ended, about its best trial."""
    spec = None
    advice = sweep.advice
    if advice is None or (sweep.state in SWEEP_ENDED and best):
        spec = presenters.spec_of(sweep)
    if advice is None:
        advice = advice_on(spec) if spec else {"data": []}
    found = list(advice["data"])
    if spec and sweep.state in SWEEP_ENDED and best:
        found += [warning.as_dict() for warning in result_warnings(spec, best[0].params, best[0].objective)]
    return found


def _places(sweep: Sweep, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return a ``PlanePoint`` for each trial: its numbers of reflectors, its margin and its objective.

    There are none for kinds of model that have no margin, nor for a model that this release cannot read.
    """
    try:
        base = ModelSpec.model_validate(sweep.spec.get("model", {}))
    except ValidationError:
        return []
    known: dict[tuple[Any, ...], tuple[tuple[int, int], float] | None] = {}
    found = []
    for number, params, objective in results:
        swept = {path[6:]: value for path, value in params.items() if path.startswith("model.")}
        key = tuple(swept.items())
        if key not in known:
            model = base.model_copy(update=swept)
            known[key] = (model.reflector_counts, model.band_margin) if model.spectral else None
        place = known[key]
        if place is not None:
            found.append(
                {
                    "trial_id": trials.id_of(sweep.id, number),
                    "number": number,
                    "reflectors": place[0],
                    "margin": place[1],
                    "objective": objective,
                }
            )
    return found


def _grid(places: list[dict[str, Any]], better: Callable[[list[float]], float]) -> dict[str, Any] | None:
    """Return a ``Grid``; None if there is nothing to show, or too much."""
    reflectors = sorted({place["reflectors"] for place in places})
    margins = sorted({place["margin"] for place in places})
    if not places or max(len(reflectors), len(margins)) > MAX_AXIS:
        return None
    found: dict[tuple[tuple[int, int], float], list[float]] = {}
    for place in places:
        found.setdefault((place["reflectors"], place["margin"]), []).append(place["objective"])
    cells = [[_cell(found.get((count, margin), []), better) for margin in margins] for count in reflectors]
    return {"reflectors": reflectors, "margins": margins, "cells": cells}


def _cell(values: list[float], better: Callable[[list[float]], float]) -> dict[str, Any] | None:
    return {"count": len(values), "best": better(values), "mean": sum(values) / len(values)} if values else None

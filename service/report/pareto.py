"""Several objectives: which trials no other one beats in all of them, and how much of the space they dominate."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.report.objective_values import objective_values
from service.report.record import SweepRecord, TrialRow
from service.report.robust_scale import scale_of
from service.report.thinning import thin

MAX_POINTS = 400
"""The most points of the hypervolume over time; a quarter of them with three objectives."""
ObjectivePoint = tuple[float, ...]
"""A trial's objectives, each turned so that the smaller is the better."""


@dataclass(frozen=True)
class ParetoTrial:
    """A trial with the values of all objectives."""

    number: int
    trial_id: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class ParetoFront:
    """The trade-off between several objectives.

    Attributes:
        metrics: The names of the objectives.
        directions: The better direction of each.
        front: The trials that no other one dominates, by the first objective. One trial dominates another if it is at
            least as good in all objectives and better in one.
        others: The other trials that have all values, by number.
        left_out: How many trials have a result and lack the value of a further objective.
        reference: The point up to which the hypervolume reaches: in each objective the worst value that is no extreme,
            and a tenth of the range more.
        hypervolume: The hypervolume after each trial that has all values, in the order in which trials ended, as
            (how many of them had ended, hypervolume). It is between 0 and 1: of the box between the best values of all
            trials and the reference, the share that the trials so far dominate.
    """

    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    front: list[ParetoTrial]
    others: list[ParetoTrial]
    left_out: int
    reference: tuple[float, ...]
    hypervolume: list[tuple[int, float]]


def pareto(record: SweepRecord) -> ParetoFront | None:
    """Return the Pareto front of a sweep with several objectives; None if it has one, or no trial has all values."""
    if len(record.objectives) < 2:
        return None
    found = objective_values(record)
    if not found:
        return None
    signs = [1.0 if one.direction == "minimize" else -1.0 for one in record.objectives]
    points = [tuple(sign * value for sign, value in zip(signs, values, strict=True)) for _, values in found]
    first = set(non_dominated(points))
    front = sorted(first, key=lambda place: points[place])
    ideal = [min(point[axis] for point in points) for axis in range(len(signs))]
    reference = [_reference([point[axis] for point in points]) for axis in range(len(signs))]
    trials = [ParetoTrial(row.number, row.trial_id, values) for row, values in found]
    return ParetoFront(
        metrics=tuple(one.metric for one in record.objectives),
        directions=tuple(one.direction for one in record.objectives),
        front=[trials[place] for place in front],
        others=[trials[place] for place in range(len(found)) if place not in first],
        left_out=len(record.scored) - len(found),
        reference=tuple(sign * value for sign, value in zip(signs, reference, strict=True)),
        hypervolume=_over_time([row for row, _ in found], points, ideal, reference),
    )


def _reference(values: Sequence[float]) -> float:
    scale = scale_of(values)
    return scale.high + (scale.high - scale.low) / 10


def _over_time(
    rows: Sequence[TrialRow], points: Sequence[ObjectivePoint], ideal: Sequence[float], reference: Sequence[float]
) -> list[tuple[int, float]]:
    """Return the hypervolume after each trial, as a share of the box from ``ideal`` to ``reference``."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i].ended_at is None, rows[i].ended_at or 0.0, rows[i].number))
    # a box whose sides are 1 has the volume 1, and no product of three sizes overflows
    sides = [far - near for near, far in zip(ideal, reference, strict=True)]
    shown = set(thin(range(1, len(order) + 1), MAX_POINTS if len(sides) == 2 else MAX_POINTS // 4))
    front: list[ObjectivePoint] = []
    found: list[tuple[int, float]] = []
    volume, is_old = 0.0, False
    for count, place in enumerate(order, 1):
        unit = tuple((value - near) / side for value, near, side in zip(points[place], ideal, sides, strict=True))
        if all(value < 1 for value in unit) and not any(_covers(other, unit) for other in front):
            front = [other for other in front if not _covers(unit, other)] + [unit]
            is_old = True
        if count in shown:
            volume = hypervolume(front, (1.0,) * len(unit)) if is_old else volume
            is_old = False
            found.append((count, volume))
    return found


def _covers(a: ObjectivePoint, b: ObjectivePoint) -> bool:
    """Return whether ``a`` is at least as good as ``b`` in every objective."""
    return all(x <= y for x, y in zip(a, b, strict=True))


def non_dominated(points: Sequence[ObjectivePoint]) -> list[int]:
    """Return the places of the points that no other one dominates, in order; equal points stay together.

    A point dominates another if it is at least as small in all coordinates, and smaller in one.
    """
    order = sorted(range(len(points)), key=lambda place: points[place])
    kept: list[int] = []
    front = np.empty((0, len(points[0]) if points else 0))
    for place in order:
        point = np.asarray(points[place])
        # in this order only earlier points can dominate
        covering = (front <= point).all(axis=1)
        if not bool((covering & (front < point).any(axis=1)).any()):
            kept.append(place)
            if not bool(covering.any()):
                front = np.vstack([front, point])
    return sorted(kept)


def hypervolume(points: Sequence[ObjectivePoint], reference: ObjectivePoint) -> float:
    """Return the volume that points dominate up to a reference, exactly, for one to three objectives.

    Every objective is minimised. In three dimensions the space is cut at each point's third coordinate, and the area
    of the staircase below the cut is kept up to date: O(n^2) for n points.

    Args:
        points: The points, in any order; those that do not lie below the reference in all coordinates add nothing.
        reference: The worst corner.

    Raises:
        ValueError: If there are more than three objectives.
    """
    inside = sorted({point for point in points if all(x < r for x, r in zip(point, reference, strict=True))})
    if len(reference) > 3:
        raise ValueError(f"the hypervolume of {len(reference)} objectives was asked for; at most 3 are possible")
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - inside[0][0]
    if len(reference) == 2:
        return _area(_staircase(inside), reference)
    volume = 0.0
    stairs: list[tuple[float, float]] = []
    by_third = sorted(inside, key=lambda point: point[2])
    for place, (x, y, z) in enumerate(by_third):
        _add_step(stairs, x, y)
        top = by_third[place + 1][2] if place + 1 < len(by_third) else reference[2]
        if top > z:
            volume += _area(stairs, reference) * (top - z)
    return volume


def _staircase(ordered: Sequence[ObjectivePoint]) -> list[tuple[float, float]]:
    stairs: list[tuple[float, float]] = []
    for x, y in ordered:
        if not stairs or y < stairs[-1][1]:
            stairs.append((x, y))
    return stairs


def _add_step(stairs: list[tuple[float, float]], x: float, y: float) -> None:
    """Add a point to a staircase, in place: ascending x, descending y, no point covered by another."""
    place = bisect_left(stairs, (x, y))
    if place and stairs[place - 1][1] <= y:
        return
    while place < len(stairs) and stairs[place][1] >= y:
        del stairs[place]
    insort(stairs, (x, y))


def _area(stairs: Sequence[tuple[float, float]], reference: ObjectivePoint) -> float:
    area, ceiling = 0.0, reference[1]
    for x, y in stairs:
        area += (reference[0] - x) * (ceiling - y)
        ceiling = y
    return area

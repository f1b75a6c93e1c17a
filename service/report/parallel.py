"""Parallel coordinates: one axis for each swept field and one for each objective, one line for each trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.report.record import SweepRecord, TrialRow, short
from service.report.robust_scale import RobustScale, scale_of
from workers.spec.search_space import Range

MAX_LINES = 2_000
"""The most trials that are drawn: the best ones, and of the others every k-th in the order of the leaderboard."""
MAX_TICKS = 12
"""The most values that an axis names."""


@dataclass(frozen=True)
class ParallelAxis:
    """One vertical axis.

    Attributes:
        name: The swept field, or the metric.
        log: Whether values are placed by their logarithm.
        ticks: The values that are named, as (height from 0 to 1, text).
        hidden: How many values of trials lie beyond the ends, and are drawn at the ends; 0 except for the objective.
    """

    name: str
    log: bool
    ticks: list[tuple[float, str]]
    hidden: int


@dataclass(frozen=True)
class ParallelLine:
    """One trial: its height from 0 to 1 on each axis, None where it lacks the field."""

    number: int
    heights: list[float | None]


@dataclass(frozen=True)
class ParallelPlot:
    """The axes, the objective last, and the trials with a result, best first.

    ``left_out`` is the number of trials with a result that are not among the lines.
    """

    axes: list[ParallelAxis]
    lines: list[ParallelLine]
    left_out: int


def parallel(record: SweepRecord) -> ParallelPlot:
    """Return the parallel coordinates of the trials with a result."""
    rows = _some(record.scored, MAX_LINES)
    paths = [path for path in record.paths if any(path in row.params for row in record.scored)]
    columns = [_field_axis(record, path, rows) for path in paths]
    scale = scale_of(row.value for row in record.scored)
    heights = [_height(scale, row.value) for row in rows]
    ticks = [(_height(scale, value), short(value)) for value in _spaced(scale)]
    columns.append((ParallelAxis(record.objective.metric, scale.log, ticks, scale.below + scale.above), list(heights)))
    lines = [ParallelLine(row.number, [column[1][i] for column in columns]) for i, row in enumerate(rows)]
    return ParallelPlot([axis for axis, _ in columns], lines, len(record.scored) - len(rows))


def _some(rows: Sequence[TrialRow], most: int) -> list[TrialRow]:
    if len(rows) <= most:
        return list(rows)
    first = most // 2
    rest = rows[first:]
    stride = math.ceil(len(rest) / (most - first))
    return [*rows[:first], *rest[::stride]]


def _field_axis(record: SweepRecord, path: str, rows: Sequence[TrialRow]) -> tuple[ParallelAxis, list[float | None]]:
    values = [row.params.get(path) for row in rows]
    present = [value for value in values if value is not None]
    dimension = record.spec.space.get(path) if record.spec else None
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in present)
    distinct: list[Any] = list({repr(v): v for v in present}.values())
    if numeric and isinstance(dimension, Range):
        ends = [float(v) for v in (*present, dimension.low, dimension.high)]
        log = dimension.log and min(ends) > 0
        scale = RobustScale(min(ends), max(ends), log, 0, 0)
        named = distinct if len(distinct) <= MAX_TICKS // 2 else _spaced(scale)
        axis = ParallelAxis(path, log, [(_height(scale, v), short(v)) for v in sorted(named)], 0)
        return axis, [None if v is None else _height(scale, float(v)) for v in values]
    distinct.sort(key=(lambda v: (0, float(v), "")) if numeric else (lambda v: (1, 0.0, str(v))))
    last = max(1, len(distinct) - 1)
    places = {repr(v): (place / last if len(distinct) > 1 else 0.5) for place, v in enumerate(distinct)}
    stride = math.ceil(len(distinct) / MAX_TICKS)
    ticks = [(places[repr(v)], short(v)) for v in distinct[::stride]]
    return ParallelAxis(path, False, ticks, 0), [None if v is None else places[repr(v)] for v in values]


def _height(scale: RobustScale, value: float) -> float:
    """Return where a value lies between the ends of a scale, from 0 to 1; values beyond them lie at the ends."""
    low, high, value = scale.low, scale.high, scale.clip(value)
    if scale.log:
        low, high, value = math.log10(low), math.log10(high), math.log10(value)
    return (value - low) / (high - low) if high > low else 0.5


def _spaced(scale: RobustScale) -> list[float]:
    if scale.log:
        low, high = math.log10(scale.low), math.log10(scale.high)
        return [10 ** (low + (high - low) * i / 4) for i in range(5)]
    return [scale.low + (scale.high - scale.low) * i / 4 for i in range(5)]

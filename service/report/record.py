"""What a report is made of: a sweep and its trials as plain values, which the store reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from service.states import TRIAL_ENDED
from workers.protocol import diverged_at
from workers.spec.point_results import PointResult, RepeatResult, best_point, grouped
from workers.spec.ranking import has_result, rank_key
from workers.spec.sweep import SweepSpec
from workers.spec.trial import Objective

SECONDS = "time/wall_s"
"""The metric that holds a trial's seconds of training so far, in every report."""
SEED = "training.seed"
"""The dimension in which repeats of a point differ."""


class TrialRow(NamedTuple):
    """One trial.

    Attributes:
        number: Its place in the sweep, from 0.
        trial_id: Its id.
        params: Its values of the swept fields, by path; a dimension with a condition may be missing.
        state: Its state.
        objective: The objective at its best checkpoint; None if there is none.
        best_step: The step of that checkpoint.
        step: The highest step that was reported.
        reason: Why it is in its state.
        started_at: When it began, in seconds since 1970; None if it has not.
        ended_at: When it ended, in seconds since 1970; None if it has not.
        at_best: The metrics that were reported at ``best_step``, by name; empty if they were not read.
    """

    number: int
    trial_id: str
    params: Mapping[str, Any]
    state: str
    objective: float | None
    best_step: int | None
    step: int
    reason: str | None
    started_at: float | None
    ended_at: float | None
    at_best: Mapping[str, float] = {}

    @property
    def has_result(self) -> bool:
        """Whether its objective counts (``workers.spec.ranking``)."""
        return has_result(self.state, self.objective)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self.state in TRIAL_ENDED

    @property
    def diverged(self) -> bool:
        """Whether its numbers became NaN or infinite, so that it failed, or its objective is not finite."""
        not_finite = self.objective is not None and not math.isfinite(self.objective)
        return not_finite or diverged_at(self.reason) is not None

    @property
    def value(self) -> float:
        """Its objective, of a trial that has a result."""
        assert self.objective is not None
        return self.objective


class PackUse(NamedTuple):
    """How long a pack has held its devices: from and until when, in seconds since 1970, and how many of them."""

    start: float
    end: float
    gpus: float
    cpus: float


@dataclass(frozen=True)
class SweepRecord:
    """A sweep and its trials.

    Attributes:
        sweep_id: The sweep's id.
        name: The name that its user gave it.
        state: Its state.
        objectives: The objective, followed by further ones.
        spec: Its document; None if an earlier release stored one that this release cannot read.
        rows: Its trials, by number.
        packs: What its packs have used.
    """

    sweep_id: str
    name: str
    state: str
    objectives: tuple[Objective, ...]
    spec: SweepSpec | None
    rows: Sequence[TrialRow]
    packs: Sequence[PackUse] = ()

    @property
    def objective(self) -> Objective:
        """The metric by which trials are ranked, and its direction."""
        return self.objectives[0]

    @cached_property
    def ranked(self) -> list[TrialRow]:
        """All trials, the best first, those without a result last."""
        direction = self.objective.direction
        return sorted(self.rows, key=lambda r: rank_key(r.state, r.objective, r.number, direction))

    @cached_property
    def scored(self) -> list[TrialRow]:
        """The trials that have a result, the best first."""
        return [row for row in self.ranked if row.has_result]

    @cached_property
    def best_point(self) -> PointResult | None:
        """The best point of a sweep with ``repeats``; None if no point has a result, and without repeats."""
        if self.spec is None or self.spec.repeats == 1:
            return None
        own = (RepeatResult(row.number, row.state, row.objective) for row in self.rows)
        points = grouped(own, self.spec.repeats, self.spec.objective.statistic)
        return best_point(points, self.objective.direction)

    @property
    def best(self) -> TrialRow | None:
        """The best trial, with ``repeats`` that of the best point; None if no trial, or no point, has a result."""
        if self.spec is None or self.spec.repeats == 1:
            return self.scored[0] if self.scored else None
        found = self.best_point.best_repeat(self.objective.direction) if self.best_point else None
        return self.row(found.number) if found else None

    @cached_property
    def paths(self) -> list[str]:
        """The paths of the swept fields, in the order of the document, then any others that trials have."""
        known = dict.fromkeys(self.spec.space if self.spec else ())
        for row in self.rows:
            if not row.params.keys() <= known.keys():
                known |= dict.fromkeys(row.params)
        return list(known)

    def row(self, number: int) -> TrialRow | None:
        """Return the trial with a number; None if there is none."""
        near = self.rows[number] if 0 <= number < len(self.rows) else None
        if near is not None and near.number == number:
            return near
        return next((row for row in self.rows if row.number == number), None)


def short(value: Any) -> str:
    """Return a value of a field as labels show it: numbers with at most four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def label_of(row: TrialRow, most: int = 60) -> str:
    """Return a trial's number and swept values, as in ``#3: margin 0.01, reflectors 8``, at most ``most`` letters."""
    params = ", ".join(f"{path.split('.')[-1]} {short(value)}" for path, value in row.params.items())
    text = f"#{row.number}: {params}" if params else f"#{row.number}"
    return text if len(text) <= most else f"{text[: most - 1]}…"

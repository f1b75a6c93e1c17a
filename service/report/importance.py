"""How much each swept field matters for being among the best trials: PED-ANOVA, computed by Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.report.record import SEED, SweepRecord, TrialRow
from workers.spec.search_space import Range, SearchSpace, Values

BEST_SHARE = 0.1
"""PED-ANOVA tells what the best tenth of the trials have in common,"""
LEAST_BEST = 3
"""but at least this many of them: for fewer trials, a larger share."""
LEAST_TRIALS = 8
"""With fewer results there is nothing to tell."""


@dataclass(frozen=True)
class FieldImportance:
    """How much one swept field matters.

    Attributes:
        path: The field.
        share: Its share of all importance, from 0 to 1.
        trials: How many of the results have the field; fewer than all if it has a condition.
    """

    path: str
    share: float
    trials: int


@dataclass(frozen=True)
class Importance:
    """How much the swept fields matter for being among the best trials.

    Attributes:
        fields: The fields that could be judged, the most important first; their shares add up to 1, unless the list is
            empty.
        trials: How many results were used.
        best: How many of them count as the best ones.
        notes: What was left out and why, and what else a reader should know, in sentences.
    """

    fields: list[FieldImportance]
    trials: int
    best: int
    notes: list[str]


def importance(record: SweepRecord) -> Importance:
    """Return the importance of every swept field for being among the best trials by the objective.

    PED-ANOVA (Watanabe et al., IJCAI 2023; with conditions, KDD 2026) compares where the best trials lie in each field
    with where all trials lie: the more they differ, the more the field matters. It looks at one field at a time, and
    says nothing about fields that matter only together. Only trials with a result count.
    """
    rows = record.scored
    paths, notes = _judged(record, rows)
    without = len(record.rows) - len(rows)
    if without:
        notes.append(f"{without} of {len(record.rows)} trials have no result and are left out.")
    if len(rows) < LEAST_TRIALS:
        notes.insert(0, f"{len(rows)} trials with a result are too few to tell; at least {LEAST_TRIALS} are needed.")
        return Importance([], len(rows), 0, notes)
    if len({row.value for row in rows}) == 1:
        notes.insert(0, "All results are equal, so no field matters.")
        return Importance([], len(rows), 0, notes)
    if not paths:
        notes.insert(0, "No field has more than one value among the results.")
        return Importance([], len(rows), 0, notes)
    quantile = min(0.5, max(BEST_SHARE, LEAST_BEST / len(rows)))
    shares, best = _ped_anova(record, rows, paths, quantile)
    if best == len(rows):
        notes.insert(0, "So many results are equal that the best ones cannot be told from the others.")
        return Importance([], len(rows), 0, notes)
    total = math.fsum(shares.values())
    if total == 0:
        notes.insert(0, "The best trials lie where all trials lie: no field matters.")
        return Importance([], len(rows), best, notes)
    found = [
        FieldImportance(path, shares[path] / total, sum(path in row.params for row in rows))
        for path in sorted(paths, key=lambda path: (-shares[path], path))
    ]
    return Importance(found, len(rows), best, notes)


def _judged(record: SweepRecord, rows: Sequence[TrialRow]) -> tuple[list[str], list[str]]:
    """Return the paths that can be judged, and sentences about the others and about conditions."""
    paths, notes = [], []
    for path in record.paths:
        having = [row for row in rows if path in row.params]
        values = {repr(row.params[path]) for row in having}
        if path == SEED:
            notes.append(f"{path} is left out: it makes repeats.")
        elif not having:
            notes.append(f"{path} is left out: no trial with a result has it.")
        elif len(values) == 1:
            notes.append(f"{path} is left out: it has one value in all results.")
        elif len(having) < 4:
            notes.append(f"{path} is left out: only {len(having)} results have it.")
        else:
            if len(having) < len(rows):
                notes.append(f"{path} exists in {len(having)} of {len(rows)} results, and is judged by these.")
            paths.append(path)
    return paths, notes


def _ped_anova(
    record: SweepRecord, rows: Sequence[TrialRow], paths: Sequence[str], quantile: float
) -> tuple[dict[str, float], int]:
    """Return each path's importance, and how many trials count as the best."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    space = dict(record.spec.space) if record.spec else {}
    axes = {path: FieldAxis(path, rows, space) for path in paths}
    sign = 1.0 if record.objective.direction == "minimize" else -1.0
    with warnings.catch_warnings(action="ignore"):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="minimize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    value=sign * row.value,
                    params={path: axis.code(row.params[path]) for path, axis in axes.items() if path in row.params},
                    distributions={path: axis.distribution for path, axis in axes.items() if path in row.params},
                )
                for row in rows
            ]
        )
        shares = PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study, list(paths))
    ordered = sorted(sign * row.value for row in rows)
    cut = ordered[math.ceil(quantile * len(ordered)) - 1]
    return {path: float(share) for path, share in shares.items()}, sum(value <= cut for value in ordered)


class FieldAxis:
    """One swept field as an axis: a distribution of Optuna, and numbers for its values.

    Numbers are on a line, also those of a list, so that neighbours are near each other. Text and booleans have places
    in the order of the list. The line covers the values of the trials where they leave the range of the document.
    """

    def __init__(self, path: str, rows: Sequence[TrialRow], space: SearchSpace | Mapping[str, Any]) -> None:
        from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

        dimension = space.get(path)
        found = [row.params[path] for row in rows if path in row.params]
        self.places: dict[str, int] | None = None
        self.values: list[Any] = []
        listed = list(dimension.values) if isinstance(dimension, Values) else []
        ranged = isinstance(dimension, Range) and all(_is_number(value) for value in found)
        if not ranged:
            known = {repr(value): value for value in [*listed, *found]}
            numeric = all(_is_number(value) for value in known.values())
            self.values = sorted(known.values(), key=float) if numeric else list(known.values())
            self.places = {repr(value): place for place, value in enumerate(self.values)}
        self.distribution: BaseDistribution
        if self.places is not None:
            self.distribution = IntDistribution(0, max(len(self.values) - 1, 0))
        else:
            assert isinstance(dimension, Range)
            low = min([float(dimension.low), *map(float, found)])
            high = max([float(dimension.high), *map(float, found)])
            self.distribution = FloatDistribution(low, high, log=dimension.log and low > 0)

    def code(self, value: Any) -> float | int:
        """Return a value as a number on the axis."""
        return float(value) if self.places is None else self.places[repr(value)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

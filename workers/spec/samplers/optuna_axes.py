"""Dimensions of a space as Optuna's distributions, and their values as Optuna's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from workers.spec.point_rules import is_listed
from workers.spec.search_space import Params, Range, Scalar, SearchSpace, Values


class OptunaAxes:
    """Translate points of a space to Optuna's and back.

    A list of numbers, and a range with a step, become positions in the order of their values, so that a sampler knows
    which values are neighbours. A list of text or booleans becomes a choice among positions.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._lists = {path: _ordered(one) for path, one in space.items() if isinstance(one, Values)}
        self.distributions: dict[str, BaseDistribution] = {path: self._distribution(path) for path in space}
        self.groups: dict[str, dict[str, BaseDistribution]] = {}
        """The dimensions with more than one value, in groups of those that have the same condition."""
        for path, distribution in self.distributions.items():
            if not distribution.single():
                self.groups.setdefault(_condition(space[path]), {})[path] = distribution

    def group_of(self, path: str) -> dict[str, BaseDistribution]:
        """Return the group that a dimension with more than one value belongs to."""
        return self.groups[_condition(self._space[path])]

    def encode(self, point: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return a point with Optuna's values."""
        return {path: self._code(path, value) for path, value in point.items()}

    def completed(self, point: Mapping[str, Scalar], value: float) -> FrozenTrial:
        """Return a point with its result as a trial of Optuna that has ended."""
        params = self.encode(point)
        distributions = {path: self.distributions[path] for path in params}
        return create_trial(params=params, distributions=distributions, value=value)

    def decode(self, codes: Mapping[str, Any]) -> Params:
        """Return the point with these values of Optuna."""
        return {path: self._value(path, code) for path, code in codes.items()}

    def _distribution(self, path: str) -> BaseDistribution:
        dimension = self._space[path]
        if isinstance(dimension, Values):
            count = len(self._lists[path])
            return IntDistribution(0, count - 1) if dimension.is_numeric else CategoricalDistribution(range(count))
        if dimension.step is not None:
            return IntDistribution(0, (dimension.count or 1) - 1)
        if dimension.is_integer:
            return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
        return FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log)

    def _code(self, path: str, value: Scalar) -> Any:
        dimension = self._space[path]
        if isinstance(dimension, Values):
            return next(place for place, one in enumerate(self._lists[path]) if is_listed(value, [one]))
        if dimension.step is not None:
            return round((float(value) - dimension.low) / dimension.step)
        return int(value) if dimension.is_integer else float(value)

    def _value(self, path: str, code: Any) -> Scalar:
        dimension = self._space[path]
        if isinstance(dimension, Values):
            return self._lists[path][int(code)]
        if dimension.step is not None:
            return dimension.nth(int(code))
        if dimension.is_integer:
            return int(code)
        return float(f"{min(max(float(code), float(dimension.low)), float(dimension.high)):.12g}")


def _condition(dimension: Values | Range) -> str:
    """Return a text that is the same for dimensions with the same condition."""
    return json.dumps(dimension.when, sort_keys=True)


def _ordered(dimension: Values) -> list[Scalar]:
    """Return the values of a list, numbers by size."""
    return sorted(dimension.values, key=float) if dimension.is_numeric else list(dimension.values)

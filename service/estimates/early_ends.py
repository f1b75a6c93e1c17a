"""How many trials of a pack are left after how many steps, as far as the rule of early stopping says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from workers.spec.expand import objective
from workers.spec.pruning_rules import PRUNING_RULES, PruningRule
from workers.spec.pruning_rules.asha import AshaRule
from workers.spec.pruning_rules.hyperband import HyperbandRule
from workers.spec.sweep import SweepSpec
from workers.spec.training import TrainingSpec


class Stretch(NamedTuple):
    """Steps of a pack in which the same trials are trained: the number of steps, and the share of its trials left."""

    steps: int
    share: float


class EarlyEnds:
    """Says what share of a sweep's trials is expected to be left after how many steps.

    Successive halving ends all but one in ``reduction`` trials at each rung, so its share follows from the rungs. How
    early the other rules and a target end trials depends on the results: all trials are expected to do all steps, and
    at the least those that come before the rule may end a trial.

    Args:
        sweep: The sweep.
        points: The number of its points: of its trials, if they have no repeats, which end together. If they are fewer
            than ``reduction``, none can be ended.
    """

    def __init__(self, sweep: SweepSpec, points: int) -> None:
        self._sweep, self._points = sweep, points
        self._objective = objective(sweep)

    @property
    def possible(self) -> bool:
        """Whether a trial may end before its last step."""
        return self._sweep.early_stopping.kind != "none" or self._sweep.training.target is not None

    @property
    def foreseen(self) -> bool:
        """Whether the share follows from the rule."""
        named = PRUNING_RULES.get(self._sweep.early_stopping.kind)
        return named is not None and issubclass(named, AshaRule)

    def stretches(self, training: TrainingSpec, numbers: Sequence[int]) -> list[Stretch]:
        """Return the stretches that a pack is expected to have, at least one.

        Args:
            training: The training of its trials.
            numbers: The numbers of its trials, which decide their brackets.
        """
        rule = self._rule(training)
        if not isinstance(rule, AshaRule) or self._points < rule.reduction:
            return [Stretch(training.steps, 1.0)]
        first = [rule.bracket_of(n) for n in numbers] if isinstance(rule, HyperbandRule) else [0] * len(numbers)
        interval, found, at = training.report_interval, list[Stretch](), 0
        for position, rung in enumerate(rule.rungs):
            judged = min(training.steps, -(-rung // interval) * interval)
            if judged > at:
                found.append(Stretch(judged - at, _left(first, position, rule.reduction)))
                at = judged
        if training.steps > at:
            found.append(Stretch(training.steps - at, _left(first, len(rule.rungs), rule.reduction)))
        return found

    def least(self, training: TrainingSpec) -> int:
        """Return how many steps every trial does, whatever it reports."""
        first = training.report_interval
        if training.target is not None:
            return min(first, training.steps)
        rule = self._rule(training)
        return training.steps if rule is None else min(training.steps, -(-rule.min_steps // first) * first)

    def _rule(self, training: TrainingSpec) -> PruningRule | None:
        options = self._sweep.early_stopping
        named = PRUNING_RULES.get(options.kind)
        return None if named is None else named(options, self._objective, training.steps)


def _left(first: Sequence[int], rungs: int, reduction: int) -> float:
    """Return the share of trials that goes on after some rungs, of which a bracket leaves out the first ones."""
    shares = [float(reduction) ** -max(0, rungs - bracket) for bracket in first]
    return sum(shares) / len(shares)

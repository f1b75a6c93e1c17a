"""The median rule."""

from __future__ import annotations

from collections.abc import Mapping, Set
from statistics import fmean, median

from workers.spec.pruning_rules.pruning_rule import Curve, PruningRule

MIN_PEERS = 3
"""The median rule prunes a trial only if at least this many other trials have reached its step."""
SCALE = 2.0**64
"""More than the number of reports of a trial. Division by a power of two is exact."""


class MedianRule(PruningRule):
    """Prune by the median rule (Golovin et al., KDD 2017).

    A trial is pruned if its best value so far is worse than the median of its peers' averages up to the same step. Its
    peers are the other trials that have reached this step, at least ``MIN_PEERS``.
    """

    summary = "a trial ends if its best value is worse than the median of the other trials' averages up to its step"
    options = ("min_steps",)

    def to_prune(self, curves: Mapping[int, Curve], running: Set[int]) -> dict[int, str]:
        """Return why each trial that has to end now ends, by the trial's number."""
        found: dict[int, str] = {}
        for trial in sorted(running & curves.keys()):
            curve = curves[trial]
            step = curve[-1][0]
            if step < self.min_steps or self.finished(curve):
                continue
            peers = [self._average(other, step) for t, other in curves.items() if t != trial and other[-1][0] >= step]
            if len(peers) < MIN_PEERS:
                continue
            middle, own = median(peers), max(self.merit(value) for _, value in curve)
            if own < middle:
                found[trial] = (
                    f"best {self.objective.metric} {self.shown(own)} by step {step} is worse than "
                    f"{self.shown(middle)}, the median of {len(peers)} peers (median rule)"
                )
        return found

    def _average(self, curve: Curve, step: int) -> float:
        """Return the mean merit up to and including a step; the first merit if the curve begins later."""
        merits = [self.merit(value) for at, value in curve if at <= step] or [self.merit(curve[0][1])]
        try:
            return fmean(merits)
        except OverflowError:  # the sum of finite numbers was not finite
            return fmean([merit / SCALE for merit in merits]) * SCALE

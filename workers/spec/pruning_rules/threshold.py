"""The threshold rule: end a trial that is worse than a bound."""

from __future__ import annotations

from collections.abc import Mapping, Set

from workers.spec.pruning_rules.pruning_rule import Curve, EarlyStoppingOptions, PruningRule
from workers.spec.trial import Objective


class ThresholdRule(PruningRule):
    """Prune a trial that reports an objective worse than ``threshold`` at a step from ``min_steps`` on."""

    summary = "a trial ends at the first report from `min_steps` on whose objective is worse than `threshold`"
    options = ("min_steps", "threshold")
    required = ("threshold",)

    def __init__(self, options: EarlyStoppingOptions, objective: Objective, steps: int) -> None:
        super().__init__(options, objective, steps)
        assert options.threshold is not None, "a sweep without it is refused"
        self.threshold = options.threshold

    def to_prune(self, curves: Mapping[int, Curve], running: Set[int]) -> dict[int, str]:
        """Return why each trial that has to end now ends, by the trial's number."""
        found: dict[int, str] = {}
        for trial in sorted(running & curves.keys()):
            curve = curves[trial]
            bad = [point for point in curve if point[0] >= self.min_steps and self._is_worse(point[1])]
            if bad and not self.finished(curve):
                step, value = bad[0]
                found[trial] = (
                    f"{self.objective.metric} {self.shown(self.merit(value))} at step {step} is worse than "
                    f"{self.threshold:.6g} (threshold)"
                )
        return found

    def _is_worse(self, value: float) -> bool:
        return self.merit(value) < self.merit(self.threshold)

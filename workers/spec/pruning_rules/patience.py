"""The patience rule: end a trial that no longer improves."""

from __future__ import annotations

from collections.abc import Mapping, Set

from workers.errors import FieldError
from workers.spec.pruning_rules.pruning_rule import Curve, EarlyStoppingOptions, PruningRule
from workers.spec.trial import Objective


class PatienceRule(PruningRule):
    """Prune a trial whose last ``patience`` reports in a row brought no improvement.

    A report is an improvement if it is better than the last improvement by more than ``min_delta``; the first report
    is one. Reports before ``min_steps`` count, but a trial ends at ``min_steps`` at the earliest. The rule looks at
    every report, not at the newest alone, so that the answer does not depend on how often it is asked.
    """

    summary = "a trial ends after `patience` reports in a row without an improvement by more than `min_delta`"
    options = ("min_steps", "patience", "min_delta")

    def __init__(self, options: EarlyStoppingOptions, objective: Objective, steps: int) -> None:
        super().__init__(options, objective, steps)
        self.patience, self.min_delta = options.patience or 5, options.min_delta or 0.0

    def to_prune(self, curves: Mapping[int, Curve], running: Set[int]) -> dict[int, str]:
        """Return why each trial that has to end now ends, by the trial's number."""
        found: dict[int, str] = {}
        for trial in sorted(running & curves.keys()):
            if not self.finished(curves[trial]) and (reason := self._reason(curves[trial])):
                found[trial] = reason
        return found

    def _reason(self, curve: Curve) -> str | None:
        at, first = curve[0]
        best, without = self.merit(first), 0
        for step, value in curve[1:]:
            # -inf of two values that are not finite is no improvement
            if self.merit(value) > best + self.min_delta:
                at, best, without = step, self.merit(value), 0
                continue
            without += 1
            if without >= self.patience and step >= self.min_steps:
                more = f" by more than {self.min_delta:g}" if self.min_delta else ""
                return (
                    f"{self.objective.metric} has not improved on {self.shown(best)} of step {at}{more} in {without} "
                    f"reports, by step {step} (patience)"
                )
        return None

    def useless(self, interval: int) -> FieldError | None:
        """Return why the rule can end none of the trials that report every ``interval`` steps; None if it can."""
        reports = (self.steps - 1) // interval
        if 0 < reports <= self.patience:
            problem = f"is too long: a trial of {self.steps:,} steps has {reports} reports before its last"
            allowed = f"at most {reports - 1}, or a smaller training.report_every"
            if reports == 1:
                allowed = "a smaller training.report_every"
            return FieldError("early_stopping.patience", self.patience, problem, allowed)
        return super().useless(interval)

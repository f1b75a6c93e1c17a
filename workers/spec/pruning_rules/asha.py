"""Asynchronous successive halving in its stopping form."""

from __future__ import annotations

from collections.abc import Mapping, Set
from itertools import takewhile
from typing import ClassVar

from workers.spec.pruning_rules.pruning_rule import Curve, EarlyStoppingOptions, PruningRule
from workers.spec.trial import Objective


class AshaRule(PruningRule):
    """Prune by asynchronous successive halving (ASHA; Li et al., MLSys 2020) in its stopping form.

    The rungs are the steps ``min_steps * reduction**k`` below ``steps``. Of the n trials that have reached a rung, the
    best n // ``reduction`` go on, and all that equal the last of these; all go on if n is below ``reduction``. A trial
    is ranked by its best value up to its first report at or after the rung, is judged at the highest rung that it has
    reached, and may end later if better trials reach this rung. A trial that was pruned at a rung does not count at
    the rungs above, which it may have reached before the command to end arrived.
    """

    summary = "asynchronous successive halving: at each rung the best of every `reduction` trials continue"
    options: ClassVar[tuple[str, ...]] = ("min_steps", "reduction")

    def __init__(self, options: EarlyStoppingOptions, objective: Objective, steps: int) -> None:
        super().__init__(options, objective, steps)
        self.reduction = options.reduction or 3

    @property
    def rungs(self) -> list[int]:
        """The steps at which trials are compared, ascending, all below ``steps``."""
        return list(takewhile(lambda rung: rung < self.steps, (self.min_steps * self.reduction**k for k in range(64))))

    def to_prune(self, curves: Mapping[int, Curve], running: Set[int]) -> dict[int, str]:
        """Return why each trial that has to end now ends, by the trial's number."""
        return self.halve(curves, running, self.rungs, "asha")

    def halve(self, curves: Mapping[int, Curve], running: Set[int], rungs: list[int], name: str) -> dict[int, str]:
        """Return why each trial that has to end now ends, by successive halving over the given rungs.

        Args:
            curves: The curves of the trials that are compared, by number.
            running: The trials that may be ended.
            rungs: The steps at which trials are compared, ascending.
            name: The name of the rule in the reasons.
        """
        found: dict[int, str] = {}
        pruned: set[int] = set()
        for position, rung in enumerate(rungs):
            reached = {t: self._best_at(curve, rung) for t, curve in curves.items() if t not in pruned}
            values = {t: value for t, value in reached.items() if value is not None}
            # too few trials have reached the rung to tell which ones are the best
            keep = len(values) // self.reduction
            if not keep:
                continue
            cut = sorted(values.values(), reverse=True)[keep - 1]
            below = {t for t, value in values.items() if value < cut and not self.finished(curves[t])}
            # a trial that has ended below the cut was pruned here, whatever it has reported since
            pruned |= below - running
            for trial in sorted(below & running):
                # a trial that has reached the next rung is judged there
                if position + 1 < len(rungs) and self._best_at(curves[trial], rungs[position + 1]) is not None:
                    continue
                found[trial] = (
                    f"{self.objective.metric} {self.shown(values[trial])} at step {rung} is not among the best {keep} "
                    f"of {len(values)} there ({name}, cut at {self.shown(cut)})"
                )
        return found

    def _best_at(self, curve: Curve, rung: int) -> float | None:
        """Return the best merit up to and including the first report at or after the rung; None if there is none."""
        best: float | None = None
        for step, value in curve:
            best = self.merit(value) if best is None else max(best, self.merit(value))
            if step >= rung:
                return best
        return None

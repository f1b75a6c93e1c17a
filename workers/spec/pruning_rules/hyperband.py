"""Hyperband: successive halving in several brackets, which differ in how early they begin to end trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from itertools import accumulate

from workers.errors import FieldError
from workers.spec.pruning_rules.asha import AshaRule
from workers.spec.pruning_rules.pruning_rule import Curve, EarlyStoppingOptions
from workers.spec.trial import Objective

GOLDEN = (math.sqrt(5) - 1) / 2


class HyperbandRule(AshaRule):
    """Prune by Hyperband (Li et al., JMLR 2018) with asynchronous brackets.

    The first rung of bracket b is ``min_steps * reduction**b``. Trials are compared with those of their own bracket
    alone, by the rule ``asha``. A trial's bracket depends on its number alone: the bracket in whose share of [0, 1) the
    fractional part of (number + 1) * 0.618... lies, so that any run of consecutive numbers is divided nearly as all
    are. Shares are as in the paper: with B brackets, bracket b gets a share proportional to
    ``reduction**(B - 1 - b) / (B - b)``, which gives every bracket about the same number of steps to train.
    """

    summary = "successive halving in several brackets of trials, which begin to end trials at later and later steps"
    options = ("min_steps", "reduction", "brackets")

    def __init__(self, options: EarlyStoppingOptions, objective: Objective, steps: int) -> None:
        super().__init__(options, objective, steps)
        self.asked, most = options.brackets, len(self.rungs) + 1
        self.brackets = min(self.asked or most, most)
        shares = [self.reduction ** (self.brackets - 1 - b) / (self.brackets - b) for b in range(self.brackets)]
        self._ends = [end / sum(shares) for end in accumulate(shares)]

    def to_prune(self, curves: Mapping[int, Curve], running: Set[int]) -> dict[int, str]:
        """Return why each trial that has to end now ends, by the trial's number."""
        found: dict[int, str] = {}
        for bracket in range(self.brackets):
            own = {trial: curve for trial, curve in curves.items() if self.bracket_of(trial) == bracket}
            found |= self.halve(own, running, self.rungs[bracket:], f"hyperband, bracket {bracket}")
        return found

    def bracket_of(self, number: int) -> int:
        """Return the bracket of the trial with this number, from 0."""
        place = (number + 1) * GOLDEN % 1.0
        return next((b for b, end in enumerate(self._ends) if place < end), self.brackets - 1)

    def useless(self, interval: int) -> FieldError | None:
        """Return why the rule can end none of the trials that report every ``interval`` steps; None if it can."""
        if self.asked is not None and self.asked > len(self.rungs) + 1:
            rungs = ", ".join(map(str, self.rungs)) or "none"
            problem = f"are more than the rungs below {self.steps:,} steps ({rungs}) and one bracket that ends no trial"
            allowed = f"at most {len(self.rungs) + 1}, or a smaller min_steps or reduction"
            return FieldError("early_stopping.brackets", self.asked, problem, allowed)
        return super().useless(interval)

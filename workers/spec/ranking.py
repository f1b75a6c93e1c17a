"""The one order of objectives and of trials: in rungs, leaderboards, plots, reports, checkpoints and MLflow.

- Of two finite numbers the greater is better if the objective is maximised, and the smaller if it is minimised.
- NaN, plus and minus infinity and a missing value are equal to each other, and worse than every finite number.
- A trial has a result if its objective is a finite number and it has neither failed nor been cancelled. A trial that
  was pruned keeps its result, because its best checkpoint was measured like any other.
- Trials with a result come first, the best first. The others follow. Of equals, the trial with the lower number is
  first, and of equal values in one trial the earlier step counts.

``service.store.trial_order`` says the same in SQL.
"""

from __future__ import annotations

import math
import sys
from typing import Literal

Direction = Literal["minimize", "maximize"]

MAX_FINITE = sys.float_info.max
"""The largest finite number that an objective can be."""
WITHOUT_RESULT = frozenset({"failed", "cancelled"})
"""The states of a trial in which its objective does not count."""


def merit(value: float | None, direction: Direction) -> float:
    """Return how good a value is as a number of which the greater is better; -inf if it is NaN, infinite or None."""
    if value is None or not math.isfinite(value):
        return -math.inf
    return value if direction == "maximize" else -value


def has_result(state: str, objective: float | None) -> bool:
    """Return whether a trial in a state and with an objective has a result."""
    return state not in WITHOUT_RESULT and objective is not None and math.isfinite(objective)


def rank_key(state: str, objective: float | None, number: int, direction: Direction) -> tuple[bool, float, int]:
    """Return the key by which trials are sorted, the best first.

    Args:
        state: The trial's state.
        objective: Its best value so far; None if it has none.
        number: Its number in the sweep.
        direction: Which objectives are better.
    """
    counts = has_result(state, objective)
    return not counts, -merit(objective, direction) if counts else 0.0, number

"""The contract between a sampler and the rest of the system.

A sampler decides which point of the search space each trial of a sweep takes. It is asked for one trial at a time and
keeps nothing between two calls that it could not compute again: a controller that is killed and started anew asks the
same questions and must get the same answers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from workers.spec.base_spec import SpecPart
from workers.spec.point_rules import PointRules
from workers.spec.search_space import MAX_TRIALS, Params, Range, SearchSpace, Values


@dataclass(frozen=True)
class Observation:
    """What is known of a trial when a later one is proposed.

    ``objective`` is the best value of the trial so far, None if it has none yet. ``ended`` says that the trial will not
    report again, and ``place`` is then its place in the order in which the trials of the sweep have ended. Trials
    without a place count as having ended by number, after those with one. ``cancelled`` trials have no objective, and
    do not count for their point if it is repeated.
    """

    number: int
    params: Params
    objective: float | None = None
    ended: bool = False
    place: int | None = None
    cancelled: bool = False

    @property
    def result(self) -> float | None:
        """The objective if it is a finite number, else None: then there is nothing to learn from it."""
        return self.objective if self.objective is not None and math.isfinite(self.objective) else None


class Unsuited(NamedTuple):
    """Why a sampler cannot search a dimension.

    ``field`` is the field of the dimension that is missing or wrong, for example ``grid``; ``problem`` and ``allowed``
    are those of a ``FieldError``.
    """

    field: str
    problem: str
    allowed: str


class NoOptions(SpecPart):
    """The options of a sampler that has none."""


class Sampler(ABC):
    """Propose the points of one sweep.

    Args:
        space: The sweep's dimensions.
        seed: The sweep's ``search.seed``.
        trials: The sweep's ``search.trials``; None for a sampler that does not take a number of trials.
        direction: Whether a smaller or a greater objective is better.
        rules: The conditions and constraints of the space; None for those conditions alone that the dimensions have.
        options: The sweep's ``search.options``; None for the defaults.
    """

    summary: ClassVar[str]
    """What the sampler does, in one sentence that the API shows."""
    use_when: ClassVar[str] = ""
    """When to choose it, in one sentence that the API shows."""
    takes_trials: ClassVar[bool]
    """Whether ``search.trials`` is required. If not, it is refused."""
    learns: ClassVar[bool] = False
    """Whether its points depend on the results of earlier trials."""
    max_trials: ClassVar[int] = MAX_TRIALS
    """The largest ``search.trials``."""
    Options: ClassVar[type[SpecPart]] = NoOptions
    """The fields of ``search.options``, each with a default."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        trials: int | None,
        direction: Literal["minimize", "maximize"],
        rules: PointRules | None = None,
        options: SpecPart | None = None,
    ) -> None:
        self.space, self.seed, self.trials, self.direction = space, seed, trials, direction
        self.rules = PointRules(space) if rules is None else rules
        self.options = self.Options() if options is None else options

    @property
    @abstractmethod
    def trial_count(self) -> int:
        """How many trials the sweep has; computed without listing them where there are no conditions or constraints."""

    @abstractmethod
    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the point of trial ``number``: a value for each dimension that exists there, in the space's order.

        The result is a function of the constructor's arguments, ``number`` and ``earlier`` alone. It satisfies all
        constraints.

        Args:
            number: The trial, from 0 to ``trial_count`` - 1.
            earlier: What is known of the trials below ``number``, by number. Empty when a sweep is only checked:
                propose then what would be proposed without any result.

        Raises:
            NoValidPoint: No point that satisfies the constraints was found.
        """

    def is_ready(self, number: int, earlier: Sequence[Observation]) -> bool:
        """Return whether trial ``number`` can be proposed now, or must wait until ``earlier`` holds more results.

        Unless a subclass says otherwise, the answer is true: a sampler that does not learn is always ready, so all
        trials of its sweeps exist from the start.
        """
        return True

    @classmethod
    def unsuited(cls, dimension: Values | Range) -> Unsuited | None:
        """Return why this sampler cannot search ``dimension``, None if it can."""
        return None

"""The contract between a sampler and the rest of the system.

A sampler decides which point of the search space each trial of a sweep takes. It is asked for one trial at a time and
keeps nothing between two calls that it could not compute again: a controller that is killed and started anew asks the
same questions and must get the same answers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from workers.spec.search_space import Params, Range, SearchSpace, Values


@dataclass(frozen=True)
class Observation:
    """What is known of a trial when a later one is proposed.

    ``objective`` is the best value of the trial so far, None if it has none yet. ``ended`` says that the trial will not
    report again.
    """

    number: int
    params: Params
    objective: float | None = None
    ended: bool = False


class Unsuited(NamedTuple):
    """Why a sampler cannot search a dimension.

    ``field`` is the field of the dimension that is missing or wrong, for example ``grid``; ``problem`` and ``allowed``
    are those of a ``FieldError``.
    """

    field: str
    problem: str
    allowed: str


class Sampler(ABC):
    """Propose the points of one sweep.

    Args:
        space: The sweep's dimensions.
        seed: The sweep's ``search.seed``.
        trials: The sweep's ``search.trials``; None for a sampler that does not take a number of trials.
        direction: Whether a smaller or a greater objective is better.
    """

    summary: ClassVar[str]
    """What the sampler does, in one sentence that the API shows."""
    takes_trials: ClassVar[bool]
    """Whether ``search.trials`` is required. If not, it is refused."""

    def __init__(
        self, space: SearchSpace, *, seed: int, trials: int | None, direction: Literal["minimize", "maximize"]
    ) -> None:
        self.space, self.seed, self.trials, self.direction = space, seed, trials, direction

    @property
    @abstractmethod
    def trial_count(self) -> int:
        """How many trials the sweep has; computed without listing them."""

    @abstractmethod
    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the point of trial ``number``.

        The result is a function of the constructor's arguments, ``number`` and ``earlier`` alone.

        Args:
            number: The trial, from 0 to ``trial_count`` - 1.
            earlier: What is known of the trials below ``number``, by number. Empty when a sweep is only checked:
                propose then what would be proposed without any result.
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

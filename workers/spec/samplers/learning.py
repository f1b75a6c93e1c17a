"""What samplers that learn from results have in common: Optuna's samplers, rebuilt from the trials.

Trial n is proposed as soon as all but ``concurrent`` - 1 of the trials before it have ended, and from exactly that many
results: the first n - ``concurrent`` + 1 in the order in which trials ended. The others count as running, even if they
have ended meanwhile. A proposal therefore depends on the order in which trials end and on nothing else: neither on when
the sampler is asked, nor on whether a controller has been killed and another one asks again.

Results of earlier sweeps (``search.warm_start``) come before all of them, from the first proposal on.

Optuna's study is kept in memory between proposals, and made again from the trials if it does not match them.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from workers.spec.base_spec import SpecPart
from workers.spec.prior_results import PriorResult
from workers.spec.samplers.drawing import DrawingSampler, draw_point
from workers.spec.samplers.sampler import Observation
from workers.spec.search_space import Params

if TYPE_CHECKING:
    from workers.spec.samplers.optuna_study import OptunaStudy

KEPT_STUDIES = 16
"""How many sweeps' studies are kept in memory; those that were used longest ago are dropped."""
_studies: OrderedDict[str, OptunaStudy] = OrderedDict()


class LearningOptions(SpecPart):
    """Options of the samplers that learn."""

    startup_trials: int = Field(
        default=10, ge=1, le=1000, description="results that are needed before it learns; until then points are random"
    )
    concurrent: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="the most trials that have been proposed and have not ended; with more of them the sweep takes "
        "less time, and each point is chosen from fewer results",
    )


class LearningSampler(DrawingSampler):
    """Draw at random until ``startup_trials`` results are known, and then let one of Optuna's samplers propose."""

    learns = True
    Options: ClassVar[type[SpecPart]] = LearningOptions
    draws_again: ClassVar[int] = 20
    """How often Optuna's sampler is asked again for a point that satisfies the constraints, before one is drawn."""
    replays: ClassVar[bool] = False
    """Whether the sampler keeps a state in the trials that it proposed, so that a study is rebuilt by asking for every
    earlier trial again."""
    remembers: ClassVar[bool] = True
    """Whether the study is kept between proposals."""

    prior: Sequence[PriorResult] = ()
    """Results of earlier sweeps, which are known before the first trial; they count among ``startup_trials``."""

    is_trainable: Callable[[Params], bool] = staticmethod(lambda point: True)
    """Tells whether a point can be trained. Points that cannot be are not proposed, except at random."""

    @property
    def learning(self) -> LearningOptions:
        """The options that all samplers which learn have."""
        assert isinstance(self.options, LearningOptions)
        return self.options

    def draw(self, number: int, attempt: int) -> Params:
        """Return a point as random search draws it."""
        return draw_point(tuple(self.space.items()), self.seed, number, attempt)

    def is_ready(self, number: int, earlier: Sequence[Observation]) -> bool:
        """Return whether enough trials have ended for trial ``number``."""
        return sum(trial.ended for trial in earlier) >= self.needed(number)

    def needed(self, number: int) -> int:
        """Return how many trials have to end before trial ``number`` is proposed."""
        return max(0, number - self.learning.concurrent + 1)

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the point of trial ``number``, from the first ``needed(number)`` trials that have ended."""
        ended = in_order_of_end(earlier)[: self.needed(number)]
        if len(self.prior) + sum(trial.result is not None for trial in ended) < self.learning.startup_trials:
            return super().propose(number, earlier)
        return self._study_at(number, earlier, ended).propose(number, lambda: DrawingSampler.propose(self, number, ()))

    def _study_at(self, number: int, earlier: Sequence[Observation], ended: Sequence[Observation]) -> OptunaStudy:
        """Return a study that has the trials below ``number``, of which those in ``ended`` have their results."""
        from workers.spec.samplers.optuna_study import OptunaStudy

        key = self._key()
        study = _studies.pop(key, None) if self.remembers else None
        if study is None or not study.is_before(earlier, ended):
            study = OptunaStudy(self)
        # a sampler that replays gets, for each trial, the results that it had when it proposed the trial
        for trial in earlier[len(study.points) : number]:
            if self.replays:
                study.tell(ended[: self.needed(trial.number)])
            study.add(trial)
        study.tell(ended)
        if self.remembers:
            _studies[key] = study
            while len(_studies) > KEPT_STUDIES:
                _studies.popitem(last=False)
        return study

    def _key(self) -> str:
        """Return what distinguishes the studies of two sweeps; those with one key are told apart by their trials."""
        space = {path: dimension.model_dump() for path, dimension in self.space.items()}
        rules = [constraint.text for constraint in self.rules.constraints], self.rules.fixed
        own = type(self).__name__, self.seed, self.direction, self.options.model_dump()
        prior = [result.model_dump() for result in self.prior]
        return json.dumps([own, rules, space, prior])

    def seed_of(self, number: int) -> int:
        """Return the seed, from 0 to 2^31 - 1, with which trial ``number`` is proposed."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}:{number}".encode()).digest()[:4], "big") >> 1

    def values(self, results: Sequence[float]) -> list[float]:
        """Return the results as Optuna's sampler gets them."""
        return list(results)

    @abstractmethod
    def optuna_sampler(self, seed: int) -> Any:
        """Return Optuna's sampler, seeded for one proposal."""


def in_order_of_end(earlier: Sequence[Observation]) -> list[Observation]:
    """Return the trials that have ended, in the order in which they did."""
    ended = [trial for trial in earlier if trial.ended]
    return sorted(ended, key=lambda trial: (math.inf if trial.place is None else trial.place, trial.number))

"""One sweep as a study of Optuna, in memory, that grows with the sweep's trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from workers.spec.samplers.optuna_axes import OptunaAxes
from workers.spec.samplers.sampler import Observation
from workers.spec.search_space import Params

if TYPE_CHECKING:
    from workers.spec.samplers.learning import LearningSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaStudy:
    """Keeps the trials of a sweep that Optuna's sampler learns from.

    Attributes:
        points: The points of the trials that were added, by number.
    """

    def __init__(self, sampler: LearningSampler) -> None:
        self.points: list[Params] = []
        self._sampler = sampler
        self._axes = OptunaAxes(sampler.space)
        self._study = optuna.create_study(direction=sampler.direction)
        self._numbers: list[int] = []  # Optuna's numbers of our trials
        self._told: list[Observation] = []
        self._prior = [result.objective for result in sampler.prior]
        for result, value in zip(sampler.prior, sampler.values(self._prior), strict=True):
            self._study.add_trial(self._axes.completed(result.params, value))
        self._asked: tuple[Params, int] | None = None  # what was proposed last, while it is not added

    def is_before(self, earlier: Sequence[Observation], ended: Sequence[Observation]) -> bool:
        """Return whether all that the study has are first trials of ``earlier``, and first results of ``ended``."""
        same_points = len(self.points) <= len(earlier) and all(
            point == trial.params for point, trial in zip(self.points, earlier, strict=False)
        )
        same_results = len(self._told) <= len(ended) and all(
            (old.number, old.objective) == (new.number, new.objective)
            for old, new in zip(self._told, ended, strict=False)
        )
        # a point that was proposed and never stored has left its traces in a study that replays
        expected = self._asked is None or (
            len(self.points) < len(earlier) and earlier[len(self.points)].params == self._asked[0]
        )
        return same_points and same_results and expected

    def add(self, trial: Observation) -> None:
        """Add the next trial, as one that runs."""
        if self._asked is not None:
            self._numbers.append(self._asked[1])
            self._asked = None
        elif self._sampler.replays:
            self._study.enqueue_trial(self._axes.encode(trial.params))
            self._numbers.append(self._ask(trial.number, None)[1])
        else:
            params = self._axes.encode(trial.params)
            distributions = {path: self._axes.distributions[path] for path in params}
            self._study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=distributions))
            self._numbers.append(len(self._study.get_trials(deepcopy=False)) - 1)
        self.points.append(dict(trial.params))

    def tell(self, ended: Sequence[Observation]) -> None:
        """Tell the results of the trials that have ended since the last call, of all that have, in order."""
        fresh = ended[len(self._told) :]
        known = [trial.result for trial in fresh if trial.result is not None]
        values = iter(self._sampler.values([*self._prior, *known])[len(self._prior) :])
        for trial in fresh:
            number = self._numbers[trial.number]
            if trial.result is None:
                self._study.tell(number, state=TrialState.FAIL)
            else:
                self._study.tell(number, next(values))
        self._told += fresh

    def propose(self, number: int, draw: Callable[[], Params]) -> Params:
        """Return a point for trial ``number``.

        Args:
            number: The trial; those before it were added.
            draw: Gives a point that satisfies the constraints, in case the sampler finds none.
        """
        point, asked = self._ask(number, draw)
        if self._sampler.replays:
            self._asked = dict(point), asked
        else:
            self._study.tell(asked, state=TrialState.FAIL)  # it is added as a trial of its own once it is stored
        return point

    def _ask(self, number: int, draw: Callable[[], Params] | None) -> tuple[Params, int]:
        """Ask Optuna's sampler for trial ``number``; return the point, and Optuna's number of the trial.

        With ``draw`` None, the point is the one that was enqueued.
        """
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            inner = self._sampler.optuna_sampler(self._sampler.seed_of(number))
        chooser = _PointChooser(inner, self._sampler, self._axes, draw)
        self._study.sampler = chooser
        trial: Trial = self._study.ask(self._axes.distributions if self._sampler.replays else None)
        assert isinstance(trial.relative_params, dict)  # which are computed when they are first read
        return chooser.point, trial.number


class _PointChooser(BaseSampler):
    """Lets one of Optuna's samplers choose a whole point at once, again if it breaks a constraint.

    Args:
        inner: Optuna's sampler.
        sampler: Ours, which has the conditions and constraints.
        axes: The space in Optuna's terms.
        draw: Gives a point if the inner sampler finds none; None if the point is known.
    """

    def __init__(
        self, inner: BaseSampler, sampler: LearningSampler, axes: OptunaAxes, draw: Callable[[], Params] | None
    ) -> None:
        self._inner, self._sampler, self._axes, self._draw = inner, sampler, axes, draw
        self.point: Params = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return self._axes.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the chosen point."""
        if self._draw is None:
            for group in self._axes.groups.values():
                self._inner.sample_relative(study, trial, group)  # for what it notes in the trial
            return {}
        for _ in range(self._sampler.draws_again):
            point = self._choose(study, trial)
            if self._sampler.rules.broken(point) is None and self._sampler.is_trainable(point):
                break
        else:
            point = self._draw()
        self.point = point
        return self._axes.encode(point)

    def _choose(self, study: Study, trial: FrozenTrial) -> Params:
        """Return a point: of each group of dimensions that exists there, values that are chosen together."""
        found: Params = {}
        codes: dict[str, Any] = {}
        for path in self._sampler.rules.order:
            if not self._sampler.rules.exists(path, found):
                continue
            distribution = self._axes.distributions[path]
            if distribution.single():
                codes[path] = getattr(distribution, "low", 0)
            elif path not in codes:
                codes |= self._inner.sample_relative(study, trial, self._axes.group_of(path))
            if path not in codes:
                # a sampler of Optuna that does not learn yet leaves its answer out
                codes[path] = self._inner.sample_independent(study, trial, path, distribution)
            found |= self._axes.decode({path: codes[path]})
        return {path: found[path] for path in self._sampler.space if path in found}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Raise, because every dimension of a point is in ``sample_relative``."""
        raise AssertionError(f"{param_name} is not in the chosen point")

"""CMA-ES: generations of points from a normal distribution that moves and changes its shape (Optuna, cmaes)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from pydantic import Field

from workers.spec.samplers.learning import LearningOptions, LearningSampler
from workers.spec.samplers.sampler import Unsuited
from workers.spec.search_space import Range, Values


class CMAOptions(LearningOptions):
    """Options of CMA-ES."""

    startup_trials: int = Field(
        default=1, ge=1, le=1000, description="results that are needed before it learns; until then points are random"
    )
    population: int | None = Field(
        default=None, ge=4, le=1000, description="points of a generation; default: 4 + 3 ln(number of dimensions)"
    )


class CMAESSampler(LearningSampler):
    """Covariance matrix adaptation evolution strategy (Hansen and Ostermeier 2001)."""

    summary = "learns a normal distribution of good points, generation after generation (CMA-ES, by Optuna and cmaes)"
    use_when = "all dimensions are numbers, better near the best point, and there are a hundred trials or more"
    max_trials = 5_000
    draws_again = 100
    # the state of the distribution is in the trials, and each trial belongs to a generation
    replays = True
    Options = CMAOptions

    def optuna_sampler(self, seed: int) -> Any:
        """Return Optuna's sampler, seeded for one proposal."""
        from optuna.samplers import CmaEsSampler as OptunaCMAES

        assert isinstance(self.options, CMAOptions)
        return OptunaCMAES(
            seed=seed,
            n_startup_trials=self.options.startup_trials,
            popsize=self.options.population,
            warn_independent_sampling=False,
            **self._beginning,
        )

    @cached_property
    def _beginning(self) -> dict[str, Any]:
        """Where the distribution begins: where the best tenth of earlier results is.

        Optuna's ``source_trials`` are those of warm-starting CMA-ES (Nomura et al. 2021).
        """
        if not self.prior:
            return {}
        from workers.spec.samplers.optuna_axes import OptunaAxes

        axes = OptunaAxes(self.space)
        # a dimension with one value is not searched, and no dimension has a condition
        searched = {path for group in axes.groups.values() for path in group}
        known = [
            axes.completed({path: value for path, value in result.params.items() if path in searched}, result.objective)
            for result in self.prior
        ]
        # a tenth of them has to be at least one
        return {"source_trials": known * -(-10 // len(known))} if searched else {}

    @classmethod
    def unsuited(cls, dimension: Values | Range) -> Unsuited | None:
        """Return why a dimension is not searched: its values have no order, or it does not always exist."""
        if dimension.when:
            return Unsuited("when", "sampler cma_es needs dimensions that always exist", "leave when out, or use tpe")
        if isinstance(dimension, Values) and not dimension.is_numeric:
            return Unsuited("values", "sampler cma_es needs numbers, which have an order", "numbers, or sampler tpe")
        return None

"""GP: a Gaussian process as model of the objective, and proposals where improvement is to be expected (Optuna)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from workers.spec.samplers.learning import LearningSampler
from workers.spec.samplers.sampler import Unsuited
from workers.spec.search_space import Range, Values

WORST = 10.0
"""How many times as far from the best result as the median is, a result may be; worse ones count as this far."""


class GPSampler(LearningSampler):
    """Bayesian optimisation by a Gaussian process with the expected improvement as criterion."""

    summary = "models the objective as a Gaussian process, and proposes where it expects improvement (GP, by Optuna)"
    use_when = "each trial is expensive: at most about 10 dimensions and a few hundred trials"
    max_trials = 500
    draws_again = 3
    # its values depend on all results, so that the study is made anew
    remembers = False

    def optuna_sampler(self, seed: int) -> Any:
        """Return Optuna's sampler, seeded for one proposal. It imports torch."""
        from optuna.samplers import GPSampler as OptunaGP

        return OptunaGP(seed=seed, n_startup_trials=1, warn_independent_sampling=False)

    def values(self, results: Sequence[float]) -> list[float]:
        """Return the results, those of diverged trials moved towards the others: a single one would hide the rest."""
        if not results:
            return []
        sign = 1 if self.direction == "minimize" else -1
        losses = [sign * result for result in results]
        best, median = min(losses), statistics.median(losses)
        limit = best + WORST * (median - best) if median > best else max(losses)
        return [sign * min(loss, limit) for loss in losses]

    @classmethod
    def unsuited(cls, dimension: Values | Range) -> Unsuited | None:
        """Return why a dimension is not searched: it does not always exist."""
        if dimension.when:
            return Unsuited("when", "sampler gp needs dimensions that always exist", "leave when out, or use tpe")
        return None

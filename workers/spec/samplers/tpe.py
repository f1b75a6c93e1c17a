"""TPE: models of good and of poor points, and proposals where good ones are likelier (Optuna)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from workers.spec.samplers.learning import LearningOptions, LearningSampler


class TPEOptions(LearningOptions):
    """Options of TPE."""

    candidates: int = Field(
        default=24, ge=1, le=1000, description="points that are drawn from the model of good ones for each proposal"
    )


class TPESampler(LearningSampler):
    """The tree-structured Parzen estimator, over all dimensions together (Bergstra et al. 2011, 2013)."""

    summary = "learns which points are good from the density of the best and of the other trials (TPE, by Optuna)"
    use_when = (
        "trials are worth more than a fraction of a second; the choice to begin with: any dimensions and conditions, "
        "from about 20 trials on"
    )
    max_trials = 5_000
    draws_again = 5
    Options = TPEOptions

    def optuna_sampler(self, seed: int) -> Any:
        """Return Optuna's sampler, seeded for one proposal."""
        from optuna.samplers import TPESampler as OptunaTPE

        assert isinstance(self.options, TPEOptions)
        return OptunaTPE(
            seed=seed,
            n_startup_trials=1,
            n_ei_candidates=self.options.candidates,
            multivariate=True,
            constant_liar=True,
        )

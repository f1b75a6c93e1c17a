"""A sampler for tests, which learns."""

from __future__ import annotations

from collections.abc import Sequence

from workers.spec.samplers import Observation, Sampler
from workers.spec.search_space import Params


class Halving(Sampler):
    """Waits for the result of each trial, and then halves the best value so far of the only dimension, from 0.1 on."""

    summary = "for tests"
    takes_trials = True

    @property
    def trial_count(self) -> int:
        return self.trials or 0

    def is_ready(self, number: int, earlier: Sequence[Observation]) -> bool:
        return all(trial.ended for trial in earlier)

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        (path,) = self.space
        scored = [trial for trial in earlier if trial.objective is not None]
        if not scored:
            return {path: 0.1}
        choose = min if self.direction == "minimize" else max
        best = choose(scored, key=lambda trial: trial.objective or 0.0)
        return {path: float(best.params[path]) / 2}

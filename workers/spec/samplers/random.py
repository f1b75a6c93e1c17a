"""Random search: independent draws from the space."""

from __future__ import annotations

from workers.spec.samplers.drawing import DrawingSampler, draw_point
from workers.spec.search_space import Params


class RandomSampler(DrawingSampler):
    """Draw every dimension of every trial independently and uniformly, by its logarithm in a logarithmic range."""

    summary = "search.trials independent draws; each depends on search.seed and the trial's number alone"
    use_when = (
        "you want a baseline, or many trials at once of which none waits for another; any space, any number of trials"
    )

    def draw(self, number: int, attempt: int) -> Params:
        """Return the draw of trial ``number``, whatever was drawn for others."""
        return draw_point(tuple(self.space.items()), self.seed, number, attempt)

"""Quasi-random search: sequences that fill a space more evenly than independent draws do (scipy)."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import Field

from workers.errors import NoValidPoint
from workers.spec.base_spec import SpecPart
from workers.spec.samplers.drawing import MAX_DRAWS
from workers.spec.samplers.sampler import Observation, Sampler
from workers.spec.search_space import Params, Range, Scalar, Values

BLOCK = 1024
"""Points that are computed at a time: a power of 2, as Sobol's sequence needs."""


class SequenceOptions(SpecPart):
    """Options of the quasi-random samplers."""

    scramble: bool = Field(
        default=True,
        description="true: a random version of the sequence, chosen by search.seed; false: the sequence itself, which "
        "is the same for every seed",
    )


class QuasiRandomSampler(Sampler):
    """Take the points of a sequence in the unit cube in order, leaving out those that break a constraint."""

    takes_trials = True
    Options = SequenceOptions

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._found: list[Params] = []
        self._walk = self._valid_points()

    @property
    def trial_count(self) -> int:
        """The sweep's ``search.trials``."""
        return self.trials or 0

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        """Return the point of the sequence at place ``number`` among those that satisfy the constraints."""
        while len(self._found) <= number:
            self._found.append(next(self._walk))
        return dict(self._found[number])

    @abstractmethod
    def _engine(self, scramble: bool) -> Any:
        """Return scipy's engine for a cube with as many dimensions as the space, seeded with ``search.seed``."""

    def _valid_points(self) -> Iterator[Params]:
        """Yield the points that satisfy the constraints; raise NoValidPoint if too many in a row do not."""
        assert isinstance(self.options, SequenceOptions)
        engine, broken = self._engine(self.options.scramble), Counter[str]()
        while True:
            for row in engine.random(BLOCK).tolist():
                pairs = zip(self.space.items(), row, strict=True)
                point = self.rules.settle({path: value_at(dimension, place) for (path, dimension), place in pairs})
                constraint = self.rules.broken(point)
                if constraint is None:
                    broken.clear()
                    yield point
                    continue
                broken[constraint.text] += 1
                if broken.total() >= MAX_DRAWS:
                    ((text, times),) = broken.most_common(1)
                    raise NoValidPoint(
                        f"{MAX_DRAWS} points of the sequence in a row break a constraint, {times} of them {text}", text
                    )


class SobolSampler(QuasiRandomSampler):
    """Sobol's sequence, scrambled by Owen's method."""

    summary = "search.trials points of Sobol's sequence, which fills the space evenly; best with a power of 2 of trials"
    use_when = "you can run all trials at once and want a map of the space rather than its best point alone"

    def _engine(self, scramble: bool) -> Any:
        from scipy.stats import qmc

        return qmc.Sobol(len(self.space), scramble=scramble, rng=_generator(self.seed))


class HaltonSampler(QuasiRandomSampler):
    """Halton's sequence."""

    summary = "search.trials points of Halton's sequence, which fills the space evenly for any number of trials"
    use_when = "you would use sobol, but the number of trials is no power of 2; at most about 8 dimensions"

    def _engine(self, scramble: bool) -> Any:
        from scipy.stats import qmc

        return qmc.Halton(len(self.space), scramble=scramble, rng=_generator(self.seed))


def value_at(dimension: Values | Range, place: float) -> Scalar:
    """Return the value of a dimension at a place from 0 to 1, so that even places give each value equally often."""
    if isinstance(dimension, Values):
        return dimension.values[min(int(place * len(dimension.values)), len(dimension.values) - 1)]
    if dimension.count is not None:
        return dimension.nth(min(int(place * dimension.count), dimension.count - 1))
    return dimension.at(place)


def _generator(seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed)

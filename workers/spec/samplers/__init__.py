"""Samplers by the name that ``search.sampler`` gives; a new one is a file beside these and a line in the table."""

from workers.spec.samplers.grid import GridSampler
from workers.spec.samplers.random import RandomSampler
from workers.spec.samplers.sampler import Observation, Sampler, Unsuited

SAMPLERS: dict[str, type[Sampler]] = {"grid": GridSampler, "random": RandomSampler}

__all__ = ["SAMPLERS", "Observation", "Sampler", "Unsuited"]

"""Samplers by the name that ``search.sampler`` gives; a new one is a file beside these and a line in the table."""

from workers.spec.samplers.cma_es import CMAESSampler
from workers.spec.samplers.enqueued import EnqueuedFirst
from workers.spec.samplers.gp import GPSampler
from workers.spec.samplers.grid import GridSampler
from workers.spec.samplers.learning import LearningSampler
from workers.spec.samplers.quasi_random import HaltonSampler, SobolSampler
from workers.spec.samplers.random import RandomSampler
from workers.spec.samplers.sampler import Observation, Sampler, Unsuited
from workers.spec.samplers.tpe import TPESampler

SAMPLERS: dict[str, type[Sampler]] = {
    "grid": GridSampler,
    "random": RandomSampler,
    "sobol": SobolSampler,
    "halton": HaltonSampler,
    "tpe": TPESampler,
    "cma_es": CMAESSampler,
    "gp": GPSampler,
}

__all__ = ["SAMPLERS", "EnqueuedFirst", "GridSampler", "LearningSampler", "Observation", "Sampler", "Unsuited"]

"""A schedule: which sweeps there are, how large the cluster is, and which faults happen at which moments.

It is drawn from a seed, and is a plain value: a shorter one is made by leaving faults out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from service.api.submission import stored
from workers.spec.expand import points_of, trial_count
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec

FAULTS = {
    "kill controller": 5,
    "stop controller": 2,
    "controller away for long": 1,
    "database error": 3,
    "kill runner": 3,
    "end runner in Ray": 1,
    "stop runner": 1,
    "silence runner": 1,
    "kill head": 1,
    "head away": 1,
    "late answers": 2,
    "lost answers": 2,
    "set clock": 1,
    "verb on sweep": 4,
    "verb on trial": 3,
    "submit": 2,
    "rerun or extend": 3,
    "change": 3,
}
"""The kinds of what happens, with how often each is drawn."""
MOMENTS = 160
"""Faults happen at one of the first so many points: transactions and calls of Ray, counted over all controllers."""
MOMENTS_OF_LARGE_GRID = 3000
"""The same for the large grid, which has about 4,700 of them."""


@dataclass(frozen=True)
class Fault:
    """One thing that happens.

    Attributes:
        moment: The number of the point at which it happens.
        kind: A key of ``FAULTS``.
        choice: A number from 0 to 1 from which all that is left open follows: which runner, which verb, how long.
    """

    moment: int
    kind: str
    choice: float

    def __str__(self) -> str:
        return f"{self.moment}: {self.kind} ({self.choice:.3f})"


@dataclass(frozen=True)
class Schedule:
    """What one simulation goes through.

    Attributes:
        seed: What it was drawn from, and what delays and names are drawn from.
        cpus: The CPUs of the only node.
        sweeps: The documents of the sweeps, as positions in ``DOCUMENTS``.
        together: Whether all sweeps are submitted at the beginning. Else those beyond the first are submitted by
            faults, or when the faults are over.
        standby: Whether a second controller waits for the lead from the beginning.
        poison: Whether a trial of the first sweep ends its process each time.
        failing: Whether a trial of the first sweep fails for a reason of the user's.
        goes_on: Whether the user reruns or extends each sweep once more after all of them have ended.
        faults: What happens, in order of moment.
    """

    seed: int
    cpus: float
    sweeps: tuple[int, ...]
    together: bool
    standby: bool
    poison: bool
    failing: bool
    goes_on: bool
    faults: tuple[Fault, ...]

    def without(self, fault: Fault) -> Schedule:
        """Return the schedule without one of its faults."""
        return replace(self, faults=tuple(other for other in self.faults if other is not fault))


def draw(seed: int, kinds: Sequence[str] = tuple(FAULTS)) -> Schedule:
    """Return the schedule of a seed.

    Args:
        seed: The seed.
        kinds: The kinds of faults to draw from.
    """
    rng = random.Random(seed)
    count = rng.choice((0, 1, 1, 2, 2, 3, 4, 6) if len(kinds) == len(FAULTS) else (2, 3, 4))
    drawn = rng.choices(kinds, [FAULTS[kind] for kind in kinds], k=count)
    latest = rng.choice((25, 60, MOMENTS))
    faults = [Fault(rng.randrange(1, latest), kind, rng.random()) for kind in drawn]
    return Schedule(
        seed=seed,
        cpus=rng.choice((1.0, 1.0, 2.0)),
        sweeps=tuple(rng.randrange(LARGE_GRID) for _ in range(rng.choice((1, 1, 2, 2, 2, 3)))),
        together=seed % 2 == 1,
        standby=rng.random() < 0.2,
        poison=rng.random() < 0.15,
        failing=rng.random() < 0.1,
        goes_on=rng.random() < 0.3,
        faults=tuple(sorted(faults, key=lambda fault: fault.moment)),
    )


def with_large_grid(seed: int) -> Schedule:
    """Return a schedule of a grid of 13,020 points, through which controllers, runners and Ray's head are killed."""
    rng = random.Random(f"large grid {seed}")
    kinds = ("kill controller", "kill runner", "kill head", "database error", "lost answers")
    moments = sorted(rng.sample(range(1, MOMENTS_OF_LARGE_GRID), 40))
    faults = tuple(Fault(moment, rng.choice(kinds), rng.random()) for moment in moments)
    return Schedule(
        seed=seed,
        cpus=16.0,
        sweeps=(LARGE_GRID,),
        together=True,
        standby=True,
        poison=False,
        failing=False,
        goes_on=False,
        faults=faults,
    )


def _document(trials: int, pack_size: int, **changes: Any) -> dict[str, Any]:
    return {
        "name": "simulated",
        "task": {"name": "adding", "length": 20},
        "model": {"hidden_size": 8},
        "training": {"steps": 6, "report_every": 2, "checkpoint_every": 4},
        "space": {"model.margin": {"low": 0.01, "high": 0.1}},
        "search": {"sampler": "random", "trials": trials, "seed": trials},
        "resources": {"pack_size": pack_size},
        **changes,
    }


LONGER = {"steps": 24, "report_every": 4, "checkpoint_every": 8}
"""The training of sweeps that may have to make room for others."""
DOCUMENTS = (
    _document(1, 1),
    _document(2, 2, training=LONGER),
    _document(3, 1, training=LONGER),
    _document(3, 3, priority=3),
    _document(5, 4, priority=-2, training=LONGER),
    _document(3, 2, retries={"infrastructure": 0, "user": 1}),
    _document(4, 2, early_stopping={"kind": "asha", "reduction": 2, "min_steps": 2}),
    _document(3, 2, priority=5),
    _document(2, 1, priority=-5, training=LONGER),
    _document(4, 1, priority=2, max_parallel=1),
    _document(6, 3, training=LONGER),
    _document(2, 1, resources={"pack_size": 1, "cpus": 2.0}),
    _document(3, 4, repeats=2, early_stopping={"kind": "asha", "reduction": 2, "min_steps": 2}),
    _document(
        0,
        60,
        space={"model.margin": {"low": 0.01, "high": 0.1, "grid": 420}, "training.seed": {"values": list(range(31))}},
        search={"sampler": "grid"},
        training={"steps": 2, "report_every": 2},
    ),
)
"""The sweeps that schedules are made of. The one with two CPUs fits on no node that has a single one, and the last one,
a grid of 13,020 points, is in no schedule that is drawn."""
LARGE_GRID = len(DOCUMENTS) - 1


@cache
def spec_of(position: int) -> SweepSpec:
    """Return the parsed document at a position of ``DOCUMENTS``."""
    return parse_sweep(DOCUMENTS[position])


@cache
def longer_spec(position: int, trials: int) -> SweepSpec:
    """Return the parsed document at a position of ``DOCUMENTS`` with another number of trials, in whole points."""
    spec = spec_of(position)
    return spec.model_copy(update={"search": spec.search.model_copy(update={"trials": trials // spec.repeats})})


@cache
def points_for(position: int, trials: int = 60) -> list[dict[str, Any]]:
    """Return the points of an undisturbed run of a document that was extended to so many trials."""
    spec = spec_of(position) if position == LARGE_GRID else longer_spec(position, trials)
    return [dict(point) for point in points_of(spec)]


@cache
def row_of(position: int) -> tuple[dict[str, Any], int, list[dict[str, Any]]]:
    """Return what is stored of a document, the number of its trials, and the points of an undisturbed run."""
    spec = spec_of(position)
    return stored(spec), trial_count(spec), [dict(point) for point in points_of(spec)]

"""How long one pack takes, from what its parts cost and how many of its trials are expected to be left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from service.estimates.early_ends import EarlyEnds, Stretch
from service.estimates.pack_costs import Basis, PackCosts, PackProfile
from workers.spec.trial import TrialSpec

REPLY_SECONDS = 0.5
"""About so long a trial trains on until the order to end early has reached it."""


class PackStretch(NamedTuple):
    """The seconds of a stretch of a pack, and the chance that one of its trials is left by then."""

    chance: float
    seconds: float


class PackSeconds(NamedTuple):
    """How long a pack takes from its first step on.

    Attributes:
        parts: Its stretches in their order, if one of its trials is left; the chances never grow.
        late: The seconds in which trials that were ended are expected to train on.
        every_step: The seconds if every trial does all of its steps.
        least: The seconds if every trial ends as soon as it may.
        basis: What the costs are taken from: the least certain of them.
    """

    parts: tuple[PackStretch, ...]
    late: float
    every_step: float
    least: float
    basis: Basis

    @property
    def expected(self) -> float:
        """The seconds that are expected: the mean over all places (``at``)."""
        return self.late + sum(part.chance * part.seconds for part in self.parts)

    def at(self, place: float) -> float:
        """Return the seconds if its best trial has this place among those of all packs: 0 for the best one, below 1.

        The pack goes on as long as the chance for that is above its place.
        """
        return self.late + sum(part.seconds for part in self.parts if part.chance > place)


def seconds_of(trials: Sequence[TrialSpec], costs: PackCosts, ends: EarlyEnds, done: int = 0) -> PackSeconds | None:
    """Return how long a pack takes from its first step on; None if nothing is known of packs of its kind.

    Args:
        trials: The trials of the pack, at least one, all of one shape key.
        costs: What packs cost.
        ends: How many trials are expected to be left.
        done: The steps that all of the trials have done already.
    """
    shape, training = PackProfile.of(trials), trials[0].training
    if costs.of(shape) is None:
        return None
    whole = [Stretch(training.steps, 1.0)]
    stretches = ends.stretches(training, [trial.number for trial in trials])
    least = whole if ends.least(training) >= training.steps else [Stretch(ends.least(training), 1.0)]
    interval = (training.report_interval, training.checkpoint_interval)
    parts = tuple(_parts(_after(stretches, done), shape, costs, *interval))
    # those that were ended train on until they are told
    late = sum(REPLY_SECONDS * (1.0 - part.chance) for part in parts[1:])
    every_step, lowest = (
        sum(part.seconds for part in _parts(_after(one, done), shape, costs, *interval)) for one in (whole, least)
    )
    found = PackSeconds(parts, late, every_step, lowest, costs.basis_of(shape))
    return found._replace(least=min(lowest, found.expected))


def _after(stretches: Sequence[Stretch], done: int) -> list[Stretch]:
    """Return what is left of stretches after so many steps; the trials that are left then are all of them."""
    left: list[Stretch] = []
    for steps, share in stretches:
        skipped = min(done, steps)
        done -= skipped
        if steps > skipped:
            left.append(Stretch(steps - skipped, share))
    return [Stretch(steps, share / left[0].share) for steps, share in left]


def _parts(
    stretches: Sequence[Stretch], shape: PackProfile, costs: PackCosts, report: int, checkpoint: int
) -> list[PackStretch]:
    found = []
    for steps, share in stretches:
        expected = shape.trials * share
        # a pack goes on while one of its trials does; if less than one is expected to, it does so with that chance
        chance, rows = min(1.0, expected), max(1, round(expected))
        cost = costs.of(shape.shrunk(rows)) if rows < shape.trials else costs.of(shape)
        assert cost is not None, "something is known of packs of this kind"
        rounds = math.ceil(rows / cost.size)
        each = cost.step_seconds + cost.evaluation_seconds / report
        seconds = rounds * steps * each + expected / chance * steps / checkpoint * cost.checkpoint_seconds
        found.append(PackStretch(chance, seconds))
    return found

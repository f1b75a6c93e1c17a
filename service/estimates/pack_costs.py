"""What a pack costs, from what was measured of others: of the same shape if possible, else scaled from the nearest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from workers.spec.cost import MeasuredCost, cost_shape, multiply_adds
from workers.spec.trial import TrialSpec

Basis = Literal["runs", "calibration", "scaled", "unknown"]
"""What a cost is taken from: earlier packs like it, a trial run of one like it, or another pack by its size."""
ERRORS: dict[Basis, float] = {"runs": 0.15, "calibration": 0.25, "scaled": 0.5, "unknown": 1.0}
"""By which factor above 1 the true seconds may be larger or smaller."""
EQUAL_WORK = 0.02
"""Packs whose work differs by less than this share have the same costs."""
FIXED_SECONDS = 0.001
"""About so many seconds of a step do not depend on its size, but at most half of them."""
ASSUMED_START = 5.0
"""Seconds from the decision to train a pack to its first step, where nothing was measured."""
RAY_SECONDS = 1.5
"""What Ray and the controller add to the start that a trial run measures in a process of its own."""
ASSUMED_SLOWDOWN = 1.4
"""A step of a sweep on CPUs takes about so many times as long as in a trial run beside nothing else, until sweeps have
shown it: the service, Ray and MLflow work beside a sweep, on the same processors."""
FEW_RATIOS = 3
"""With so many comparisons of trial runs with sweeps, their ratio counts as much as what was assumed before."""
RECENT = 20
"""So many of the newest starts count."""


class PackProfile(NamedTuple):
    """What the costs of a pack depend on: the shape of its trials, their kind, their number and their work."""

    shape: str
    kind: str
    trials: int
    work: float

    @classmethod
    def of(cls, trials: Sequence[TrialSpec]) -> PackProfile:
        """Return the shape of a pack of these trials, which have one shape key."""
        return cls(cost_shape(trials[0]), trials[0].model.kind, len(trials), sum(map(multiply_adds, trials)))

    def shrunk(self, trials: int) -> PackProfile:
        """Return the shape of the pack when so many of its trials are left."""
        return self._replace(trials=trials, work=self.work * trials / self.trials)


@dataclass(frozen=True)
class PackCost:
    """What the parts of a pack's training take.

    Attributes:
        size: How many of its trials are trained at once.
        step_seconds: A step of all trials that are trained at once.
        evaluation_seconds: What they measure at a report.
        checkpoint_seconds: The checkpoint of one trial.
        basis: What these are taken from.
        samples: How many measurements these are taken from.
    """

    size: int
    step_seconds: float
    evaluation_seconds: float
    checkpoint_seconds: float
    basis: Basis
    samples: int


class PackCosts:
    """Answers what packs cost on one kind of device, from measurements.

    Args:
        measured: All measurements, the oldest first, of packs on GPUs or of packs on CPUs.
        cpus: The CPUs of the packs that are asked for. Measurements with as many count before the others.

    Attributes:
        device: The kind of device that was measured last; None if none was. Measurements of others do not count.
        own: The measurements of this device.
        slowdown: How many times as long steps take in sweeps as in trial runs of the same packs.
        compared: Of how many packs that is known.
    """

    def __init__(self, measured: Sequence[MeasuredCost], cpus: float) -> None:
        self.device = measured[-1].device if measured else None
        self.own = own = [cost for cost in measured if cost.device == self.device]
        threads = max(1, int(cpus))
        self._measured = [cost for cost in own if max(1, int(cost.cpus)) == threads] or own
        self._by_shape: dict[str, list[MeasuredCost]] = {}
        for cost in self._measured:
            self._by_shape.setdefault(cost.shape, []).append(cost)
        self.slowdown, self.compared = self._compare()
        self._known: dict[PackProfile, PackCost | None] = {}

    def _compare(self) -> tuple[float, int]:
        """Return how many times as long steps take in sweeps as in trial runs, and of how many packs that is known."""
        ratios = []
        for found in self._by_shape.values():
            for run in found:
                if run.source == "run":
                    like = [cost.step_seconds for cost in found if cost.source == "calibration" and _alike(cost, run)]
                    ratios += [run.step_seconds / median(like)] if like else []
        assumed = ASSUMED_SLOWDOWN if self.device is not None and self.device.startswith("cpu") else 1.0
        if not ratios:
            return assumed, 0
        # one comparison says little about the next one, since other programs may have run during either
        share = len(ratios) / (len(ratios) + FEW_RATIOS)
        return median(ratios) ** share * assumed ** (1 - share), len(ratios)

    @property
    def start(self) -> tuple[float, Basis, int]:
        """The seconds from the decision to train a pack to its first step, what from, and from how many packs."""
        runs = [c.start_seconds for c in self._measured if c.source == "run" and c.start_seconds is not None]
        if runs:
            return median(runs[-RECENT:]), "runs", len(runs[-RECENT:])
        tried = [c.start_seconds for c in self._measured if c.start_seconds is not None]
        if tried:
            return median(tried[-RECENT:]) + RAY_SECONDS, "calibration", len(tried[-RECENT:])
        return ASSUMED_START, "unknown", 0

    def of(self, pack: PackProfile) -> PackCost | None:
        """Return what a pack costs; None if nothing was measured of any network of its kind."""
        if pack not in self._known:
            self._known[pack] = self._find(pack)
        return self._known[pack]

    def basis_of(self, pack: PackProfile) -> Basis:
        """Return what the costs of a pack are taken from."""
        found = self.of(pack)
        return "unknown" if found is None else found.basis

    def _find(self, pack: PackProfile) -> PackCost | None:
        found = self._by_shape.get(pack.shape, [])
        limited = [cost.size for cost in found if cost.trials > cost.size]
        if limited and pack.trials > max(limited):
            pack = pack.shrunk(_divided(pack.trials, max(limited)))
        exact = [cost for cost in found if cost.size == pack.trials and _ratio(cost.work, pack.work) < 1 + EQUAL_WORK]
        for source, basis in (("run", "runs"), ("calibration", "calibration")):
            same = [cost for cost in exact if cost.source == source]
            if same:
                return self._combined(same, pack, "runs" if basis == "runs" else "calibration")
        if found:
            nearest = self._like(min(found, key=lambda cost: _ratio(cost.work, pack.work)), found)
            others = [cost for cost in found if _ratio(cost.work, nearest[0].work) >= 1 + EQUAL_WORK]
            second = min(others, key=lambda cost: _ratio(cost.work, pack.work), default=None)
            slope = None if second is None else self._like(second, found)
            return self._scaled(nearest, slope, pack)
        kin = [cost for cost in self._measured if cost.kind == pack.kind]
        if kin:
            nearest = self._like(min(kin, key=lambda cost: _ratio(cost.work, pack.work)), kin)
            return self._scaled(nearest, None, pack)
        return None

    def _like(self, one: MeasuredCost, among: Sequence[MeasuredCost]) -> list[MeasuredCost]:
        """Return the measurements of the same pack as one of them: of runs, if there are any."""
        same = [cost for cost in among if cost.shape == one.shape and _alike(cost, one)]
        return [cost for cost in same if cost.source == "run"] or same

    def _combined(self, same: Sequence[MeasuredCost], pack: PackProfile, basis: Basis) -> PackCost:
        factor = 1.0 if same[0].source == "run" else self.slowdown
        evaluations = [c.evaluation_seconds for c in same if c.evaluation_seconds is not None]
        step = median(c.step_seconds for c in same)
        return PackCost(
            size=pack.trials,
            step_seconds=step * factor,
            evaluation_seconds=factor * (median(evaluations) if evaluations else step),
            checkpoint_seconds=self._checkpoint_seconds(same),
            basis=basis,
            samples=len(same),
        )

    def _checkpoint_seconds(self, same: Sequence[MeasuredCost]) -> float:
        for costs in (same, self._measured):
            known = [cost.checkpoint_seconds for cost in costs if cost.checkpoint_seconds is not None]
            if known:
                return median(known)
        return 0.0

    def _scaled(
        self, nearest: Sequence[MeasuredCost], second: Sequence[MeasuredCost] | None, pack: PackProfile
    ) -> PackCost:
        """Return the costs of a pack from those of one or two others, on a straight line over their work."""
        known = self._combined(nearest, pack, "scaled")
        work, before = pack.work, nearest[0].work
        fixed = min(FIXED_SECONDS, known.step_seconds / 2)
        if second is not None:
            there = self._combined(second, pack, "scaled")
            slope = (there.step_seconds - known.step_seconds) / (second[0].work - before)
            # neither does more work take less time, nor is it more than proportional
            fixed = min(max(known.step_seconds - slope * before, 0.0), known.step_seconds)
        factor = (fixed + (known.step_seconds - fixed) * work / before) / known.step_seconds
        return PackCost(
            size=pack.trials,
            step_seconds=known.step_seconds * factor,
            evaluation_seconds=known.evaluation_seconds * factor,
            checkpoint_seconds=known.checkpoint_seconds,
            basis="scaled",
            samples=known.samples,
        )


def _alike(one: MeasuredCost, other: MeasuredCost) -> bool:
    return one.size == other.size and _ratio(one.work, other.work) < 1 + EQUAL_WORK


def _ratio(one: float, other: float) -> float:
    """Return how many times as large as the smaller number the larger one is."""
    return math.inf if min(one, other) <= 0 else max(one, other) / min(one, other)


def _divided(trials: int, most: int) -> int:
    """Return how many trials are trained at once if there is place for ``most``: they are divided evenly."""
    return math.ceil(trials / math.ceil(trials / most))

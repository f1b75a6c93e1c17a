"""The best objective so far, over the trials that have ended and over the device-hours that were used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.report.record import PackUse, SweepRecord
from service.report.thinning import thin
from workers.spec.ranking import merit

MAX_TRIALS = 2_000
"""The most trials whose own results are among the points."""


@dataclass(frozen=True)
class EndedTrial:
    """A trial that has ended.

    Attributes:
        ended: Its place in the order in which trials ended, from 1.
        number: Its number in the sweep.
        device_hours: The device-hours that the whole sweep had used until then.
        objective: Its objective; None without a result.
        best: The best objective of all trials that had ended by then; None before the first result.
    """

    ended: int
    number: int
    device_hours: float
    objective: float | None
    best: float | None


@dataclass(frozen=True)
class BestSoFar:
    """How the best objective came about.

    Attributes:
        device: ``GPU`` if packs have GPUs, else ``CPU``: what device-hours count.
        device_hours: The device-hours that the sweep has used in all.
        points: The trials that have ended, in that order: every one at which the best objective changed, and others up
            to ``MAX_TRIALS``.
        ended: How many trials have ended.
    """

    device: str
    device_hours: float
    points: list[EndedTrial]
    ended: int


def best_so_far(record: SweepRecord) -> BestSoFar:
    """Return the best objective so far over trials and over device-hours.

    A pack counts from the start of its first attempt to the end of its last one, times its GPUs, or its CPUs if no pack
    of the sweep has a GPU; several trials that a pack trains together use its devices once.
    """
    on_gpus = any(pack.gpus > 0 for pack in record.packs)
    clock = _DeviceClock(record.packs, on_gpus)
    ended = sorted((r for r in record.rows if r.has_ended), key=lambda r: (r.ended_at or 0.0, r.number))
    best: float | None = None
    points: list[EndedTrial] = []
    changes: list[int] = []
    for place, row in enumerate(ended, 1):
        value = row.value if row.has_result else None
        if value is not None and merit(value, record.objective.direction) > merit(best, record.objective.direction):
            best = value
            changes.append(place)
        points.append(EndedTrial(place, row.number, clock.hours_at(row.ended_at or 0.0), value, best))
    shown = {*thin(range(1, len(points) + 1), MAX_TRIALS), *changes}
    device = "GPU" if on_gpus else "CPU"
    kept = [point for point in points if point.ended in shown]
    return BestSoFar(device, clock.hours_at(math.inf), kept, len(points))


class _DeviceClock:
    """Tells how many device-hours packs had used until a moment; moments are asked for in order."""

    def __init__(self, packs: Sequence[PackUse], on_gpus: bool) -> None:
        changes: list[tuple[float, float]] = []
        for pack in packs:
            devices = pack.gpus if on_gpus else pack.cpus
            if pack.end > pack.start and devices > 0:
                changes += [(pack.start, devices), (pack.end, -devices)]
        self._changes = sorted(changes)
        self._next, self._at, self._rate, self._used = 0, 0.0, 0.0, 0.0

    def hours_at(self, moment: float) -> float:
        """Return the device-hours until a moment, in seconds since 1970, which is not before the last one asked for."""
        while self._next < len(self._changes) and self._changes[self._next][0] <= moment:
            at, change = self._changes[self._next]
            self._used += self._rate * (at - self._at)
            self._at, self._rate, self._next = at, self._rate + change, self._next + 1
        left = self._rate * (moment - self._at) if self._next < len(self._changes) and moment > self._at else 0.0
        return (self._used + left) / 3600.0

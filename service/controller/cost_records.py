"""From what a runner has measured of its pack to what is known of the cost of such packs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from service.store.tables import Pack
from workers.protocol import PackTimes
from workers.spec.cost import MeasuredCost, cost_shape, multiply_adds
from workers.spec.trial import TrialSpec

FEWEST_STEPS = 5
"""Fewer steps say too little."""
LONGEST_START = 600.0
"""A pack that began later waited for something else, such as room in Ray."""


def measured_costs(pack: Pack, times: PackTimes, trials: Sequence[TrialSpec]) -> list[MeasuredCost]:
    """Return what a pack cost, once for each number of trials that it trained at once, the largest number last.

    Args:
        pack: The pack. The time to its first step is known once it has ended.
        times: What its runner has measured.
        trials: The specifications of its trials, at least one.
    """
    largest = max((size.rows for size in times.sizes), default=0)
    return [
        MeasuredCost(
            source="run",
            shape=cost_shape(trials[0]),
            kind=trials[0].model.kind,
            device=times.device,
            cpus=pack.cpus,
            gpus=pack.gpus,
            # a smaller pack is what was left of the largest one, and not a part of it
            trials=len(trials) if size.rows == largest else size.rows,
            size=size.rows,
            work=sum(map(multiply_adds, trials)) / len(trials) * size.rows,
            steps=size.steps,
            step_seconds=size.step_seconds,
            evaluation_seconds=size.evaluation_seconds / size.evaluations if size.evaluations else None,
            checkpoint_seconds=times.checkpoint_seconds / times.checkpoints if times.checkpoints else None,
            start_seconds=_start_seconds(pack, times) if size.rows == largest else None,
            peak_bytes=times.peak_bytes if size.rows == largest else None,
            gpu_peak_bytes=times.gpu_peak_bytes if size.rows == largest else None,
            at=time.time(),
        )
        for size in times.sizes
        if size.steps >= FEWEST_STEPS
    ]


def _start_seconds(pack: Pack, times: PackTimes) -> float | None:
    """Return the seconds of a pack that has ended before its first step, with its warm-up and the last answer's way."""
    if pack.ended_at is None:
        return None
    outside = pack.ended_at - pack.created_at - times.age_seconds
    seconds = max(0.0, outside) + times.ready_seconds + times.warm_up_seconds
    return seconds if seconds <= LONGEST_START else None

"""How much memory one worker needs, from what was measured of packs like its own, or from what the pack holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.estimates.pack_costs import EQUAL_WORK
from workers.spec.cost import MeasuredCost, cost_shape, multiply_adds, training_bytes
from workers.spec.trial import TrialSpec

PROGRAM_BYTES = 260_000_000
"""What a worker's process has before it holds a pack: Python, torch and our own code; measured."""
RAY_BYTES = 90_000_000
"""What a worker has beside the process of a trial run, for Ray; measured."""


class PeakMemory(NamedTuple):
    """The most memory of a worker in bytes, and why."""

    main: int
    gpu: int | None
    reason: str


def peak_memory(packs: Sequence[Sequence[TrialSpec]], measured: Sequence[MeasuredCost]) -> PeakMemory:
    """Return the most memory that a worker needs which trains one of some packs, of at least one.

    A measurement of a pack of the same shape, size and work is taken if there is one. Else the memory is that of the
    program and of what the trials hold, without the data set.
    """
    found = [_of(pack, measured) for pack in packs]
    largest = max(found, key=lambda peak: peak.main)
    gpu = [peak.gpu for peak in found if peak.gpu is not None]
    return largest._replace(gpu=max(gpu, default=None))


def _of(pack: Sequence[TrialSpec], measured: Sequence[MeasuredCost]) -> PeakMemory:
    shape, work = cost_shape(pack[0]), sum(map(multiply_adds, pack))
    like = [
        cost
        for cost in measured
        if cost.shape == shape and cost.peak_bytes and cost.trials == len(pack) and _is_near(cost, work)
    ]
    for source in ("run", "calibration"):
        same = [cost for cost in like if cost.source == source]
        if same:
            beside = 0 if source == "run" else RAY_BYTES
            gpu = max((cost.gpu_peak_bytes for cost in same if cost.gpu_peak_bytes), default=None)
            words = "as an earlier worker had" if source == "run" else "as a short trial run had, and what Ray adds"
            text = f"{words} with {len(pack)} such trials"
            return PeakMemory(max(cost.peak_bytes or 0 for cost in same) + beside, gpu, text)
    held = training_bytes(pack)
    reason = (
        f"computed for {len(pack)} trials, without the data set: {PROGRAM_BYTES + RAY_BYTES:,} bytes for the program, "
        f"{held:,} for parameters, optimiser and states"
    )
    if pack[0].training.dtype == "bfloat16" or any(cost.gpus for cost in measured[-1:]):
        return PeakMemory(PROGRAM_BYTES + RAY_BYTES, held, reason)
    return PeakMemory(PROGRAM_BYTES + RAY_BYTES + held, None, reason)


def _is_near(cost: MeasuredCost, work: float) -> bool:
    """Return whether a measured pack, whose trials may not all have been trained at once, has about this work."""
    whole = cost.work * cost.trials / cost.size
    return abs(whole - work) <= EQUAL_WORK * work

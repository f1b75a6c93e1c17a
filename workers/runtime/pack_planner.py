"""Which trials are trained together, decided from their specs alone."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from workers.spec.trial import TrialSpec

LARGEST_ON_CPU = 8
LARGEST_SMALL_ON_CPU = 16
SMALL = 2**18
"""States of a step (T x B x n) up to which a trial's own arithmetic is less than what packing saves: measured."""

LARGEST_ON_GPU = 64
"""One small net leaves a GPU waiting on launches: packing is nearly free until the pack fills it."""

GPU_STATES = 8 * 2**30
"""Bytes of states that a pack may keep on a whole GPU for its backward: half of what the smaller ones in use hold."""


def plan(trials: Sequence[TrialSpec], pack_size: int | Literal["auto"], workers: int, gpus: float) -> list[list[int]]:
    """Packs of positions in ``trials``: each position once, one shape key per pack, in order.

    workers: packs that can run at the same time, at least 1. gpus: per pack; 0 is a CPU pack. With "auto" the trials
    of a shape are spread evenly over the workers, and packs are as large as pays on the device. Where trials differ in
    their reflectors, packs get about the same work: the last of them to end is what a sweep waits for.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1; found {workers}")
    shapes: dict[str, list[int]] = {}
    for position, trial in enumerate(trials):
        shapes.setdefault(trial.shape_key, []).append(position)
    packs: list[list[int]] = []
    for positions in shapes.values():
        first = trials[positions[0]]
        size = pack_size if pack_size != "auto" else _auto(first, len(positions), workers, gpus)
        work = {position: _work(trials[position]) for position in positions}
        packs += _balanced(work, size) if len(set(work.values())) > 1 else _even(positions, size)
    return packs


def _auto(trial: TrialSpec, count: int, workers: int, gpus: float) -> int:
    states = trial.depth * trial.training.batch_size * trial.model.hidden_size
    fitting = max(1, int(gpus * GPU_STATES) // max(1, trial.step_bytes))
    on_cpu = LARGEST_SMALL_ON_CPU if states <= SMALL else LARGEST_ON_CPU
    largest = min(LARGEST_ON_GPU, fitting) if gpus else on_cpu
    rounds = math.ceil(count / (workers * largest))
    return max(1, math.ceil(count / (workers * rounds)))


def _even(positions: list[int], size: int) -> list[list[int]]:
    """As few packs as hold everything with none above ``size``, and no pack more than one trial larger than another."""
    packs = math.ceil(len(positions) / size)
    cuts = [i * len(positions) // packs for i in range(packs + 1)]
    return [positions[start:stop] for start, stop in pairwise(cuts)]


def _balanced(work: dict[int, int], size: int) -> list[list[int]]:
    """As few packs as ``_even`` makes; the largest trials first, each to the pack that has least to do and room."""
    count = math.ceil(len(work) / size)
    packs: list[list[int]] = [[] for _ in range(count)]
    open_packs = [(0, number) for number in range(count)]
    for position in sorted(work, key=lambda p: -work[p]):
        done, number = heapq.heappop(open_packs)
        packs[number].append(position)
        if len(packs[number]) < math.ceil(len(work) / count):
            heapq.heappush(open_packs, (done + work[position], number))
    return [sorted(pack) for pack in packs]


def _work(trial: TrialSpec) -> int:
    """What a step of the recurrence costs, up to a factor: its products with the reflectors, and all else as eight."""
    return sum(trial.model.reflector_counts) + 8 if trial.model.reflected else 8

"""Decide which trials are trained together as a pack, from their specs alone."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Literal

from workers.spec.trial import TrialSpec

LARGEST_ON_CPU = 8
LARGEST_SMALL_ON_CPU = 16
SMALL = 2**18
"""A trial is small if one optimiser step has at most this many numbers in its states (T x B x n). Its arithmetic then
costs less than the overhead that packing saves; measured."""

MOST_ON_GPU = 256
"""The most trials that one worker with a GPU is given at a time. How many of them it trains at once is measured on the
GPU itself (workers.training.pack_size), which nobody else can know; the others wait there for their places. The bound
is for what is lost with a process."""


def plan(
    trials: Sequence[TrialSpec], pack_size: int | Literal["auto"], workers: int, gpus: float, repeats: int = 1
) -> list[list[int]]:
    """Divide trials into packs, each of one shape key.

    With ``pack_size`` "auto", the trials of a shape are spread evenly over the workers, and a pack has at most
    ``MOST_ON_GPU`` trials on a GPU. On CPUs it has at most ``LARGEST_ON_CPU`` trials, or ``LARGEST_SMALL_ON_CPU``
    small ones. If trials of a shape differ in their numbers
    of reflectors, their packs get about the same amount of work, because a sweep waits for the last of them. Trials of
    one point, which differ in their seeds alone, are in one pack if a pack has room for all repeats of a point.

    Args:
        trials: The trials, in the order of their numbers.
        pack_size: The largest size of a pack, or "auto".
        workers: How many packs can run at the same time, at least 1.
        gpus: GPUs per pack, possibly a fraction; 0 for packs that run on CPUs.
        repeats: How many trials each point of the sweep has; ``repeats`` trials with consecutive numbers are a point.

    Returns:
        The packs, each a list of positions in ``trials`` in ascending order. Every position is in one pack.

    Raises:
        ValueError: ``workers`` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1; found {workers}")
    shapes: dict[str, list[int]] = {}
    for position, trial in enumerate(trials):
        shapes.setdefault(trial.shape_key, []).append(position)
    packs: list[list[int]] = []
    for positions in shapes.values():
        first = trials[positions[0]]
        size = pack_size if pack_size != "auto" else _automatic_size(first, len(positions), workers, gpus)
        together = repeats if repeats <= size else 1
        units = _points(trials, positions, together)
        work = [sum(_work(trials[position]) for position in unit) for unit in units]
        grouping = _balanced(work, size // together) if len(set(work)) > 1 else _even(len(units), size // together)
        packs += [[position for unit in group for position in units[unit]] for group in grouping]
    return packs


def _automatic_size(trial: TrialSpec, count: int, workers: int, gpus: float) -> int:
    """Return the largest size of a pack when ``count`` trials with the shape of ``trial`` are divided automatically."""
    states = trial.depth * trial.training.batch_size * trial.model.hidden_size
    on_cpu = LARGEST_SMALL_ON_CPU if states <= SMALL else LARGEST_ON_CPU
    largest = MOST_ON_GPU if gpus else on_cpu
    rounds = math.ceil(count / (workers * largest))
    return max(1, math.ceil(count / (workers * rounds)))


def _points(trials: Sequence[TrialSpec], positions: list[int], repeats: int) -> list[list[int]]:
    """Group positions, which are in order of number, by the points of their trials; each alone if there is one repeat.

    Args:
        trials: The trials of which these are positions.
        positions: The positions.
        repeats: How many trials each point has. Some of them may be at no position.
    """
    if repeats == 1:
        return [[position] for position in positions]
    return [list(point) for _, point in groupby(positions, key=lambda position: trials[position].number // repeats)]


def _even(count: int, size: int) -> list[list[int]]:
    """Divide the numbers below ``count`` into as few groups of at most ``size`` as possible, of about equal sizes."""
    packs = math.ceil(count / size)
    cuts = [i * count // packs for i in range(packs + 1)]
    return [list(range(start, stop)) for start, stop in pairwise(cuts)]


def _balanced(work: Sequence[int], size: int) -> list[list[int]]:
    """Divide what has some work into as many groups as ``_even`` does, with about the same work in each.

    What has the most work is placed first, each in the group with the least work so far that is not full. A group is
    full when it has its share, rounded up.

    Args:
        work: The work of each trial, or of the trials of each point.
        size: The largest size of a group.

    Returns:
        The groups, each a list of positions in ``work`` in ascending order.
    """
    count = math.ceil(len(work) / size)
    packs: list[list[int]] = [[] for _ in range(count)]
    open_packs = [(0, number) for number in range(count)]
    for position in sorted(range(len(work)), key=lambda p: -work[p]):
        done, number = heapq.heappop(open_packs)
        packs[number].append(position)
        if len(packs[number]) < math.ceil(len(work) / count):
            heapq.heappush(open_packs, (done + work[position], number))
    return [sorted(pack) for pack in packs]


def _work(trial: TrialSpec) -> int:
    """Return the relative cost of one step of a trial's network: m1 + m2 for its reflectors, and 8 for the rest."""
    return sum(trial.model.reflector_counts) + 8 if trial.model.reflected else 8

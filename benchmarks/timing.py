"""Timing of contenders in turns in one process, so that a slow machine slows all of them alike."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

Contender = Callable[[], object]
Clock = Callable[[], float]
Samples = dict[str, list[float]]

LEAST_SECONDS = 0.02
"""A sample has as many calls as take this long, so that the resolution of the clock does not matter."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run a ``with`` block with this many threads of torch, which the native recurrence uses too."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleave(contenders: Mapping[str, Contender], rounds: int, clock: Clock = time.process_time) -> Samples:
    """Return seconds per call, one sample per round and contender.

    Contenders are called once or twice beforehand to warm up. Every other round runs in the opposite order.
    """
    calls = {name: _calls(contender) for name, contender in contenders.items()}
    samples: Samples = {name: [] for name in contenders}
    names = list(contenders)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            for name in names if turn % 2 == 0 else reversed(names):
                gc.collect()
                samples[name].append(_sample(contenders[name], calls[name], clock))
    finally:
        if collecting:
            gc.enable()
    return samples


def _calls(contender: Contender) -> int:
    """Return the number of calls in a sample. A short first call is repeated, since it also builds and allocates."""
    took = _wall(contender)
    if took < 50 * LEAST_SECONDS:
        took = _wall(contender)
    return max(1, math.ceil(LEAST_SECONDS / max(took, 1e-7)))


def _wall(contender: Contender) -> float:
    started = time.perf_counter()
    contender()
    return time.perf_counter() - started


def _sample(contender: Contender, calls: int, clock: Clock) -> float:
    started = clock()
    for _ in range(calls):
        contender()
    return (clock() - started) / calls


def median(samples: Sequence[float]) -> float:
    """Return the median of samples."""
    return statistics.median(samples)


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Return the median over the rounds of ours / peer."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values."""
    return math.exp(statistics.fmean(map(math.log, values)))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the slope of the least-squares line through log y over log x."""
    return statistics.linear_regression(list(map(math.log, x)), list(map(math.log, y))).slope


def affine_misfit(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the largest relative distance of y from a line a + b x, which shows a jump in a curve.

    The line is fitted to relative errors, so that small sizes count as much as large ones.
    """
    weights = [1 / value for value in y]
    design = torch.tensor([[w, w * at] for w, at in zip(weights, x, strict=True)], dtype=torch.float64)
    solution = torch.linalg.lstsq(design, torch.ones(len(y), 1, dtype=torch.float64)).solution
    return float((design @ solution - 1).abs().max())

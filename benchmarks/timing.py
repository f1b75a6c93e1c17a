"""Contenders timed in turns in one process, so that whatever slows the machine slows all of them."""

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
"""A sample holds as many calls as take this long, so that the clock's own steps do not matter."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch, and the native recurrence with it, on this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleave(contenders: Mapping[str, Contender], rounds: int, clock: Clock = time.process_time) -> Samples:
    """Seconds a call, one sample per round and contender.

    Each is called once or twice beforehand to warm up. Every other round runs in the opposite order.
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
    """Calls in a sample. The first call builds and allocates: only where it is short does a second one matter."""
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
    return statistics.median(samples)


def ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """The median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the straight line through log y over log x, least squares."""
    return statistics.linear_regression(list(map(math.log, x)), list(map(math.log, y))).slope


def affine_misfit(x: Sequence[float], y: Sequence[float]) -> float:
    """How far y is from a + b x at worst, relative to y: a step in a curve that should be straight shows here.

    The line is fitted to relative errors, so that small sizes count as much as large ones.
    """
    weights = [1 / value for value in y]
    design = torch.tensor([[w, w * at] for w, at in zip(weights, x, strict=True)], dtype=torch.float64)
    solution = torch.linalg.lstsq(design, torch.ones(len(y), 1, dtype=torch.float64)).solution
    return float((design @ solution - 1).abs().max())

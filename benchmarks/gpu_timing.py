"""Timing on a GPU: contenders in turns by CUDA events, steps captured as CUDA graphs, and a profile by kernel."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import Contender

PROFILED_STEPS = 3


def interleave(contenders: Mapping[str, Contender], rounds: int, calls: int = 3) -> dict[str, list[float]]:
    """Return samples of milliseconds per call by CUDA events; contenders take turns after two warm-up calls each."""
    for contender in contenders.values():
        contender()
        contender()
    torch.cuda.synchronize()
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    gc.disable()
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            for _ in range(calls):
                contenders[name]()
            end.record()
            end.synchronize()
            samples[name].append(start.elapsed_time(end) / calls)
    gc.enable()
    return samples


def captured(step: Contender) -> Contender:
    """Return a function that replays ``step``, captured as a CUDA graph after two calls on a side stream."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Contender = graph.replay
    return replay


def both_ways(steps: Mapping[str, Contender]) -> dict[str, Contender]:
    """Return every step twice: as ``NAME, eager`` and as ``NAME, graph``."""
    return {f"{name}, {way}": made for name, step in steps.items() for way, made in _ways(step)}


def _ways(step: Contender) -> list[tuple[str, Contender]]:
    return [("eager", step), ("graph", captured(step))]


def faster(samples: Mapping[str, list[float]], name: str) -> tuple[str, list[float]]:
    """Return the faster way, ``eager`` or ``graph``, of a contender that ``both_ways`` doubled, and its samples."""
    return min(
        ((way, samples[f"{name}, {way}"]) for way in ("eager", "graph")), key=lambda of: statistics.median(of[1])
    )


class KernelTime(NamedTuple):
    """How often a step launches a kernel, and the milliseconds that all of these launches take together."""

    name: str
    launches: float
    milliseconds: float


def kernels_of(step: Contender) -> list[KernelTime]:
    """Return the kernels of one eager step, those with the most time first; copies and fills count as kernels too."""
    step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(PROFILED_STEPS):
            step()
        torch.cuda.synchronize()
    found: dict[str, tuple[int, float]] = {}
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA:
            launches, microseconds = found.get(event.name, (0, 0.0))
            found[event.name] = launches + 1, microseconds + event.device_time
    rows = [KernelTime(name, n / PROFILED_STEPS, us / PROFILED_STEPS / 1e3) for name, (n, us) in found.items()]
    return sorted(rows, key=lambda row: -row.milliseconds)

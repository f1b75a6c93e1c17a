"""Compiles the kernels of the GPU benchmarks in several processes, before anything is timed.

Triton keeps compiled kernels on disk, where the process that measures finds them. One process would compile them one
after another, for longer than all measurements take.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence

import torch

from benchmarks import gpu_sharing, peers
from benchmarks.shapes import Shape


def run(jobs: Sequence[Callable[[], object]]) -> None:
    """Call every job once, in as many processes as there are cores, up to 8. A job that fails will fail again later."""
    with multiprocessing.get_context("spawn").Pool(min(8, os.cpu_count() or 1, len(jobs))) as pool:
        pool.map(_run, jobs, chunksize=1)


def _run(job: Callable[[], object]) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        job()
        torch.cuda.synchronize()
    except Exception as error:
        print(f"  a kernel could not be compiled beforehand: {error!r}"[:300], flush=True)
    torch.cuda.empty_cache()


def step(at: Shape, reads: str) -> None:
    """Take a training step, and run forward without gradients."""
    device = torch.device("cuda")
    layer, x = peers.spectral(at.net(device=device)), at.input().to(device)
    peers.training_step(layer, x, reads=reads)()
    with torch.no_grad():
        layer.run(x)


def packed_step(at: Shape, trials: int) -> None:
    """Take a step with Adam of a pack."""
    gpu_sharing.pack(at, trials, torch.device("cuda"))()

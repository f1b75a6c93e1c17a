"""Compiles the kernels of the GPU benchmarks in several processes, before anything is timed.

Triton keeps compiled kernels on disk, where the process that measures finds them. One process would compile them one
after another, for longer than all measurements take.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence

import torch

from benchmarks import gpu_sharing, peers
from benchmarks.shapes import Shape

Job = tuple[Shape, int, str]
"""A shape; the trials of a pack with Adam, or 0 for a training step of one net; and what the loss of that step reads."""


def compile_kernels(jobs: Sequence[Job]) -> None:
    """Run every job once, in as many processes as there are cores, up to 8. A job that fails will fail again later."""
    with multiprocessing.get_context("spawn").Pool(min(8, os.cpu_count() or 1, len(jobs))) as pool:
        pool.map(_run, jobs, chunksize=1)


def _run(job: Job) -> None:
    at, trials, reads = job
    device = torch.device("cuda")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        if trials:
            gpu_sharing.pack(at, trials, device)()
        else:
            layer, x = peers.spectral(at.net(device=device)), at.input().to(device)
            peers.training_step(layer, x, reads=reads)()
            with torch.no_grad():
                layer.run(x)
        torch.cuda.synchronize()
    except Exception as error:
        print(f"  {at} could not be compiled beforehand: {str(error).splitlines()[-1][:200]}", flush=True)
    torch.cuda.empty_cache()

"""Contenders of G3: many trials on one GPU, as a pack, one after another, and in several processes at once.

Run as a program, this module is one of those processes: it prints "ready", waits for a line, trains, and prints "done".
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.gpu_timing import captured
from benchmarks.shapes import Shape
from spectral import SpectralRNN
from study.machine import ROOT

LR = 1e-3


def pack(at: Shape, trials: int, device: torch.device) -> Callable[[], None]:
    """Return a function that takes one training step of all trials in one module."""
    together = SpectralRNN.pack([at.net(device=device) for _ in range(trials)])
    x = at.input().to(device).expand(trials, -1, -1, -1).contiguous()
    return _step(together, x)


def one_by_one(at: Shape, trials: int, device: torch.device) -> Callable[[], None]:
    """Return a function that takes one training step of each trial, one after another."""
    x = at.input().to(device)
    return _in_turn([_step(at.net(device=device), x) for _ in range(trials)])


def torch_one_by_one(at: Shape, trials: int, device: torch.device, *, graph: bool) -> Callable[[], None]:
    """Return the same for torch.nn.RNN in place of our layer; ``graph`` captures the step of each trial."""
    x = at.input().to(device)
    steps = [_step(at.net(device=device).to_rnn(), x) for _ in range(trials)]
    return _in_turn([captured(step) for step in steps] if graph else steps)


def _in_turn(steps: Sequence[Callable[[], object]]) -> Callable[[], None]:
    def run() -> None:
        for step in steps:
            step()

    return run


def _step(net: torch.nn.Module, x: torch.Tensor) -> Callable[[], None]:
    # ``capturable`` keeps the number of the step on the device, which a CUDA graph needs.
    adam = torch.optim.Adam(net.parameters(), LR, fused=True, capturable=True)

    def step() -> None:
        adam.zero_grad()
        net(x)[1].square().mean().backward()
        adam.step()

    return step


def processes(at: Shape, trials: int, count: int, rounds: int) -> float:
    """Return the milliseconds that ``count`` processes take for a step of all trials, until the last has finished.

    ``trials`` must be a multiple of ``count``: each process gets trials // count. The mean over ``rounds`` steps.
    """
    command = [sys.executable, "-m", "benchmarks.gpu_sharing", *map(str, (*at, trials // count, rounds))]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for process in running:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("a process that should share the GPU did not start; its error is printed above")
    started = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    took = time.perf_counter() - started
    for process in running:
        process.communicate()
    return 1e3 * took / rounds


def _share(at: Shape, trials: int, rounds: int) -> None:
    step = one_by_one(at, trials, torch.device("cuda"))
    step()
    step()
    torch.cuda.synchronize()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(rounds):
        step()
    torch.cuda.synchronize()
    print("done", flush=True)


if __name__ == "__main__":
    n, m, steps, batch, own, times = map(int, sys.argv[1:])
    _share(Shape(n, m, steps, batch), own, times)

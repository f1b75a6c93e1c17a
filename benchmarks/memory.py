"""Benchmark P5: the memory that a training step adds to a process. Each result comes from a separate process.

    python -m benchmarks.memory '{"net": "ours", "reads": "last", "n": 256, "m": 16, "T": 784, "B": 128}'

prints what one step took. A small step beforehand loads everything that only a first step loads.
"""

from __future__ import annotations

import inspect
import json
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks import peers
from benchmarks.results import Row, row
from benchmarks.shapes import P5, Shape
from spectral import SpectralRNN
from study.machine import ROOT

GROWTH = "MiB that a step adds to a fresh process, {}; nn.RNN"
LONG = Shape(256, 16, 20_000, 32)
LONG_BYTES = 2e9


def measure(shapes: tuple[Shape, ...] = P5) -> list[Row]:
    """Return a row for each shape and loss: MiB that a step adds with our layer, with nn.RNN, and their ratio."""
    rows = []
    for at in shapes:
        for reads, what in (("last", "last state"), ("all", "all states")):
            ours, peer = (_ask(net=net, reads=reads, **at._asdict())["grown"] for net in ("ours", "nn.RNN"))
            found = (ours / 2**20, peer / 2**20, ours / peer)
            rows.append(row("P5", str(at), *found, GROWTH.format(what), at_most=1.2))
    return rows


def measure_long(at: Shape = LONG, every: int = 200) -> Row:
    """Return the peak memory of a run that only fits with checkpointing over time."""
    if "checkpoint_every" not in inspect.signature(SpectralRNN.__init__).parameters:
        return row("P5-long", str(at), None, None, None, "checkpoint_every is not available", at_most=1.0)
    found = _ask(net="ours", reads="last", every=every, **at._asdict())
    method = (
        f"GB at the peak of the whole process, checkpoint_every={every}; the bound; {found['seconds']:.1f} s a step"
    )
    over = found["peak"] / LONG_BYTES
    return row("P5-long", str(at), found["peak"] / 1e9, LONG_BYTES / 1e9, over, method, at_most=1.0)


def _ask(**question: Any) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", json.dumps(question)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stderr[-2000:]}\nThe memory of {question} could not be measured.")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _answer(question: dict[str, Any]) -> dict[str, float]:
    torch.set_num_threads(1)
    at = Shape(question["n"], question["m"], question["T"], question["B"])
    net = at.net(**({"checkpoint_every": question["every"]} if "every" in question else {}))
    layer = peers.elman(net) if question["net"] == "nn.RNN" else _own(net, "every" in question)
    peers.training_step(layer, at._replace(T=3).input(), reads=question["reads"])()
    x = at.input()
    step = peers.training_step(layer, x, reads=question["reads"])
    before = _resident()
    _forget_peak()
    started = time.perf_counter()
    step()
    seconds = time.perf_counter() - started
    return {"grown": _peak() - before, "peak": _peak(), "seconds": seconds}


def _own(net: SpectralRNN, checkpointed: bool) -> peers.Layer:
    def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if checkpointed:
            last = net.last_state(x)
            return last, last[0]
        states, last = net(x)
        return states, last[0]

    return peers.Layer(list(net.parameters()), run)


def _status(name: str) -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _forget_peak() -> None:
    """Reset the kernel's high-water mark; if that is not allowed, the peak includes the start of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))

"""Benchmark G4 on one GPU: a whole training step of a pack, compared with the kernels that it runs.

A step takes a batch, runs the network forward and backward, clips, updates and adds up losses and norms: kernel by
kernel, and as a CUDA graph. It needs pydantic, safetensors and platformdirs of the extra [train]. MNIST is random
pixels of MNIST's shape, because values do not matter to the time.

python -m benchmarks.gpu_trainer [--quick] [--out build]
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import machine, results
from benchmarks.results import Row, row
from workers.spec.expand import plan_trials
from workers.spec.sweep import SweepSpec
from workers.tasks import Task
from workers.training.batches import Batch, TaskData
from workers.training.pack import StepOptions, TrainingPack
from workers.training.training_state import TrainingState

STEPS_PER_SECOND = 300.0
"""Target for pixel MNIST with K = 3, n = 256, B = 128."""
OVER_KERNELS = 1.3
"""Target for the time of a step relative to the time of its kernels. Slow kernels also bring it near 1, so it says
something only together with the steps per second."""
MOST_LAUNCHES = 25.0
"""Target for the kernels of a step outside a graph."""
BLOCKS, BLOCK_SECONDS, PROFILED_STEPS = 7, 0.1, 5
NOT_KERNELS = ("Memcpy", "Memset", "Activity Buffer", "Buffer Flush")
"""Beginnings of names that the profiler lists beside kernels."""
IMAGES = 4_096
"""Training images of random pixels."""


@dataclass(frozen=True)
class PackShape:
    """A pack of ``trials`` trials of one task, with n units, m reflectors on each side and batches of B sequences."""

    task: dict[str, Any]
    trials: int
    n: int
    m: int
    B: int

    def __str__(self) -> str:
        name = "permuted MNIST" if self.task.get("order") == "permuted" else self.task["name"]
        return f"{name} K={self.trials} n={self.n} m={self.m} B={self.B}"


MNIST: dict[str, Any] = {"name": "mnist"}
SHAPES = (
    PackShape(MNIST, 3, 256, 16, 128),
    PackShape(MNIST, 1, 128, 16, 128),
    PackShape(MNIST, 8, 128, 16, 32),
    PackShape(MNIST, 32, 128, 16, 32),
    PackShape({"name": "adding", "length": 784}, 3, 128, 16, 128),
    PackShape(MNIST | {"order": "permuted"}, 3, 170, 42, 128),
)
QUICK = (PackShape(MNIST | {"steps": 28}, 3, 64, 8, 32), PackShape({"name": "adding", "length": 28}, 3, 64, 8, 32))


def main() -> None:
    """Measure each shape and save the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_trainer", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short sequences and small packs, to show that it runs")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU; this benchmark needs one")
    torch.set_num_threads(1)  # like the worker of a pack with one CPU
    header = machine.describe("triton", "numpy")
    rows = [found for shape in (QUICK if options.quick else SHAPES) for found in measure(shape)]
    path = options.out / ("bench-gpu-trainer-quick.json" if options.quick else "bench-gpu-trainer.json")
    results.show(results.save(rows, header, path), header)


def measure(shape: PackShape) -> list[Row]:
    """Return the rows of one shape: its launches, its step over its kernels, and its steps per second."""
    device = torch.device("cuda")
    eager = make_pack(shape, device, graph=False)
    for _ in range(3):
        eager.step(probe=False)
    launches, kernels = count_kernels(eager)
    eager_seconds = time_step(eager)
    del eager
    pack = make_pack(shape, device, graph=True)
    for _ in range(3):
        pack.step(probe=False)
    seconds, captured = time_step(pack), pack.captured
    _, replayed = count_kernels(pack)
    pack.release()
    first = shape == SHAPES[0]
    how = "as a graph" if captured else "not captured"
    return [
        row(
            "G4", str(shape), 1e3 * seconds, 1e3 * replayed, seconds / replayed,
            f"ms of a training step, {how}, over ms of its kernels", at_most=OVER_KERNELS,
        ),
        row(
            "G4-eager", str(shape), 1e3 * eager_seconds, 1e3 * kernels, eager_seconds / kernels,
            "ms of a training step, kernel by kernel, over ms of its kernels",
        ),
        row(
            "G4-launches", str(shape), launches, None, launches, "kernels of a training step", at_most=MOST_LAUNCHES,
        ),
        row(
            "G4-speed", str(shape), 1 / seconds, None, 1 / seconds, f"training steps per second, {how}",
            at_least=STEPS_PER_SECOND if first else None,
        ),
    ]  # fmt: skip


class RandomImages(TaskData):
    """Data of the shape of a task's, with random pixels and classes, all sets the same one."""

    def __init__(self, task: Task, device: torch.device, dtype: torch.dtype) -> None:
        self._task, self._device, self._dtype = task, device, dtype
        generator = torch.Generator().manual_seed(0)
        pixels = torch.rand(IMAGES, task.sequence_length, task.input_size, generator=generator)
        classes = torch.randint(task.output_size, (IMAGES,), generator=generator)
        self._train = Batch(pixels.to(device, dtype), classes.to(device))
        self.validation = self.test = Batch(self._train.inputs[:512], self._train.targets[:512])


def make_pack(shape: PackShape, device: torch.device, *, graph: bool) -> TrainingPack:
    """Return a pack whose trials differ in their seed alone."""
    sweep = SweepSpec.model_validate(
        {
            "task": shape.task,
            "model": {"hidden_size": shape.n, "reflectors": shape.m, "margin": 0.005},
            "training": {"steps": 16_000, "batch_size": shape.B, "lr": 1e-3, "schedule": "cosine"},
            "space": {"training.seed": list(range(shape.trials))},
        }
    )
    states = [TrainingState.start(plan.require_spec()) for plan in plan_trials(sweep)]
    data: TaskData = RandomImages(sweep.task, device, torch.float32)
    if sweep.task.draws_fresh:
        data = TaskData(sweep.task, None, device, torch.float32)
    options = StepOptions.of(device, states[0].spec.training)._replace(graph=graph)
    return TrainingPack(states, data, device, options)


def time_step(pack: TrainingPack) -> float:
    """Return the seconds of one step: the median of blocks, with the device idle at both ends of a block."""
    started = time.perf_counter()
    pack.step(probe=False)
    torch.cuda.synchronize()
    calls = max(2, int(BLOCK_SECONDS / (time.perf_counter() - started)))
    samples = []
    for _ in range(BLOCKS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(calls):
            pack.step(probe=False)
        torch.cuda.synchronize()
        samples.append((time.perf_counter() - started) / calls)
    return statistics.median(samples)


def count_kernels(pack: TrainingPack) -> tuple[float, float]:
    """Return how many kernels one step launches, and the seconds that they take in all; copies are not counted."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(PROFILED_STEPS):
            pack.step(probe=False)
        torch.cuda.synchronize()
    events = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
    kernels = [event for event in events if not event.name.startswith(NOT_KERNELS)]
    microseconds = sum(event.device_time for event in kernels)
    return len(kernels) / PROFILED_STEPS, 1e-6 * microseconds / PROFILED_STEPS


if __name__ == "__main__":
    main()

"""Plans of the Triton kernels for a device: from a table, from a file of the user's, or by measurement.

SPECTRAL_GPU_PLANS says where plans come from:

| value | plans |
|---|---|
| ``auto``, the default | the table on devices on which it was measured (compute capability 9.0), measured on others |
| ``table`` | the table |
| ``measure`` | measured on the device when a shape is first met, which takes seconds, nearly all of them to compile |
| the path of a file | those in the file, which is never changed; the table for shapes that are not in it |

Measured plans are kept in the process and in a file for each device and version in SPECTRAL_CACHE_DIR, or else in the
user's cache folder, so that a process which is started again takes the same ones. Plans decide the order of sums: the
same plan gives the same bits. Nothing is measured while a CUDA graph is captured.
"""

import contextlib
import fcntl
import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectral.errors import OptionError
from spectral.recurrence import triton_launch, triton_sums
from spectral.recurrence.activation import Activation
from spectral.recurrence.triton_device import processors_of
from spectral.recurrence.triton_plans import (
    Plan,
    Plans,
    PlanShape,
    SumPlan,
    bucket,
    by_table,
    candidates,
    sum_candidates,
)

log = logging.getLogger(__name__)

MOST_SHAPES = 512
"""Shapes in a file of measured plans; a shape beyond them drives out the one that has been there longest."""

MARGIN = 0.95
"""A plan takes the place of the table's only if it takes at most this part of its time, since times vary."""

ELEMENTS, STEPS = 1 << 25, 512
"""The most numbers in the states of the problem that is measured, and its most steps."""

MEASURED_BY_HAND = ((9, 0),)
"""Compute capabilities of the devices on which the table was measured."""

_plans: dict[tuple[torch.device, PlanShape], Plans] = {}


def plans_for(shape: PlanShape, device: torch.device) -> Plans:
    """Return how the kernels divide a problem of this shape on a device; the same for the whole process.

    Raises:
        OptionError: If SPECTRAL_GPU_PLANS is neither a known word nor a file of plans.
    """
    key = device, bucket(shape)
    found = _plans.get(key)
    if found is None:
        found = _plans[key] = _find(key[1], device)
        log.debug("plans for %s on %s: %s", key[1], device, found)
    return found


def forget() -> None:
    """Forget the plans of this process, so that the variable and the files are read again."""
    _plans.clear()


def _find(shape: PlanShape, device: torch.device) -> Plans:
    """Return the plans for a shape that this process has not met."""
    table = by_table(shape, processors_of(device))
    source = os.environ.get("SPECTRAL_GPU_PLANS") or "auto"
    if source == "table" or (source == "auto" and not _is_unknown(device)):
        return table
    if source not in ("auto", "measure"):
        return _pinned(Path(source)).get(shape, table)
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        log.info("a CUDA graph is being captured, so no plan is measured for %s", shape)
        return table
    try:
        path = _folder() / f"gpu-plans-{_version(device)}.json"
        known = read(path).get(shape)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home folder
        log.warning("plans of GPU kernels cannot be kept (%s); they are measured again in every process", error)
        return measure(shape, device, table)
    return known or _keep(path, shape, measure(shape, device, table))


def _is_unknown(device: torch.device) -> bool:
    """Return whether the table was not measured on such a device."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) not in MEASURED_BY_HAND


def measure(shape: PlanShape, device: torch.device, table: Plans) -> Plans:
    """Return the fastest plans, each candidate compiled and timed on a short problem; the table's if none is faster."""
    start = time.monotonic()
    problem = _Problem(shape, device)
    forward, backward = (
        _fastest(run, candidates(shape), own, problem.busy)
        for run, own in ((problem.forward, table.forward), (problem.backward, table.backward))
    )
    sums = _fastest(problem.sums, sum_candidates(shape), table.sums, problem.busy)
    log.info("measured plans for %s on %s in %.1f s", shape, device, time.monotonic() - start)
    return Plans(forward, backward, sums)


def _fastest(run: Callable[[Any], None], others: list[Any], own: Any, busy: Callable[[], None]) -> Any:
    """Return the candidate that takes the least time, or ``own`` if none is faster by more than the margin."""
    times = {plan: _milliseconds(run, plan, busy) for plan in dict.fromkeys([own, *others])}
    best = min(times, key=lambda plan: times[plan])
    return best if times[best] < MARGIN * times[own] else own


def _milliseconds(run: Callable[[Any], None], plan: Any, busy: Callable[[], None]) -> float:
    """Return the shortest of five runs; infinity if the kernel cannot be compiled or started.

    Args:
        run: Starts the kernels of a plan.
        plan: The plan.
        busy: Keeps the device busy for longer than a start takes, so that the time between two events holds no wait.
    """
    try:
        run(plan)
        torch.cuda.synchronize()
        times: list[float] = []
        for _ in range(5):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            busy()
            start.record()
            run(plan)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        return min(times)
    except Exception as error:  # a compiler's errors have no class in common
        log.debug("plan %s cannot be used: %s", plan, error)
        return float("inf")


class _Problem:
    """A short recurrence of a shape, with one input feature, whose loss reads the last state.

    Args:
        shape: The shape, rounded up as ``bucket`` does.
        device: The device.
    """

    def __init__(self, shape: PlanShape, device: torch.device) -> None:
        n, r, trials, batch = shape.size, shape.rank, shape.trials, shape.batch
        steps = max(8, min(STEPS, ELEMENTS // (trials * batch * n)))

        def make(*sizes: int) -> Tensor:
            return torch.full((trials, *sizes), 0.01, dtype=torch.float64 if shape.bits == 64 else torch.float32).to(
                device
            )

        self.x, self.h0, self.states = make(steps, batch, 1), make(batch, n), make(steps, batch, n)
        self.sigma, self.a, self.c, self.weight, self.bias = make(n), make(n, r), make(n, r), make(n, 1), make(n)
        self.skinny, self.q = make(steps, batch, r), make(steps, batch, r)
        self.delta, self.end = make(steps, batch, n), make(batch, n)
        self.results = triton_sums.empty(self.h0, self.sigma, r, 1, True, True, False)

    def busy(self) -> None:
        """Write arrays for some tenths of a millisecond."""
        for _ in range(8):
            self.delta.zero_()

    def forward(self, plan: Plan) -> None:
        """Run forward."""
        inputs = (self.x, self.h0, self.sigma, self.a, self.c, self.weight, self.bias, None)
        triton_launch.forward(inputs, self.states, self.end, self.skinny, Activation("relu"), plan)

    def backward(self, plan: Plan) -> None:
        """Run backward."""
        given = (self.states, self.sigma, self.a, self.c)
        triton_launch.backward(None, self.end, given, (self.delta, self.q, self.h0), Activation("relu"), plan)

    def sums(self, plan: SumPlan) -> None:
        """Form the sums."""
        triton_sums.fill(self.results, self.delta, self.states, self.h0, self.skinny, self.q, self.x, plan)


def read(path: Path) -> dict[PlanShape, Plans]:
    """Return the plans in a file; none if it is missing, or is no such file."""
    try:
        entries = json.loads(path.read_text())
        return {
            PlanShape(*shape): Plans(Plan(*forward), Plan(*backward), SumPlan(*sums))
            for shape, (forward, backward, sums) in entries
        }
    except (OSError, ValueError, TypeError):
        return {}


def write(path: Path, plans: dict[PlanShape, Plans]) -> None:
    """Write plans to a file, at once for whoever reads it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(list(plans.items()), file)
    os.replace(file.name, path)


def _keep(path: Path, shape: PlanShape, plans: Plans) -> Plans:
    """Add plans to a file, and return them, or those that another process has added meanwhile."""
    try:
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = read(path)
            if shape not in known:
                kept = dict(list(known.items())[-(MOST_SHAPES - 1) :])
                write(path, kept | {shape: plans})
            return known.get(shape, plans)
    except OSError as error:
        log.warning("plans of GPU kernels cannot be kept (%s); they are measured again in every process", error)
        return plans


def _pinned(path: Path) -> dict[PlanShape, Plans]:
    """Return the plans in a file that the user names."""
    found = read(path)
    if not found:
        raise OptionError(
            f"SPECTRAL_GPU_PLANS must be 'auto', 'table', 'measure' or the path of a file of plans; found {str(path)!r}"
        )
    return found


def _folder() -> Path:
    """Return the folder in which measured plans are kept, and create it if it is missing."""
    named, caches = os.environ.get("SPECTRAL_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    folder = Path(named) if named else (Path(caches) if caches else Path.home() / ".cache") / "spectral"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _version(device: torch.device) -> str:
    """Return a hash of all that the times of the kernels depend on, beside the shape."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    parts = [name, torch.__version__]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        parts.append(importlib.metadata.version("triton"))
    parts += [path.read_text() for path in sorted(Path(__file__).parent.glob("triton*.py"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

"""How many kernels a training step of a pack launches on a GPU, counted without one: Triton's and torch's operators."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.workers.examples import make_trial
from tests.workers.training.runs import CPU
from workers.training.batches import TaskData
from workers.training.pack import StepOptions, TrainingPack
from workers.training.training_state import TrainingState

MOST = 25
COPIES_BEFORE = ("baddbmm", "addmm")
"""Operators that copy their first argument, a broadcast bias, by a kernel before their own."""


@pytest.mark.slow
def test_a_step_launches_at_most_25_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    # The interpreter runs the kernels of a GPU here, also those of the transition and of the recurrence.
    for module, name, answer in (
        ("spectral.gpu.device", "runs", True),
        # What counts operators here is not to be seen by the operators of spectral, which would go another way.
        ("spectral.operators", "is_plain_eager", True),
        ("spectral.householder.wy", "is_plain_eager", True),
        ("spectral.cpu.transition", "runs", False),
        ("spectral.recurrence.choice", "choose", "triton"),
    ):
        monkeypatch.setattr(importlib.import_module(module), name, lambda *_, answer=answer, **__: answer)
    specs = [make_trial(seed=seed, batch_size=1, task={"name": "digits"}) for seed in range(3)]
    data = TaskData(specs[0].task, None, CPU, torch.float32)
    pack = TrainingPack([TrainingState.start(spec) for spec in specs], data, CPU, StepOptions(True, True, False))
    assert pack._feed is not None
    pack._feed.load()
    with counted() as launches:
        pack._step(False)
    kernels = [name for name in launches if name.startswith("kernel ")]
    assert {"kernel gather", "kernel cross_entropy", "kernel prepare", "kernel update"} <= set(kernels)
    assert {"kernel forward", "kernel factors", "kernel normalize"} <= set(kernels), "a part ran as on a CPU"
    assert len(launches) <= MOST, launches


@contextmanager
def counted() -> Iterator[list[str]]:
    """Yield the names of the kernels that are launched inside: Triton's, and torch's operators that need one."""
    interpreter = importlib.import_module("triton.runtime.interpreter")
    executor, launches, inside = interpreter.GridExecutor, [], [0]
    run = executor.__call__

    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        launches.append(f"kernel {self.fn.__name__}")
        inside[0] += 1  # what the interpreter does with torch's operators is not counted
        try:
            return run(self, *arguments, **named)
        finally:
            inside[0] -= 1

    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            results = function(*args, **(kwargs or {}))
            name = function._schema.name
            if not inside[0] and name.startswith("aten::") and not _is_free(function, results, args):
                launches.append(name)
                launches.extend(f"copy before {name}" for known in COPIES_BEFORE if name == f"aten::{known}")
            return results

    executor.__call__ = call
    try:
        with Operators():
            yield launches
    finally:
        executor.__call__ = run


def _is_free(function: Any, results: Any, arguments: Any) -> bool:
    """Return whether an operator only makes a view or memory without values."""
    name = function._schema.name
    views = any(
        isinstance(result, torch.Tensor) and isinstance(given, torch.Tensor) and function._schema.returns[0].alias_info
        and not function._schema.returns[0].alias_info.is_write
        for result in (results if isinstance(results, list | tuple) else [results]) for given in arguments[:1]
    )  # fmt: skip
    return views or "empty" in name or name in ("aten::detach", "aten::is_same_size", "aten::_unsafe_view")

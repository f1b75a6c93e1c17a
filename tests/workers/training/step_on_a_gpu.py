"""Training on a GPU: steps as a CUDA graph against steps kernel by kernel, failing trials, and too little memory.

    python -m tests.workers.training.step_on_a_gpu [NAME ...]

prints a line for each check and ends with the number of failures. It needs torch, triton, pydantic, safetensors and
platformdirs.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.workers.examples import make_trial
from workers.spec.trial import TrialSpec
from workers.training.batches import TaskData
from workers.training.pack import StepOptions, TrainingPack
from workers.training.trainer import Trainer
from workers.training.trainer_events import Reported
from workers.training.training_state import TrainingState

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
TIMES = ("throughput/sequences_per_s", "time/wall_s")
TEXT = "to be, or not to be: that is the question. whether 'tis nobler in the mind to suffer\n" * 3
DIGITS, COPY = {"name": "digits"}, {"name": "copy", "length": 6}
LETTERS = {"name": "text", "file": "hamlet.txt", "length": 6, "vocabulary": 20}
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "adding": ({}, True),
    "adam": ({"task": DIGITS, "schedule": "cosine", "warmup_steps": 3, "clip_norm": 0.5}, True),
    "adamw": ({"task": COPY, "optimizer": "adamw", "weight_decay": 0.1}, True),
    "rmsprop": ({"task": DIGITS, "optimizer": "rmsprop", "momentum": 0.5, "activation": "tanh"}, True),
    "sgd": ({"optimizer": "sgd", "schedule": "step", "layers": 2}, True),
    "text": ({"task": LETTERS}, True),
    "bfloat16": ({"task": DIGITS, "dtype": "bfloat16"}, True),
    "float64": ({"task": DIGITS, "dtype": "float64"}, True),
    "spectral_lstm": ({"kind": "spectral_lstm", "task": COPY}, True),
    "spectral_gru": ({"kind": "spectral_gru"}, True),
    "spectral_resnet": ({"kind": "spectral_resnet", "task": DIGITS, "layers": 4}, True),
    "ornn": ({"kind": "ornn"}, True),
    "rnn": ({"kind": "rnn", "reflectors": None}, True),
    "lstm": ({"kind": "lstm", "reflectors": None, "task": LETTERS}, True),
    "exprnn": ({"kind": "exprnn", "reflectors": None}, False),
}
"""Fields of trials by a name, and whether their steps have to be captured."""


def specs_of(name: str, count: int = 3, **further: Any) -> list[TrialSpec]:
    fields = {"hidden_size": 16, "steps": 12, "report_every": 5, "batch_size": 8} | KINDS[name][0] | further
    dtype = fields.pop("dtype", "float32")  # a sweep may ask for bfloat16 only with a GPU among its resources
    specs = [make_trial(i, **({"seed": i, "lr": 0.003 * (i + 1)} | fields)) for i in range(count)]
    return [s.model_copy(update={"training": s.training.model_copy(update={"dtype": dtype})}) for s in specs]


def data_of(spec: TrialSpec, device: torch.device = CUDA) -> TaskData:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hamlet.txt").write_text(TEXT)
        return TaskData(spec.task, Path(folder), device, getattr(torch, spec.training.parameter_dtype))


def trainer_of(specs: Sequence[TrialSpec], data: TaskData | None = None, **changes: Any) -> Trainer:
    options = StepOptions.of(CUDA, specs[0].training)._replace(**changes)
    states = [TrainingState.start(spec) for spec in specs]
    return Trainer(states, data_of(specs[0]) if data is None else data, CUDA, options=options)


def run(trainer: Trainer, ended_early: Sequence[int] = ()) -> tuple[list[Any], list[TrainingState]]:
    """Train to the end, and return the events without times, and all states; some trials are ended at a report."""
    events: list[Any] = []
    while trainer.live:
        for event in trainer.advance():
            values = event.values if isinstance(event, Reported) else {}
            kept = {name: value for name, value in values.items() if name not in TIMES}
            events.append((type(event).__name__, event.trial, event.step, kept))
        for trial in ended_early:
            if trial in trainer.live and trainer.step_of(trial) >= 5:
                trainer.end(trial)
    return events, [trainer.state(i) for i in range(len(trainer._states))]


def assert_same(a: Sequence[TrainingState], b: Sequence[TrainingState]) -> None:
    for i, (one, other) in enumerate(zip(a, b, strict=True)):
        for name, tensor in one.model.items():
            assert torch.equal(tensor, other.model[name]), (i, name, float((tensor - other.model[name]).abs().max()))
        for kind, tensors in one.optimizer.items():
            for name, tensor in tensors.items():
                assert torch.equal(tensor, other.optimizer[kind][name]), (i, kind, name)
        assert one.loss_sum == other.loss_sum


def check_graph(name: str) -> None:
    """A trial has the same bits with and without a graph: parameters, optimiser state, every metric of every report."""
    specs = specs_of(name)
    eager, graph = trainer_of(specs, graph=False), trainer_of(specs)
    expected = run(eager)
    found = run(graph)
    assert not eager._pack.captured
    if KINDS[name][1]:
        assert graph._pack.captured, "the steps were not captured"
    assert_same(found[1], expected[1])
    assert found[0] == expected[0], [pair for pair in zip(found[0], expected[0], strict=True) if pair[0] != pair[1]][:2]


def check_lengths() -> None:
    """Sequences of unequal lengths are captured too."""
    specs = specs_of("adam")
    data, generator = data_of(specs[0]), torch.Generator().manual_seed(0)
    for name in ("_train", "validation", "test"):
        whole = getattr(data, name)
        lengths = torch.randint(1, whole.inputs.shape[1] + 1, (len(whole.inputs),), generator=generator)
        setattr(data, name, whole._replace(lengths=lengths.to(CUDA)))
    expected, graph = run(trainer_of(specs, data, graph=False)), trainer_of(specs, data)
    found = run(graph)
    assert graph._pack.captured, "the steps were not captured"
    assert_same(found[1], expected[1])
    assert found[0] == expected[0]


def check_compaction(name: str) -> None:
    """After half of a pack has ended the others go on in a smaller one, which is captured again."""
    specs = specs_of(name, 4)
    expected, graph = run(trainer_of(specs, graph=False), [0, 2]), trainer_of(specs)
    found = run(graph, [0, 2])
    assert graph._pack.captured
    assert len(graph._rows) == 2
    assert_same(found[1], expected[1])
    assert found[0] == expected[0]


def check_refill(name: str) -> None:
    """A trial takes a row in place, within a captured graph, and has the bits of eager steps and of a new pack."""
    specs, found = specs_of(name, 4), []
    for graph, in_place in ((True, True), (False, True), (False, False)):
        trainer = trainer_of(specs[:3], graph=graph)
        if not in_place:
            trainer._replace = lambda _: False  # type: ignore[method-assign]
        trainer.advance()
        first = trainer._pack
        trainer.end(1)
        trainer.add(TrainingState.start(specs[3]))
        trainer._fill_rows()
        assert (trainer._pack is first) == in_place
        trainer._steps(4, lambda: False)
        trainer._count(0.0)
        assert trainer._pack.captured == (graph and KINDS[name][1])
        found.append(run(trainer))
    for other in found[1:]:
        assert_same(found[0][1], other[1])
        assert found[0][0] == other[0]


def check_fused(name: str) -> None:
    """The fused kernels compute what torch's operators compute, in float32 up to rounding."""
    specs = specs_of(name)
    states = []
    for fused in (True, False):
        trainer = trainer_of(specs, fused=fused, graph=False)
        trainer._steps(4, lambda: False)
        states.append([trainer.state(i) for i in range(3)])
    for one, other in zip(*states, strict=True):
        for key, tensor in one.model.items():
            torch.testing.assert_close(tensor, other.model[key], rtol=1e-3, atol=1e-4)


def check_nan(name: str) -> None:
    """A trial that becomes NaN changes no bit of the others, under a graph too."""
    specs = specs_of(name)
    expected, trainer = run(trainer_of(specs)), trainer_of(specs)
    trainer._steps(3, lambda: False)
    trainer._count(0.0)
    with torch.no_grad():
        trainer._pack._model.parameters["head.weight"][1] = torch.nan
    found = run(trainer)
    assert ("Failed", 1, 4) in [event[:3] for event in found[0]], "the trial did not fail at its fourth step"
    assert_same(found[1][::2], expected[1][::2])


def check_fed(name: str) -> None:
    """Batches that come through static tensors are those that are made one by one."""
    specs = specs_of(name)
    data, seeds = data_of(specs[0]), [spec.training.seed for spec in specs]
    pack = TrainingPack([TrainingState.start(spec) for spec in specs], data, CUDA)
    orders = [data.order(seed, 8) for seed in seeds]
    for step in range(300):
        pack._feed.load()  # type: ignore[union-attr]
        found, expected = pack._batch(), data.batch(orders, seeds, [step] * 3, 8)
        pack._feed.advance()  # type: ignore[union-attr]
        for one, other in zip(found, expected, strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other), step


def check_memory() -> None:
    """A pack that does not fit is halved until it fits, and its trials end with the numbers of trials by themselves."""
    fields = {"hidden_size": 64, "reflectors": 4, "batch_size": 64, "steps": 6, "report_every": 3,
              "task": {"name": "adding", "length": 2_000}}  # fmt: skip
    specs = [make_trial(i, **(fields | {"seed": i})) for i in range(8)]
    expected = run(trainer_of(specs))
    release()
    total, torch_bytes = torch.cuda.get_device_properties(0).total_memory, torch.cuda.memory_reserved()
    one = 64 * 2_000 * 64 * 4
    torch.cuda.set_per_process_memory_fraction((torch_bytes + 10 * one + 2**28) / total)
    try:
        trainer = trainer_of(specs)
        found = run(trainer)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert trainer._largest < 8, "everything fitted"
    print(f"  trained {trainer._largest} at a time", flush=True)
    assert [e[:3] for e in sorted(found[0], key=lambda e: (e[1], e[2], e[0]))] == [
        e[:3] for e in sorted(expected[0], key=lambda e: (e[1], e[2], e[0]))
    ]
    for one_state, other in zip(found[1], expected[1], strict=True):
        for name, tensor in one_state.model.items():
            torch.testing.assert_close(tensor, other.model[name], rtol=1e-3, atol=1e-4)


def release() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def checks() -> list[tuple[str, Callable[[], None]]]:
    """Return the names of all checks, and what they call."""
    families: list[tuple[str, Callable[[str], None], Sequence[str]]] = [
        ("graph", check_graph, list(KINDS)),
        ("compaction", check_compaction, ["adam", "text"]),
        ("refill", check_refill, ["adam", "text", "adamw", "sgd", "float64", "spectral_gru", "rnn"]),
        ("fused", check_fused, ["adding", "adam", "adamw", "rmsprop", "sgd"]),
        ("NaN", check_nan, ["adding", "adam", "rnn"]),
        ("fed", check_fed, ["adding", "adam", "text", "adamw"]),
    ]
    found = [(f"{family} {name}", partial(check, name)) for family, check, names in families for name in names]
    return [*found, ("lengths", check_lengths), ("memory", check_memory)]


def main(names: Sequence[str]) -> int:
    """Run the checks that begin with the words of one of ``names``, or all of them, and return how many failed."""
    torch.backends.cudnn.allow_tf32 = False
    failed = 0
    for name, check in checks():
        if names and not any(f"{name} ".startswith(f"{chosen} ") for chosen in names):
            continue
        started = time.perf_counter()
        try:
            check()
            print(f"passed {name} ({time.perf_counter() - started:.1f} s)", flush=True)
        except Exception as error:
            failed += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(
                f"FAILED {name}: {type(error).__name__} {str(error)[:300]} at {where.name}:{where.lineno}", flush=True
            )
        release()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

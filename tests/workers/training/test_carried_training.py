"""States carried from batch to batch: against a plain loop, through a kill, in packs of trials at different steps."""

from __future__ import annotations

import os
import signal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.workers.examples import make_assignment, make_trial
from workers.checkpoints import CheckpointFolder
from workers.models import initial_network
from workers.protocol import Checkpointed, Measured, Report
from workers.runtime.train_pack import train
from workers.spec.trial import TrialSpec
from workers.tasks import Sequences
from workers.tasks.adding import Adding
from workers.training.batches import TaskData
from workers.training.trainer import Trainer
from workers.training.trainer_events import Reported
from workers.training.training_state import TrainingState

CPU = torch.device("cpu")
TEXT = "to be, or not to be: that is the question. whether 'tis nobler in the mind to suffer\n" * 3
TASK = {"name": "text", "file": "hamlet.txt", "length": 6, "vocabulary": 20}
OWN: dict[str, dict[str, Any]] = {
    "spectral_rnn": {"reflectors": 3},
    "lstm": {"reflectors": None, "layers": 2},
    "rnn": {"reflectors": None},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / TASK["file"]).write_text(TEXT)  # type: ignore[operator]
    return tmp_path


def trial(kind: str, **fields: Any) -> TrialSpec:
    """Return a trial of 16 steps on a text. A pass over the text has 5 or 6 steps, so three passes begin."""
    common = {"steps": 16, "batch_size": 5, "report_every": 4, "dtype": "float64", "task": TASK}
    return make_trial(kind=kind, **(common | OWN[kind] | fields))


def trainer(folder: Path, specs: list[TrialSpec], states: list[TrainingState] | None = None) -> Trainer:
    data = TaskData(specs[0].task, folder, CPU, torch.float64)
    return Trainer(states or [TrainingState.start(spec) for spec in specs], data, CPU)


def run(found: Trainer, until: int = 10**9) -> list[Reported]:
    reports: list[Reported] = []
    while found.live and max(found.step_of(i) for i in found.live) < until:
        reports += [event for event in found.advance() if isinstance(event, Reported)]
    return reports


def assert_same_bits(a: TrainingState, b: TrainingState) -> None:
    assert a.step == b.step
    for name, tensor in a.model.items():
        assert torch.equal(tensor, b.model[name]), name
    assert a.carried is not None
    assert b.carried is not None
    assert torch.equal(a.carried, b.carried)


@pytest.mark.parametrize("kind", ["spectral_rnn", "lstm"])
def test_a_carried_state_is_that_of_a_plain_loop(kind: str, folder: Path) -> None:
    spec = trial(kind, clip_norm=None, optimizer="sgd", momentum=0.5, lr=0.2, reflector_lr=1.0, singular_lr=1.0)
    model = initial_network(spec)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    data = TaskData(spec.task, folder, CPU, torch.float64)
    order, state, passes = data.order(0, 5), None, 0
    for step in range(16):
        batch = data.batch([order], [0], [step], 5)
        assert batch.resets is not None
        passes += int(batch.resets)
        states, state = model.recurrent(_one_hot(model, batch.inputs[0]), None if batch.resets else state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = functional.cross_entropy(model.head(states).flatten(0, 1), batch.targets[0].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if kind == "spectral_rnn":
            model.recurrent.normalize_()
    assert passes >= 3
    ours = trainer(folder, [spec])
    run(ours)
    for name, p in model.named_parameters():
        torch.testing.assert_close(ours.state(0).model[name], p.detach(), rtol=1e-9, atol=1e-11, msg=name)
    wanted = torch.cat(state, -1) if isinstance(state, tuple) else state
    torch.testing.assert_close(ours.state(0).carried, wanted, rtol=1e-9, atol=1e-11)


def _one_hot(model: Any, inputs: Tensor) -> Tensor:
    if model.embedding is not None:
        return model.embedding(inputs)  # type: ignore[no-any-return]
    return functional.one_hot(inputs, 20).double()


@pytest.mark.parametrize("kind", list(OWN))
@pytest.mark.parametrize("stop_at", [1, 4, 7, 14])
def test_interrupted_and_resumed_equals_undisturbed_bit_for_bit(kind: str, stop_at: int, folder: Path) -> None:
    specs = [trial(kind, seed=seed) for seed in range(2)]
    undisturbed, first, done = trainer(folder, specs), trainer(folder, specs), 0
    run(undisturbed)

    def stop() -> bool:
        nonlocal done
        done += 1
        return done >= stop_at

    while done < stop_at:
        first.advance(stop)
    stores = [CheckpointFolder(folder / str(i), spec) for i, spec in enumerate(specs)]
    for i, store in enumerate(stores):
        first.state(i).save(store)
    second = trainer(
        folder, specs, [TrainingState.resume(store, spec) for store, spec in zip(stores, specs, strict=True)]
    )
    assert second.step_of(0) == stop_at
    run(second)
    for i in range(2):
        assert_same_bits(second.state(i), undisturbed.state(i))


def test_trials_at_different_steps_share_a_pack(folder: Path) -> None:
    specs = [trial("spectral_rnn", seed=seed) for seed in range(3)]
    together = trainer(folder, specs)
    run(together)
    ahead = trainer(folder, specs[:2])
    run(ahead, until=8)
    mixed = trainer(folder, specs, [ahead.state(0), TrainingState.start(specs[1]), TrainingState.start(specs[2])])
    assert [mixed.step_of(i) for i in range(3)] == [8, 0, 0]
    run(mixed)
    for i in range(3):
        assert_same_bits(mixed.state(i), together.state(i))


def test_a_killed_process_does_not_change_the_results(folder: Path) -> None:
    specs = [trial("spectral_rnn", seed=seed) for seed in range(2)]
    undisturbed = _numbers(_trained(folder, "whole", specs))
    context = get_context("spawn")
    process = context.Process(target=_killed_midway, args=(folder, specs))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    found = CheckpointFolder(folder / "killed" / "t0", specs[0]).newest()
    assert found is not None
    assert 0 < found.manifest.step < 16
    assert _numbers(_trained(folder, "killed", specs)) == undisturbed
    for i, spec in enumerate(specs):
        ends = [CheckpointFolder(folder / name / f"t{i}", spec).newest() for name in ("whole", "killed")]
        assert ends[0] is not None
        assert ends[1] is not None
        for kind in ("model", "optimizer"):
            left, right = getattr(ends[0], kind), getattr(ends[1], kind)
            assert left.keys() == right.keys()
            assert all(torch.equal(left[name], right[name]) for name in left)
        assert "carried" in ends[0].optimizer


def _trained(folder: Path, name: str, specs: list[TrialSpec]) -> list[Report]:
    reports: list[Report] = []
    train(make_assignment(folder / name, specs, data_dir=str(folder)), reports.append)
    return reports


def _killed_midway(folder: Path, specs: list[TrialSpec]) -> None:
    def emit(report: Report) -> None:
        if isinstance(report, Checkpointed) and report.step == 8 and report.trial_id == "t1":
            os.kill(os.getpid(), signal.SIGKILL)

    train(make_assignment(folder / "killed", specs, data_dir=str(folder)), emit)


def _numbers(reports: list[Report]) -> dict[tuple[str, int], dict[str, float]]:
    """Return the metrics that are the same in every attempt: all but the times."""
    return {
        (r.trial_id, r.step): {k: v for k, v in r.values.items() if not k.startswith(("throughput/", "time/"))}
        for r in reports
        if isinstance(r, Measured)
    }


class Ragged(Adding):
    """The adding problem with sequences of different lengths, and large numbers as padding after their ends."""

    def fresh(self, rng: np.random.Generator, count: int) -> Sequences:
        found = super().fresh(rng, count)
        lengths = rng.integers(1, self.length + 1, count)
        inputs = found.inputs.copy()
        for row, length in enumerate(lengths):
            inputs[row, length:] = 1e3
        return Sequences(inputs, found.targets, lengths)


@pytest.mark.parametrize("kind", list(OWN))
def test_padding_after_a_sequences_end_is_never_read(kind: str) -> None:
    fields = {"steps": 3, "report_every": 3, "clip_norm": None, "optimizer": "sgd", "momentum": 0.0, "lr": 0.05}
    spec = make_trial(kind=kind, dtype="float64", singular_lr=1.0, **(OWN[kind] | fields))
    spec = spec.model_copy(update={"task": Ragged(length=8)})
    data = TaskData(spec.task, None, CPU, torch.float64)
    model = initial_network(spec)
    for step in range(3):
        batch = data.batch([data.order(0, 4)], [0], [step], 4)
        assert batch.lengths is not None
        alone = [model(x[:n].unsqueeze(0)) for x, n in zip(batch.inputs[0], batch.lengths[0].tolist(), strict=True)]
        loss = (torch.cat(alone) - batch.targets[0]).square().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p -= 0.05 * g
        if kind == "spectral_rnn":
            model.recurrent.normalize_()  # type: ignore[union-attr,operator]
    ours = Trainer([TrainingState.start(spec)], data, CPU)
    run(ours)
    for name, p in model.named_parameters():
        torch.testing.assert_close(ours.state(0).model[name], p.detach(), rtol=1e-9, atol=1e-11, msg=name)

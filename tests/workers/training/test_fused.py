"""The fused kernels, in Triton's interpreter, against torch's operators and float64; no trial changes another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.workers.examples import make_trial
from tests.workers.training.runs import CPU, tensors
from tests.workers.training.test_metrics import CLASSES, Drawn, DrawnValues
from workers.spec.trial import TrialSpec
from workers.tasks.adding import Adding
from workers.training import fused
from workers.training.batches import TaskData
from workers.training.metrics import losses
from workers.training.pack import StepOptions, TrainingPack
from workers.training.records import Readings
from workers.training.training_state import TrainingState

OWN: dict[str, list[dict[str, Any]]] = {
    "adam": [{"clip_norm": 0.05, "beta1": 0.0}, {"schedule": "cosine", "warmup_steps": 3}, {"weight_decay": 0.3}],
    "adamw": [{"clip_norm": None, "weight_decay": 0.5}, {"beta1": 0.5, "beta2": 0.9}, {"clip_norm": 0.1}],
    "rmsprop": [{"momentum": 0.8}, {"alpha": 0.4, "weight_decay": 0.2}, {"schedule": "step", "schedule_every": 2}],
    "sgd": [{"momentum": 0.0, "clip_norm": 0.01}, {"weight_decay": 0.3}, {"schedule": "cosine"}],
}
SHAPES: list[dict[str, Any]] = [
    {},
    {"kind": "spectral_gru", "hidden_size": 7},
    {"kind": "spectral_resnet", "layers": 4, "task": {"name": "digits"}},
    {"task": {"name": "copy", "length": 3}, "layers": 2, "activation": "modrelu"},
]


def specs_of(optimizer: str, **fields: Any) -> list[TrialSpec]:
    own = OWN[optimizer]
    return [make_trial(optimizer=optimizer, seed=i, **({"lr": 0.01 * (i + 1)} | o | fields)) for i, o in enumerate(own)]


def in_float64(state: TrainingState) -> TrainingState:
    """Return the state with the same values in float64."""
    training = state.spec.training.model_copy(update={"dtype": "float64"})
    moments = {kind: {name: t.double() for name, t in own.items()} for kind, own in state.optimizer.items()}
    model = {name: t.double() for name, t in state.model.items()}
    return replace(state, spec=state.spec.model_copy(update={"training": training}), model=model, optimizer=moments)


def trained(
    states: list[TrainingState], options: StepOptions, steps: int = 5, spoil: int | None = None
) -> tuple[list[dict[str, Tensor]], list[Readings], Tensor]:
    """Train a pack; return the tensors of each trial, the readings and the steps. ``spoil`` becomes NaN after one."""
    spec = states[0].spec
    data = TaskData(spec.task, None, CPU, getattr(torch, spec.training.parameter_dtype))
    states = [replace(state) for state in states]
    pack = TrainingPack(states, data, CPU, options)
    for step in range(steps):
        pack.step(probe=step == steps - 1)
        if step == 0 and spoil is not None:
            with torch.no_grad():
                pack._model.parameters["head.weight"][spoil] = torch.nan
    for row, state in enumerate(states):
        pack.store(row, state)
    return [tensors(state) for state in states], pack.readings(), pack._optimizer.steps


def started(optimizer: str, **fields: Any) -> list[TrainingState]:
    return [TrainingState.start(spec) for spec in specs_of(optimizer, **fields)]


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "shape"), [*zip(OWN, SHAPES, strict=True), ("adam", SHAPES[-1])], ids=str)
def test_a_fused_step_is_the_step_of_torchs_operators(optimizer: str, shape: dict[str, Any]) -> None:
    states, by_torch = started(optimizer, **shape), StepOptions(False, False, False)
    exact, plain = trained([in_float64(state) for state in states], by_torch), trained(states, by_torch)
    found = trained(states, StepOptions(True, True, False))
    for k, own in enumerate(found[0]):
        for name, tensor in own.items():
            wanted = exact[0][k][name]
            # Rounding is amplified from step to step by as much as it is with torch's operators in float32.
            rounding = 8 * float((plain[0][k][name].double() - wanted).abs().max())
            rounding += 1e-5 * max(1.0, float(wanted.abs().max()))
            assert float((tensor.double() - wanted).abs().max()) <= rounding, (k, name)
    for one, other in zip(found[1], exact[1], strict=True):
        assert one[:4] == pytest.approx(other[:4], rel=1e-3)
    assert found[2].tolist() == [5, 5, 5]


@pytest.mark.parametrize("optimizer", list(OWN))
def test_a_trial_that_is_not_finite_changes_no_bit_of_the_others(optimizer: str) -> None:
    states, options = started(optimizer), StepOptions(True, True, False)
    well, ill = trained(states, options), trained(states, options, spoil=1)
    for k in (0, 2):
        assert ill[1][k] == well[1][k]
        for name, tensor in well[0][k].items():
            assert torch.equal(ill[0][k][name], tensor), name
    assert ill[1][1].bad_step == 2
    assert ill[1][1].bad_loss != ill[1][1].bad_loss


def test_a_trial_has_the_same_bits_in_packs_of_any_size() -> None:
    states, options = started("adam"), StepOptions(True, True, False)
    together = trained(states, options)
    for k, state in enumerate(states):
        alone = trained([state], options)
        assert alone[1][0] == together[1][k]
        for name, tensor in alone[0][0].items():
            assert torch.equal(together[0][k][name], tensor), name


@pytest.mark.parametrize("size", [1, 5, 67])
@pytest.mark.parametrize("task", [Drawn(), Drawn(every=True), DrawnValues(every=True), Adding(length=3)], ids=str)
def test_losses_and_their_gradient_are_torchs(task: Any, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    lead = (3, size, *([4] if task.readout == "every" else []))
    outputs = 3 * torch.randn(*lead, task.output_size, generator=generator)
    if task.loss == "cross_entropy":
        targets = torch.randint(CLASSES, lead, generator=generator)
        targets[0, 0] = -100
    else:
        targets = torch.randn(outputs.shape, generator=generator)
        if task.readout == "every":
            targets[0, 0] = torch.nan
    leaf = outputs.double().requires_grad_()
    expected = losses(task, leaf, targets if task.loss == "cross_entropy" else targets.double())
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    parts, found = fused.loss_and_gradient(task, outputs, targets)
    torch.testing.assert_close(parts.double().sum(1), expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.double(), slope, rtol=1e-5, atol=1e-7)
    outputs[1] = torch.nan
    again = fused.loss_and_gradient(task, outputs, targets)
    for before, after in zip((parts, found), again, strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert not after[1].isfinite().any()


def test_the_parts_of_a_loss_are_read_to_the_last() -> None:
    task = Drawn()
    outputs, targets = torch.randn(2, 3_000, 3), torch.zeros(2, 3_000, dtype=torch.int64)
    parts, _ = fused.loss_and_gradient(task, outputs, targets)
    assert parts.shape[1] > 1
    torch.testing.assert_close(parts.sum(1), losses(task, outputs, targets))

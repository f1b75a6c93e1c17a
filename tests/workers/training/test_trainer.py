"""Packs against the same trials alone, and failing or ending trials against the others of their pack."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.workers.examples import make_trial
from tests.workers.training.runs import CPU, assert_same_bits, run, trainer, values
from workers.models import build, initial_network, pack
from workers.training.batches import TaskData
from workers.training.trainer_events import Failed
from workers.training.training_state import TrainingState

DIFFERENT: list[dict[str, Any]] = [
    {"reflectors": 1, "margin": 0.01, "lr": 0.01, "seed": 1, "clip_norm": 0.05},
    {"reflectors": None, "reflectors_u": 5, "reflectors_v": 3, "margin": 0.5, "lr": 0.003, "seed": 2, "sigma": 0.9},
    {"reflectors": 6, "margin": 0.1, "lr": 0.02, "seed": 3, "clip_norm": None, "weight_decay": 0.1},
    {"reflectors": 2, "start": "identity", "lr": 0.02, "seed": 1, "schedule": "cosine", "reflector_lr": 0.2},
]


# Under ReLU and the identity start, gradients that are zero come out as rounding noise. Adam would divide the noise by
# itself, so that the difference between two trials would depend on the processor; plain gradient descent does not.
@pytest.mark.parametrize(
    "kind", [{"optimizer": "sgd"}, {"layers": 2, "activation": "tanh"}, {"activation": "leaky_relu"}]
)
def test_a_packed_trial_equals_the_same_trial_alone(kind: dict[str, Any]) -> None:
    specs = [make_trial(dtype="float64", **(own | kind)) for own in DIFFERENT]
    together = trainer(specs)
    events = run(together)
    for i, spec in enumerate(specs):
        alone = trainer([spec])
        wanted, found = values(run(alone), 0), values(events, i)
        assert found.keys() == wanted.keys() == {4, 8, 12}
        for step, metrics in wanted.items():
            assert found[step] == pytest.approx(metrics, rel=1e-11, abs=1e-13)
        for name, tensor in alone.state(0).model.items():
            torch.testing.assert_close(together.state(i).model[name], tensor, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_a_packed_baseline_equals_the_same_trial_alone(kind: str) -> None:
    specs = [make_trial(kind=kind, reflectors=None, dtype="float64", seed=s, lr=0.01 * (s + 1)) for s in range(3)]
    events = run(trainer(specs))
    for i, spec in enumerate(specs):
        wanted = values(run(trainer([spec])), 0)
        for step, metrics in values(events, i).items():
            assert "spectral/margin" not in metrics
            assert metrics == pytest.approx(wanted[step], rel=1e-11)


@pytest.mark.parametrize("kind", ["spectral_rnn", "rnn", "lstm"])
def test_a_pack_computes_what_its_modules_compute(kind: str) -> None:
    own = {"reflectors": 3} if kind == "spectral_rnn" else {"reflectors": None}
    models = [initial_network(make_trial(kind=kind, seed=s, layers=2, dtype="float64", **own)) for s in range(3)]
    inputs = torch.randn(3, 5, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs, _ = pack(models).forward(inputs)
    for k, model in enumerate(models):
        torch.testing.assert_close(outputs[k], model(inputs[k]), rtol=1e-12, atol=1e-13)


def test_one_step_of_a_baseline_is_torchs_own_adamw() -> None:
    spec = make_trial(
        kind="rnn", reflectors=None, activation="tanh", dtype="float64", steps=5, report_every=5, clip_norm=0.3
    )
    model = build(spec.model, spec.task, dtype=torch.float64, seed=spec.training.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.training.lr, weight_decay=0.0)
    data = TaskData(spec.task, None, CPU, torch.float64)
    for step in range(5):
        batch = data.batch([data.order(0, 4)], [0], [step], 4)
        optimizer.zero_grad()
        (model(batch.inputs[0]) - batch.targets[0]).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
    ours = trainer([spec])
    run(ours)
    for name, p in model.named_parameters():
        torch.testing.assert_close(ours.state(0).model[name], p.detach(), rtol=1e-10, atol=1e-12)


def test_gradient_norms_are_those_of_the_first_and_last_state() -> None:
    spec = make_trial(dtype="float64", steps=1, report_every=1)
    model = initial_network(spec)
    data = TaskData(spec.task, None, CPU, torch.float64)
    batch = data.batch([data.order(0, 4)], [0], [0], 4)
    h0 = torch.zeros(1, 4, 6, dtype=torch.float64, requires_grad=True)
    _, last = model.recurrent(batch.inputs[0], h0)
    loss = (model.head(last[-1]) - batch.targets[0]).square().mean()
    first_grad, last_grad = torch.autograd.grad(loss, [h0, last])
    found = values(run(trainer([spec])), 0)[1]
    assert found["grad/h0_norm"] == pytest.approx(float(first_grad.norm()), rel=1e-12)
    assert found["grad/hT_norm"] == pytest.approx(float(last_grad.norm()), rel=1e-12)
    assert found["train/loss"] == pytest.approx(loss.item(), rel=1e-12)


def test_singular_values_stay_in_the_band_they_report() -> None:
    events = run(trainer([make_trial(margin=0.05, lr=0.5, steps=40)]))
    distances = [metrics["spectral/margin"] for metrics in values(events, 0).values()]
    assert 0.01 < max(distances) <= 0.05 + 1e-6


@pytest.mark.parametrize("task", [{"name": "adding", "length": 30}, {"name": "copy", "length": 10}])
def test_recomputed_states_train_as_stored_states(task: dict[str, Any]) -> None:
    kept, again = (trainer([make_trial(task=task, dtype="float64", recompute_every=every)]) for every in (None, 7))
    run(kept)
    run(again)
    for name, tensor in kept.state(0).model.items():
        torch.testing.assert_close(again.state(0).model[name], tensor, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("kind", "own"), [("lstm", {"reflectors": None}), ("spectral_rnn", {})])
def test_mixed_precision_keeps_parameters_and_comes_near_float32(kind: str, own: dict[str, Any]) -> None:
    task = {"name": "copy", "length": 10}
    spec = make_trial(kind=kind, task=task, hidden_size=16, steps=20, report_every=20, **own)
    training = spec.training.model_copy(update={"dtype": "bfloat16"})
    mixed, plain = (run(trainer([one])) for one in (spec.model_copy(update={"training": training}), spec))
    assert values(mixed, 0)[20].keys() == values(plain, 0)[20].keys()
    found, wanted = (values(events, 0)[20]["val/loss"] for events in (mixed, plain))
    assert found != wanted
    assert found == pytest.approx(wanted, rel=0.05)


def test_nan_in_one_trial_fails_it_and_leaves_the_others_bit_identical() -> None:
    specs = [make_trial(seed=s) for s in range(3)]
    undisturbed = trainer(specs)
    wanted = run(undisturbed)
    states = [TrainingState.start(spec) for spec in specs]
    states[1].model["head.bias"] += math.nan
    poisoned = trainer(specs, states)
    events = run(poisoned)
    (failed,) = [e for e in events if isinstance(e, Failed)]
    assert (failed.trial, failed.step) == (1, 1)
    assert "train/loss was nan at step 1" in failed.reason
    assert values(events, 1) == {}
    for i in (0, 2):
        assert values(events, i) == values(wanted, i)
        assert_same_bits(poisoned.state(i), undisturbed.state(i))


def test_a_trial_that_blows_up_midway_names_the_step() -> None:
    task = {"name": "adding", "length": 400}
    wild = make_trial(kind="rnn", reflectors=None, lr=1.0, seed=2, clip_norm=None, steps=20, task=task)
    (failed,) = [e for e in run(trainer([wild])) if isinstance(e, Failed)]
    assert failed.step > 1
    assert f"at step {failed.step};" in failed.reason


def test_trials_that_end_leave_the_others_bit_identical_through_compaction() -> None:
    specs = [make_trial(seed=s) for s in range(4)]
    undisturbed = trainer(specs)
    wanted = run(undisturbed)
    found = trainer(specs)
    events = found.advance()
    found.end(0)
    events += found.advance()
    found.end(2)
    events += run(found)
    assert list(values(events, 0)) == [4]
    assert list(values(events, 2)) == [4, 8]
    assert found.step_of(0) == 4
    for i in (1, 3):
        assert values(events, i) == values(wanted, i)
        assert_same_bits(found.state(i), undisturbed.state(i))


def test_the_last_of_a_mixed_pack_continues_as_it_would_alone() -> None:
    specs = [make_trial(dtype="float64", **own) for own in DIFFERENT]
    found = trainer(specs)
    events = found.advance()
    for other in (1, 2, 3):
        found.end(other)
    events += run(found)
    wanted = values(run(trainer(specs[:1])), 0)
    for step, metrics in values(events, 0).items():
        assert metrics == pytest.approx(wanted[step], rel=1e-11)


def test_training_twice_gives_the_same_bits() -> None:
    spec = make_trial(seed=5)
    first, second = trainer([spec]), trainer([spec])
    run(first)
    torch.rand(3)
    run(second)
    assert_same_bits(first.state(0), second.state(0))

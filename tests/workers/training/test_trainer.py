"""Packs against the same trials alone, interruption against none, NaN in one slot against the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.workers.examples import make_trial
from workers.checkpoints import CheckpointFolder
from workers.models import build, pack, start_of
from workers.spec.trial import TrialSpec
from workers.training.batches import ShuffledOrder, TaskData
from workers.training.optimizers import OPTIMIZERS
from workers.training.trainer import Failed, Finished, Reported, Trainer, TrainerEvent
from workers.training.training_state import TrainingState

CPU = torch.device("cpu")
TIMES = ("throughput/sequences_per_s", "time/wall_s")


def trainer(specs: Sequence[TrialSpec], states: Sequence[TrainingState] | None = None) -> Trainer:
    dtype = getattr(torch, specs[0].training.parameter_dtype)
    data = TaskData(specs[0].task, None, CPU, dtype)
    return Trainer(states or [TrainingState.start(spec) for spec in specs], data, CPU)


def run(found: Trainer) -> list[TrainerEvent]:
    events: list[TrainerEvent] = []
    while found.live:
        events += found.advance()
    return events


def values(events: Sequence[TrainerEvent], trial: int) -> dict[int, dict[str, float]]:
    """Step -> metrics of one trial, without what depends on the clock."""
    return {
        e.step: {name: value for name, value in e.values.items() if name not in TIMES}
        for e in events
        if isinstance(e, Reported) and e.trial == trial
    }


def tensors(state: TrainingState) -> dict[str, Tensor]:
    moments = {f"{kind}.{n}": t for kind, own in state.optimizer.items() for n, t in own.items()}
    return state.model | moments


def assert_same_bits(a: TrainingState, b: TrainingState) -> None:
    assert a.step == b.step
    left, right = tensors(a), tensors(b)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


DIFFERENT: list[dict[str, Any]] = [
    {"reflectors": 1, "margin": 0.01, "lr": 0.01, "seed": 1, "clip_norm": 0.05},
    {"reflectors": None, "reflectors_u": 5, "reflectors_v": 3, "margin": 0.5, "lr": 0.003, "seed": 2, "sigma": 0.9},
    {"reflectors": 6, "margin": 0.1, "lr": 0.02, "seed": 3, "clip_norm": None, "weight_decay": 0.1},
    {"reflectors": 2, "start": "identity", "lr": 0.02, "seed": 1, "schedule": "cosine", "reflector_lr": 0.2},
]


@pytest.mark.parametrize("kind", [{}, {"layers": 2, "activation": "tanh"}, {"activation": "leaky_relu"}])
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
    models = [start_of(make_trial(kind=kind, seed=s, layers=2, dtype="float64", **own)) for s in range(3)]
    inputs = torch.randn(3, 5, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs, _ = pack(models).forward(inputs)
    for k, model in enumerate(models):
        torch.testing.assert_close(outputs[k], model(inputs[k]), rtol=1e-12, atol=1e-13)


def test_one_step_of_a_baseline_is_torchs_own_adamw() -> None:
    spec = make_trial(
        kind="rnn", reflectors=None, activation="tanh", dtype="float64", steps=5, report_every=5, clip_norm=0.3
    )  # fmt: skip
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
    model = start_of(spec)
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


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_interrupted_and_resumed_equals_undisturbed_bit_for_bit(stop_at: int, tmp_path: Path) -> None:
    specs = [make_trial(seed=s, reflectors=s + 1, schedule="cosine") for s in range(2)]
    undisturbed = trainer(specs)
    wanted = run(undisturbed)

    first, done = trainer(specs), 0

    def stop() -> bool:
        nonlocal done
        done += 1
        return done >= stop_at

    events: list[TrainerEvent] = []
    while done < stop_at:
        events += first.advance(stop)
    stores = [CheckpointFolder(tmp_path / str(i), spec) for i, spec in enumerate(specs)]
    for event in events:  # best ones are checkpointed as they come; here only the last would be
        if isinstance(event, Reported) and event.best and event.step < stop_at:
            _best_on_disk(specs[event.trial], stores[event.trial], event.step)
    for i, store in enumerate(stores):
        first.state(i).save(store)
    second = trainer(specs, [TrainingState.resume(store, spec) for store, spec in zip(stores, specs, strict=True)])
    assert [second.step_of(i) for i in range(2)] == [stop_at, stop_at]
    events += run(second)
    for i in range(2):
        assert values(events, i) == values(wanted, i)
        assert_same_bits(second.state(i), undisturbed.state(i))


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_every_optimizer_goes_on_from_a_checkpoint_bit_for_bit(optimizer: str, tmp_path: Path) -> None:
    specs = [
        make_trial(seed=s, optimizer=optimizer, schedule="step", warmup_steps=6, lr=0.003 * 3**s) for s in range(2)
    ]
    undisturbed, first, calls = trainer(specs), trainer(specs), iter(range(100))
    run(undisturbed)
    while first.step_of(0) < 7:
        first.advance(lambda: next(calls) >= 6)
    stores = [CheckpointFolder(tmp_path / str(i), spec) for i, spec in enumerate(specs)]
    for i, store in enumerate(stores):
        first.state(i).save(store)
    second = trainer(specs, [TrainingState.resume(store, spec) for store, spec in zip(stores, specs, strict=True)])
    assert second.step_of(0) == 7
    run(second)
    for i in range(2):
        assert_same_bits(second.state(i), undisturbed.state(i))


@pytest.mark.parametrize("task", [{"name": "adding", "length": 30}, {"name": "copy", "length": 10}])
def test_states_computed_again_train_as_states_kept(task: dict[str, Any]) -> None:
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


def _best_on_disk(spec: TrialSpec, store: CheckpointFolder, step: int) -> None:
    again = trainer([spec])
    while again.step_of(0) < step:
        again.advance()
    again.state(0).save(store)


def test_trials_at_different_steps_share_a_pack() -> None:
    specs = [make_trial(seed=s) for s in range(3)]
    together = trainer(specs)
    wanted = run(together)
    ahead = trainer(specs[:2])
    ahead.advance()
    mixed = trainer(specs, [ahead.state(0), TrainingState.start(specs[1]), TrainingState.start(specs[2])])
    events = run(mixed)
    for i in range(3):
        assert values(events, i) == {step: v for step, v in values(wanted, i).items() if i or step > 4}
        assert_same_bits(mixed.state(i), together.state(i))


def test_nan_in_one_slot_fails_it_and_leaves_the_others_bit_identical() -> None:
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


def test_the_last_of_a_mixed_pack_goes_on_as_it_would_have_alone() -> None:
    specs = [make_trial(dtype="float64", **own) for own in DIFFERENT]
    found = trainer(specs)
    events = found.advance()
    for other in (1, 2, 3):
        found.end(other)
    events += run(found)
    wanted = values(run(trainer(specs[:1])), 0)
    for step, metrics in values(events, 0).items():
        assert metrics == pytest.approx(wanted[step], rel=1e-11)


def test_test_metrics_come_once_from_the_best_checkpointed_parameters() -> None:
    spec = make_trial(steps=40, report_every=4, lr=0.5, dtype="float64")
    found = trainer([spec])
    snapshots, events = {}, []
    while found.live:
        events += found.advance()
        snapshots[found.step_of(0)] = found.state(0).model
    reports = values(events, 0)
    assert [step for step, metrics in reports.items() if "test/loss" in metrics] == [40]
    best = min(reports, key=lambda step: reports[step]["val/loss"])
    assert best < 40, "choose a rate at which the last step is not the best"
    model = start_of(spec)
    model.load_state_dict(snapshots[best])
    test = TaskData(spec.task, None, CPU, torch.float64).test
    with torch.no_grad():
        loss = float((model(test.inputs) - test.targets).square().mean())
    assert reports[40]["test/loss"] == pytest.approx(loss, rel=1e-12)


def test_a_trial_ends_at_the_first_report_that_meets_its_target() -> None:
    free = make_trial(steps=40, report_every=4, lr=0.05)
    curve = {step: metrics["val/loss"] for step, metrics in values(run(trainer([free])), 0).items()}
    target = sorted(curve.values())[len(curve) // 2]
    first = min(step for step, value in curve.items() if value <= target)
    assert 4 < first < 40, "choose a rate at which the target is met midway"
    aimed = make_trial(steps=40, report_every=4, checkpoint_every=40, lr=0.05, target=target)
    both = trainer([aimed, make_trial(steps=40, report_every=4, checkpoint_every=40, lr=0.05, seed=1)])
    events = run(both)
    reports = [e for e in events if isinstance(e, Reported) and e.trial == 0]
    assert [e.step for e in reports] == list(range(4, first + 1, 4))
    assert [(e.save, e.best, "test/loss" in e.values) for e in reports[-2:]] == [(False, False, False), (True,) * 3]
    ends = {e.trial: (e.step, e.reason) for e in events if isinstance(e, Finished)}
    assert ends[1] == (40, None)
    assert ends[0][0] == first
    assert str(ends[0][1]).endswith(f"reached training.target {target:g} at step {first} of 40")
    assert trainer([aimed], [both.state(0)]).live == []


def test_a_target_is_met_from_above_where_more_is_better() -> None:
    spec = make_trial(task={"name": "digits"}, steps=4, report_every=2, target=0.0)
    (report,) = [e for e in run(trainer([spec])) if isinstance(e, Reported)]
    assert report.step == 2
    assert "test/accuracy" in report.values


def test_checkpoints_are_due_at_their_interval_and_at_the_end() -> None:
    events = run(trainer([make_trial(steps=20, report_every=4, checkpoint_every=8)]))
    assert [e.step for e in events if isinstance(e, Reported) and e.save] == [8, 16, 20]
    assert all(e.save for e in events if isinstance(e, Reported) and e.best)
    assert isinstance(events[-1], Finished)


def test_every_report_has_every_metric() -> None:
    events = run(trainer([make_trial(task={"name": "digits"}, steps=4, report_every=2)]))
    first, last = (e.values for e in events if isinstance(e, Reported))
    always = {"train/loss", "val/loss", "val/accuracy", "spectral/margin", *TIMES}
    always |= {"grad/h0_norm", "grad/hT_norm", "grad/ratio"}
    assert first.keys() == always
    looks = {f"grad_t/{i:02d}" for i in range(16)} | {f"spectral_hist/{i}" for i in range(10)}
    looks |= {"spectral/min", "spectral/max", "spectral/orthogonality", "state/rank", "state/saturated"}
    assert last.keys() == always | looks | {"test/loss", "test/accuracy"}
    assert last["grad/ratio"] == last["grad/h0_norm"] / last["grad/hT_norm"]


def test_a_pass_shows_every_example_once_and_passes_differ() -> None:
    order = ShuffledOrder(seed=3, size=10, batch_size=4)
    seen = [i for step in range(5) for i in order.indices(step).tolist()]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert ShuffledOrder(3, 10, 4).indices(3).tolist() == seen[12:16]


def test_a_batch_larger_than_the_set_runs_over_several_passes() -> None:
    assert sorted(ShuffledOrder(seed=0, size=3, batch_size=9).indices(0).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_training_twice_gives_the_same_bits() -> None:
    spec = make_trial(seed=5)
    first, second = trainer([spec]), trainer([spec])
    run(first)
    torch.rand(3)
    run(second)
    assert_same_bits(first.state(0), second.state(0))

"""Every kind of model: a pack against its networks, trained, resumed, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.workers.examples import make_trial
from tests.workers.models.networks import (
    ADDING,
    CPU,
    EveryStep,
    Tokens,
    assert_packed_is_alone,
    drawn,
    mixed,
    shaken,
    trial,
)
from workers.checkpoints import CheckpointFolder
from workers.models import build, initial_network, load, pack
from workers.models.recurrent import RecurrentModel
from workers.spec.model import FEED_FORWARD, KINDS, ModelSpec
from workers.spec.trial import TrialSpec
from workers.tasks import Task
from workers.training.batches import TaskData
from workers.training.trainer import Trainer
from workers.training.trainer_events import Failed
from workers.training.training_state import TrainingState

RECURRENT = sorted(KINDS - FEED_FORWARD)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_pack_computes_what_its_modules_compute(kind: str) -> None:
    models = shaken([initial_network(trial(kind, **own)) for own in mixed(kind)])
    assert_packed_is_alone(models, drawn(3, 5, 8, 2))


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("task", [ADDING, EveryStep(length=6)])
def test_packs_treat_lengths_and_readouts_as_the_modules_do(kind: str, task: Task) -> None:
    specs = [trial(kind, **own).model for own in mixed(kind)]
    models = shaken([build(spec, task, dtype=torch.float64, seed=seed) for seed, spec in enumerate(specs)])
    lengths = torch.tensor([[6, 3, 1, 5], [1, 2, 6, 6], [4, 4, 4, 4]])
    inputs = drawn(3, 4, 6, 2)
    if task.readout == "last":
        assert_packed_is_alone(models, inputs, lengths)
        shorter = models[0](inputs[0][1:2, :3])
        torch.testing.assert_close(models[0](inputs[0], lengths[0])[1:2], shorter, rtol=1e-12, atol=1e-12)
    else:
        assert_packed_is_alone(models, inputs)
        ends = pack(models).forward(inputs, lengths=lengths)[0]
        for k, model in enumerate(models):
            for b, length in enumerate(lengths[k].tolist()):
                own = model(inputs[k][b : b + 1, :length])[0]
                torch.testing.assert_close(ends[k, b, :length], own, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_carried_state_continues_a_sequence(kind: str) -> None:
    packed = pack([initial_network(trial(kind, **own)) for own in mixed(kind)])
    inputs = drawn(3, 5, 8, 2)
    states, end = packed.read(inputs, every=True)
    first, middle = packed.read(inputs[:, :, :3], every=True)
    rest, last = packed.read(inputs[:, :, 3:], middle, every=True)
    torch.testing.assert_close(torch.cat([first, rest], 2), states, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, end, rtol=1e-12, atol=1e-12)
    assert end.shape == packed.zeros(5).shape == (3, packed.layers, 5, packed.state_size)
    torch.testing.assert_close(packed.top(end), states[:, :, -1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", RECURRENT)
def test_the_state_at_lengths_is_the_state_after_so_many_steps(kind: str) -> None:
    packed = pack(shaken([initial_network(trial(kind))]))
    inputs, lengths = drawn(1, 3, 8, 2), torch.tensor([[8, 2, 5]])
    read, state = packed.read(inputs, None, lengths, every=False)
    for b, length in enumerate(lengths[0].tolist()):
        own_read, own_state = packed.read(inputs[:, b : b + 1, :length], every=False)
        torch.testing.assert_close(read[:, b : b + 1], own_read, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state[:, :, b : b + 1], own_state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_row_is_the_same_bits_in_any_pack(kind: str) -> None:
    models = [initial_network(trial(kind, seed=seed, hidden_size=16, dtype="float32")) for seed in range(3)]
    inputs = drawn(3, 5, 8, 2).float()
    for task_outputs in (1, 4):
        for model in models:
            model.head = torch.nn.Linear(16, task_outputs)
        together, _ = pack(models).forward(inputs)
        for k in range(3):
            alone, _ = pack(models[k : k + 1]).forward(inputs[k : k + 1])
            assert torch.equal(together[k], alone[0])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_takes_token_ids(kind: str) -> None:
    task = Tokens(length=6)
    specs = [trial(kind, **own).model for own in mixed(kind)]
    models = shaken([build(spec, task, dtype=torch.float64, seed=seed) for seed, spec in enumerate(specs)])
    assert_packed_is_alone(models, torch.randint(0, 7, (3, 4, 6), generator=torch.Generator().manual_seed(0)))


def test_tokens_get_vectors_of_the_requested_size() -> None:
    sizes = [build(ModelSpec(embedding_size=size), Tokens()).embedding for size in (None, 3)]
    assert [table.weight.shape for table in sizes if table is not None] == [(7, 7), (7, 3)]
    assert ModelSpec().embedding_of(10_000) == 128
    with pytest.raises(ValidationError, match="embedding_size is for tokens"):
        TrialSpec.model_validate(make_trial().model_dump() | {"model": {"embedding_size": 4}})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_trains_and_is_loaded_as_saved(kind: str, tmp_path: Path) -> None:
    specs = [trial(kind, **own, steps=3, report_every=3, lr=0.01) for own in mixed(kind)]
    data = TaskData(specs[0].task, None, CPU, torch.float64)
    trainer = Trainer([TrainingState.start(spec) for spec in specs], data, CPU)
    while trainer.live:
        assert not [event for event in trainer.advance() if isinstance(event, Failed)]
    for i, spec in enumerate(specs):
        state, start = trainer.state(i), initial_network(spec)
        still = [name for name, p in start.named_parameters() if torch.equal(p, state.model[name])]
        assert not still
        loaded = load(state.save(CheckpointFolder(tmp_path / str(i), spec)))
        inputs = drawn(4, 8, 2)
        start.load_state_dict(state.model)
        assert torch.equal(loaded(inputs), start(inputs))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_resumes_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    specs = [trial(kind, **own, dtype="float32", steps=6, report_every=3) for own in mixed(kind)]
    data = TaskData(specs[0].task, None, CPU, torch.float32)
    undisturbed = Trainer([TrainingState.start(spec) for spec in specs], data, CPU)
    while undisturbed.live:
        undisturbed.advance()
    first = Trainer([TrainingState.start(spec) for spec in specs], data, CPU)
    first.advance()
    stores = [CheckpointFolder(tmp_path / str(i), spec) for i, spec in enumerate(specs)]
    for i, store in enumerate(stores):
        first.state(i).save(store)
    resumed = Trainer([TrainingState.resume(store, spec) for store, spec in zip(stores, specs, strict=True)], data, CPU)
    while resumed.live:
        resumed.advance()
    for i in range(3):
        assert resumed.step_of(i) == 6
        for name, tensor in undisturbed.state(i).model.items():
            assert torch.equal(resumed.state(i).model[name], tensor), name


@pytest.mark.parametrize(("kind", "fields"), [("ornn", {"reflectors": 6}), ("exprnn", {}), ("exprnn", {"layers": 1})])
def test_orthogonal_kinds_stay_orthogonal_while_they_train(kind: str, fields: dict[str, Any]) -> None:
    spec = trial(kind, **fields, lr=0.1, steps=20)
    trainer = Trainer([TrainingState.start(spec)], TaskData(spec.task, None, CPU, torch.float64), CPU)
    while trainer.live:
        trainer.advance()
    model = initial_network(spec)
    model.load_state_dict(trainer.state(0).model)
    assert isinstance(model, RecurrentModel)
    net: Any = model.recurrent
    w = net.dense() if kind == "ornn" else net.layers[0].weight_hh
    torch.testing.assert_close(w @ w.mT, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_singular_values_keep_to_the_band_of_each_trial(kind: str) -> None:
    specs = [trial(kind, **own) for own in mixed(kind)]
    packed = pack(shaken([initial_network(spec) for spec in specs]))
    packed.after_step()
    found = packed.spectrum_distance()
    assert (found is not None) == specs[0].model.spectral
    assert bool(packed.transitions()) == specs[0].model.reflected
    for k, spec in enumerate(specs if found is not None else []):
        assert found is not None
        assert 0 < found[k] <= spec.model.band_margin
    for transition in packed.transitions():
        for raw, counts in ((transition.u, 0), (transition.v, 1)):
            lengths = torch.linalg.vector_norm(raw.detach(), dim=-2)
            for k, spec in enumerate(specs):
                own = lengths[k, ..., : spec.model.reflector_counts[counts]]
                torch.testing.assert_close(own, torch.ones_like(own))


def test_recomputed_states_give_the_same_results() -> None:
    specs = [trial("spectral_rnn", recompute_every=every) for every in (None, 3)]
    inputs, gradients = drawn(1, 5, 8, 2), []
    for spec in specs:
        packed = pack([initial_network(spec)])
        outputs, _ = packed.forward(inputs)
        gradients.append(torch.autograd.grad(outputs.square().sum(), list(packed.parameters.values())))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_only_packs_of_one_class_are_made() -> None:
    with pytest.raises(TypeError, match="holds"):
        pack([initial_network(trial("rnn")), initial_network(trial("mlp"))])

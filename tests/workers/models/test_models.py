"""Every kind: built, packed against alone, trained, saved and loaded; starts as they are said to be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.workers.examples import make_trial
from workers.checkpoints import CheckpointFolder
from workers.models import SequenceModel, build, load, pack, start_of
from workers.models.deep import DeepModel
from workers.models.recurrent import RecurrentModel
from workers.spec.model import FEED_FORWARD, KINDS, REFLECTED, ModelSpec
from workers.spec.parameter_count import count_parameters
from workers.spec.trial import TrialSpec
from workers.tasks import Task
from workers.tasks.adding import Adding
from workers.training.batches import TaskData
from workers.training.trainer import Failed, Trainer
from workers.training.training_state import TrainingState

CPU = torch.device("cpu")
RECURRENT = sorted(KINDS - FEED_FORWARD)
ADDING = Adding(length=6)


class EveryStep(Adding):
    """The adding problem's inputs, with an output at every step."""

    @property
    def readout(self) -> Any:
        return "every"

    @property
    def output_size(self) -> int:
        return 3


class Tokens(Adding):
    """Seven words."""

    @property
    def tokens(self) -> int | None:
        return 7

    @property
    def input_size(self) -> int:
        return 7


def trial(kind: str, **fields: Any) -> TrialSpec:
    own: dict[str, Any] = {"kind": kind, "layers": 2, "hidden_size": 6, "reflectors": None, "dtype": "float64"}
    return make_trial(**(own | fields))


def mixed(kind: str) -> list[dict[str, Any]]:
    """Fields of three trials that may share a pack: they differ in all that they may."""
    fields: list[dict[str, Any]] = [{}, {}, {}]
    if kind in REFLECTED:
        fields = [{"reflectors": 2}, {"reflectors_u": 3, "reflectors_v": 1, "start": "gaussian"}, {"reflectors": 6}]
    if ModelSpec(kind=kind, layers=2).spectral:  # type: ignore[arg-type]
        for own, margin, sigma in zip(fields, (0.01, 0.3, 0.1), (1.0, 0.9, 0.5), strict=True):
            own |= {"margin": margin, "sigma": sigma}
    return [own | {"seed": seed} for seed, own in enumerate(fields)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shaken(models: list[SequenceModel]) -> list[SequenceModel]:
    """Every parameter moved, so that nothing stays at a start where gradients happen to be zero."""
    for seed, model in enumerate(models):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
    return models


def assert_packed_is_alone(models: list[SequenceModel], inputs: Tensor, lengths: Tensor | None = None) -> None:
    """Outputs and the gradients of every parameter, to 1e-12."""
    packed = pack(models)
    outputs, _ = packed.forward(inputs, lengths=lengths)
    weights = drawn(*outputs.shape, seed=1)
    gradients = torch.autograd.grad((outputs * weights).sum(), list(packed.parameters.values()))
    found = dict(zip(packed.parameters, gradients, strict=True))
    for k, model in enumerate(models):
        alone = model(inputs[k], None if lengths is None else lengths[k])
        torch.testing.assert_close(outputs[k], alone, rtol=1e-12, atol=1e-12)
        wanted = torch.autograd.grad((alone * weights[k]).sum(), list(model.parameters()))
        for (name, parameter), gradient in zip(model.named_parameters(), wanted, strict=True):
            own = found[name][k, ..., : parameter.shape[-1]]
            torch.testing.assert_close(own, gradient, rtol=1e-12, atol=1e-12, msg=f"d/d{name} of trial {k}")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_pack_computes_what_its_modules_compute(kind: str) -> None:
    models = shaken([start_of(trial(kind, **own)) for own in mixed(kind)])
    assert_packed_is_alone(models, drawn(3, 5, 8, 2))


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("task", [ADDING, EveryStep(length=6)])
def test_lengths_and_readouts_are_those_of_the_modules(kind: str, task: Task) -> None:
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
def test_a_carried_state_goes_on_where_it_was(kind: str) -> None:
    packed = pack([start_of(trial(kind, **own)) for own in mixed(kind)])
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
    packed = pack(shaken([start_of(trial(kind))]))
    inputs, lengths = drawn(1, 3, 8, 2), torch.tensor([[8, 2, 5]])
    read, state = packed.read(inputs, None, lengths, every=False)
    for b, length in enumerate(lengths[0].tolist()):
        own_read, own_state = packed.read(inputs[:, b : b + 1, :length], every=False)
        torch.testing.assert_close(read[:, b : b + 1], own_read, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state[:, :, b : b + 1], own_state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_row_is_the_same_bits_in_any_pack(kind: str) -> None:
    models = [start_of(trial(kind, seed=seed, hidden_size=16, dtype="float32")) for seed in range(3)]
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


def test_tokens_get_vectors_of_the_size_asked_for() -> None:
    sizes = [build(ModelSpec(embedding_size=size), Tokens()).embedding for size in (None, 3)]
    assert [table.weight.shape for table in sizes if table is not None] == [(7, 7), (7, 3)]
    assert ModelSpec().embedding_of(10_000) == 128
    with pytest.raises(ValidationError, match="embedding_size is for tokens"):
        TrialSpec.model_validate(make_trial().model_dump() | {"model": {"embedding_size": 4}})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_trains_and_is_loaded_as_it_was_saved(kind: str, tmp_path: Path) -> None:
    specs = [trial(kind, **own, steps=3, report_every=3, lr=0.01) for own in mixed(kind)]
    data = TaskData(specs[0].task, None, CPU, torch.float64)
    trainer = Trainer([TrainingState.start(spec) for spec in specs], data, CPU)
    while trainer.live:
        assert not [event for event in trainer.advance() if isinstance(event, Failed)]
    for i, spec in enumerate(specs):
        state, start = trainer.state(i), start_of(spec)
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


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_start_is_a_function_of_its_seed(kind: str) -> None:
    first = start_of(trial(kind, seed=1)).state_dict()
    torch.rand(3)
    again, other = start_of(trial(kind, seed=1)).state_dict(), start_of(trial(kind, seed=2)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_irnn_starts_from_the_identity_without_bias() -> None:
    own = dict(start_of(trial("irnn", layers=1)).named_parameters())
    assert torch.equal(own["recurrent.weight_hh_l0"], torch.eye(6, dtype=torch.float64))
    assert not own["recurrent.bias_ih_l0"].any()
    assert not own["recurrent.bias_hh_l0"].any()
    assert 0 < own["recurrent.weight_ih_l0"].abs().max() < 0.01


@pytest.mark.parametrize("kind", ["lstm", "spectral_lstm"])
def test_forget_gates_start_open(kind: str) -> None:
    own = dict(start_of(trial(kind)).named_parameters())
    for layer in range(2):
        biases = [p for name, p in own.items() if name.startswith("recurrent.bias") and name.endswith(f"_l{layer}")]
        assert torch.equal(sum(biases, torch.zeros(()))[6:12], torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize(("kind", "fields"), [("ornn", {"reflectors": 6}), ("exprnn", {}), ("exprnn", {"layers": 1})])
def test_orthogonal_kinds_stay_orthogonal_while_they_train(kind: str, fields: dict[str, Any]) -> None:
    spec = trial(kind, **fields, lr=0.1, steps=20)
    trainer = Trainer([TrainingState.start(spec)], TaskData(spec.task, None, CPU, torch.float64), CPU)
    while trainer.live:
        trainer.advance()
    model = start_of(spec)
    model.load_state_dict(trainer.state(0).model)
    assert isinstance(model, RecurrentModel)
    net: Any = model.recurrent
    w = net.dense() if kind == "ornn" else net.layers[0].weight_hh
    torch.testing.assert_close(w @ w.mT, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("start", ["henaff", "cayley", "identity"])
def test_an_exprnn_starts_from_plane_rotations(start: str) -> None:
    model = start_of(trial("exprnn", start=start, layers=1))
    assert isinstance(model, RecurrentModel)
    net: Any = model.recurrent
    w = net.layers[0].weight_hh.detach()
    angles = torch.stack([torch.atan2(w[2 * j + 1, 2 * j], w[2 * j, 2 * j]) for j in range(3)])
    cos, sin = torch.cos(angles), torch.sin(angles)
    turns = [torch.stack([torch.stack([c, -s]), torch.stack([s, c])]) for c, s in zip(cos, sin, strict=True)]
    blocks = torch.block_diag(*turns)
    torch.testing.assert_close(w, blocks, rtol=0, atol=1e-12)
    bound = {"henaff": math.pi, "cayley": math.pi / 2, "identity": 1e-12}[start]
    assert angles.abs().max() <= bound
    assert start == "identity" or angles.abs().min() > 0
    assert start != "cayley" or angles.min() > 0


def test_a_spectral_mlp_starts_as_the_identity_from_layer_to_layer() -> None:
    model = start_of(trial("spectral_mlp", layers=40))
    assert isinstance(model, DeepModel)
    inputs = drawn(5, 8, 2)
    once = torch.nn.functional.leaky_relu(model.first(inputs.flatten(1)))
    positive = once > 0
    torch.testing.assert_close(model.read(inputs, None)[positive], once[positive], rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", sorted(FEED_FORWARD))
def test_h0_of_a_deep_net_is_where_its_layers_begin(kind: str) -> None:
    packed = pack([start_of(trial(kind))])
    inputs = drawn(1, 5, 8, 2)
    h0 = packed.zeros(5).requires_grad_()
    read, state = packed.read(inputs, h0, every=False)
    (found,) = torch.autograd.grad(read.square().sum(), h0)
    assert state.shape == h0.shape == found.shape == (1, 1, 5, 6)
    step = 1e-6 * drawn(1, 1, 5, 6)
    ahead, back = (packed.read(inputs, sign * step, every=False)[0].square().sum() for sign in (1, -1))
    torch.testing.assert_close((ahead - back) / 2, (found * step).sum(), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="at every step"):
        packed.read(inputs, every=True)


@pytest.mark.parametrize("kind", sorted(FEED_FORWARD))
def test_what_stands_behind_a_sequences_end_is_not_read_by_deep_nets(kind: str) -> None:
    models = shaken([start_of(trial(kind, **own)) for own in mixed(kind)])
    inputs, lengths = drawn(3, 4, 8, 2), torch.tensor([[8, 3, 1, 5]] * 3)
    assert_packed_is_alone(models, inputs, lengths)
    behind = inputs.clone()
    behind[:, 1, 3:] = math.nan
    assert torch.equal(models[0](inputs[0], lengths[0]), models[0](behind[0], lengths[0]))
    assert not torch.equal(models[0](inputs[0], lengths[0]), models[0](inputs[0]))


def test_a_residual_block_adds_two_layers_to_its_input() -> None:
    (model,) = shaken([start_of(trial("resnet", layers=2))])
    assert isinstance(model, DeepModel)
    inputs, phi = drawn(5, 8, 2), torch.nn.functional.leaky_relu
    x = phi(model.first(inputs.flatten(1)))
    weights, biases = (p for _, p in model.layers.named_parameters())
    wanted = phi(x + phi(x @ weights[0].mT + biases[0]) @ weights[1].mT + biases[1])
    torch.testing.assert_close(model.read(inputs, None), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_singular_values_keep_to_the_band_of_each_trial(kind: str) -> None:
    specs = [trial(kind, **own) for own in mixed(kind)]
    packed = pack(shaken([start_of(spec) for spec in specs]))
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


def test_recomputing_changes_no_number() -> None:
    specs = [trial("spectral_rnn", recompute_every=every) for every in (None, 3)]
    inputs, gradients = drawn(1, 5, 8, 2), []
    for spec in specs:
        packed = pack([start_of(spec)])
        outputs, _ = packed.forward(inputs)
        gradients.append(torch.autograd.grad(outputs.square().sum(), list(packed.parameters.values())))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("task", [ADDING, EveryStep(length=6), Tokens(length=6)])
def test_parameters_are_counted_without_building(kind: str, task: Task) -> None:
    for own in mixed(kind):
        spec = trial(kind, **own).model
        if task.readout == "every" and not spec.recurrent:
            continue
        model = build(spec, task, dtype=torch.float64)
        parameters = dict(model.named_parameters())
        total = sum(_free(name, p) for name, p in parameters.items())
        outside = ("head", "embedding", "first", "recurrent.weight_ih")
        inner = {name: p for name, p in parameters.items() if not name.startswith(outside) and "weight_ih" not in name}
        assert count_parameters(spec, task) == (total, sum(_free(name, p) for name, p in inner.items()))


def _free(name: str, parameter: Tensor) -> int:
    """Entries that a gradient can reach."""
    if "reflectors" in name:
        return int(torch.ones_like(parameter).tril().sum())
    return int(torch.ones_like(parameter).tril(-1).sum()) if "parametrizations" in name else parameter.numel()


def test_one_layer_has_the_papers_count() -> None:
    spec = ModelSpec(hidden_size=256, reflectors=16)
    n, m, inputs, outputs = 256, 16, 2, 1
    paper = (outputs + inputs + 2 * m + 2) * n - (2 * m * m - 2 * m) // 2
    assert count_parameters(spec, ADDING).total == paper + outputs


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_runs_in_mixed_precision(kind: str) -> None:
    packed = pack([start_of(trial(kind, **own, dtype="float32")) for own in mixed(kind)])
    inputs, h0 = drawn(3, 4, 8, 2).float(), packed.zeros(4).requires_grad_()
    exact, _ = packed.forward(inputs, h0)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = packed.forward(inputs, h0)
    torch.testing.assert_close(outputs.float(), exact, rtol=0.05, atol=0.05)
    assert state.dtype == h0.dtype
    gradients = torch.autograd.grad(outputs.float().square().sum(), [*packed.parameters.values(), h0])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[-1].any()


def test_only_packs_of_one_class_are_made() -> None:
    with pytest.raises(TypeError, match="holds"):
        pack([start_of(trial("rnn")), start_of(trial("mlp"))])

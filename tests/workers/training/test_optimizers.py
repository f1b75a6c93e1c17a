"""Packed optimisers against torch.optim's own, trial by trial; rates by group; schedules against their formulas."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from spectral import ParameterRole
from tests.workers.examples import make_trial, sweep_document
from workers.errors import SpecError
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep
from workers.spec.trial import TrialSpec
from workers.training.lr_schedules import PackedSchedule, decays, full_rate
from workers.training.optimizers import OPTIMIZERS, PackedOptimizer

STEPS = 12
ROLES: dict[str, ParameterRole] = {
    "recurrent.weight_ih_l0": "weight",
    "recurrent.bias_l0": "bias",
    "recurrent.reflectors_u_l0": "reflector",
    "recurrent.singular_l0": "singular_value",
    "recurrent.offset_l0": "threshold",
    "head.weight": "weight",
}
SHAPES = {
    "recurrent.weight_ih_l0": (5, 3),
    "recurrent.bias_l0": (5,),
    "recurrent.reflectors_u_l0": (5, 2),
    "recurrent.singular_l0": (5,),
    "recurrent.offset_l0": (5,),
    "head.weight": (1, 5),
}
OWN: dict[str, list[dict[str, Any]]] = {
    "adam": [{}, {"beta1": 0.5, "lr": 0.1}, {"beta2": 0.9, "weight_decay": 0.3}, {"beta1": 0.0, "clip_norm": 0.5}],
    "adamw": [{}, {"beta1": 0.5, "lr": 0.1}, {"weight_decay": 0.3, "lr": 0.05}, {"clip_norm": 0.5}],
    "rmsprop": [{}, {"alpha": 0.5, "lr": 0.1}, {"momentum": 0.8, "weight_decay": 0.3}, {"clip_norm": 0.5}],
    "sgd": [{}, {"momentum": 0.0, "lr": 0.1}, {"momentum": 0.5, "weight_decay": 0.3}, {"clip_norm": 0.5}],
}


def trials(optimizer: str, **common: Any) -> list[TrialSpec]:
    own = [{"clip_norm": None} | fields | common for fields in OWN[optimizer]]
    return [make_trial(optimizer=optimizer, dtype="float64", steps=STEPS, **fields) for fields in own]


def drawn(seed: int, *lead: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(*lead, *shape, dtype=torch.float64, generator=generator) for n, shape in SHAPES.items()}


def theirs(spec: TrialSpec, parameters: dict[str, Tensor]) -> torch.optim.Optimizer:
    """Return the optimiser of torch.optim, with a group for each parameter."""
    training = spec.training
    groups = [
        {"params": [p], "lr": full_rate(ROLES[name], spec), "weight_decay": training.weight_decay if decays else 0.0}
        for name, p in parameters.items()
        for decays in [ROLES[name] == "weight"]
    ]
    given = {name: getattr(training, name) for name in ("alpha", "momentum")}
    options = {name: value for name, value in given.items() if value is not None}
    if training.optimizer in ("adam", "adamw"):
        betas = tuple(
            0.9 if b is None and i == 0 else 0.999 if b is None else b
            for i, b in enumerate((training.beta1, training.beta2))
        )
        kind = torch.optim.Adam if training.optimizer == "adam" else torch.optim.AdamW
        return kind(groups, betas=betas)  # type: ignore[arg-type]
    if training.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, **options)  # type: ignore[arg-type]
    return torch.optim.SGD(groups, **({"momentum": 0.9} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", [{}, {"schedule": "cosine", "warmup_steps": 3}])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_each_trial_is_updated_as_by_torchs_own_optimiser(optimizer: str, schedule: dict[str, Any]) -> None:
    specs = trials(optimizer, **schedule)
    stacked = drawn(0, len(specs))
    alone = [{name: p[k].clone().requires_grad_() for name, p in stacked.items()} for k in range(len(specs))]
    packed = OPTIMIZERS[optimizer](stacked, ROLES, specs, [0] * len(specs))
    peers = [theirs(spec, parameters) for spec, parameters in zip(specs, alone, strict=True)]
    full = [[group["lr"] for group in peer.param_groups] for peer in peers]
    for step in range(STEPS):
        gradients = drawn(step + 1, len(specs))
        for k, (peer, parameters) in enumerate(zip(peers, alone, strict=True)):
            for group, lr in zip(peer.param_groups, full[k], strict=True):
                group["lr"] = lr * expected(specs[k], step)
            for name, p in parameters.items():
                p.grad = gradients[name][k].clone()
            if specs[k].training.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(parameters.values(), specs[k].training.clip_norm)
            peer.step()
        packed.step(gradients)
    for k, parameters in enumerate(alone):
        for name, p in parameters.items():
            torch.testing.assert_close(stacked[name][k], p.detach(), rtol=1e-12, atol=1e-13, msg=f"{name} of {k}")


def expected(spec: TrialSpec, step: int) -> float:
    """Return the factor of the learning rate, computed from the spec."""
    training = spec.training
    warmup = training.warmup_steps
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    if training.schedule == "cosine":
        return rising * (1 + math.cos(math.pi * max(0, step - warmup) / (training.steps - warmup))) / 2
    if training.schedule == "step":
        return rising * (training.schedule_factor or 0.1) ** (step // (training.schedule_every or training.steps // 3))
    return rising


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_the_state_is_all_that_an_optimiser_needs_to_continue(optimizer: str) -> None:
    specs = trials(optimizer)
    first, whole = drawn(0, len(specs)), drawn(0, len(specs))
    undisturbed = OPTIMIZERS[optimizer](whole, ROLES, specs, [0] * len(specs))
    packed = OPTIMIZERS[optimizer](first, ROLES, specs, [0] * len(specs))
    for step in range(STEPS):
        if step == 5:
            packed = resumed(packed, first, specs, step)
        for one in (undisturbed, packed):
            one.step(drawn(step + 1, len(specs)))
    for name, p in whole.items():
        assert torch.equal(first[name], p), name


def resumed(old: PackedOptimizer, parameters: dict[str, Tensor], specs: list[TrialSpec], step: int) -> PackedOptimizer:
    new = type(old)(parameters, ROLES, specs, [step] * len(specs))
    for kind, tensors in old.state.items():
        for name, tensor in tensors.items():
            new.state[kind][name].copy_(tensor)
    return new


@pytest.mark.parametrize("schedule", [{}, {"schedule": "cosine", "warmup_steps": 3}, {"schedule": "step"}])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_numbers_of_another_trial_are_taken_over_in_place(optimizer: str, schedule: dict[str, Any]) -> None:
    specs = trials(optimizer, **schedule)
    parameters = drawn(0, len(specs))
    packed = OPTIMIZERS[optimizer](parameters, ROLES, specs, [0] * len(specs))
    for step in range(3):
        packed.step(drawn(step + 1, len(specs)))
    places = {name: tensor.data_ptr() for name, tensor in tensors_of(packed).items()}
    changed, steps = [specs[0], specs[3], specs[2], specs[3]], [3, 5, 3, 0]
    assert packed.replace(changed, steps)
    wanted = resumed(packed, parameters, changed, 0)
    wanted.steps.copy_(torch.tensor(steps))
    found = tensors_of(packed)
    assert {name: tensor.data_ptr() for name, tensor in found.items()} == places
    for name, tensor in tensors_of(wanted).items():
        assert torch.equal(found[name], tensor), name
    one, other = (OPTIMIZERS[optimizer](drawn(0, 4), ROLES, changed, steps) for _ in range(2))
    assert one.replace(changed, steps)
    gradients = drawn(9, len(specs))
    one.step(gradients)
    other.step(gradients)
    for name, p in one._parameters.items():
        assert torch.equal(p, other._parameters[name])


def tensors_of(optimizer: PackedOptimizer) -> dict[str, Tensor]:
    """Return all tensors that an optimiser holds from one step to the next, found without its help."""
    found = dict(vars(optimizer)) | vars(optimizer.schedule)
    found |= {f"rate {name}": rate for name, rate in optimizer._rates.items()}
    within = ("_like", "_bias1", "_root2")  # a parameter, and what each step makes anew
    return {name: value for name, value in found.items() if isinstance(value, Tensor) and name not in within}


@pytest.mark.parametrize(
    "fields", [{"clip_norm": 1.0}, {"weight_decay": 0.1}, {"warmup_steps": 2}, {"schedule": "step"}], ids=str
)
def test_a_trial_that_needs_what_no_other_does_is_not_taken_over(fields: dict[str, Any]) -> None:
    plain = {"dtype": "float64", "clip_norm": None, "weight_decay": 0.0, "steps": STEPS}
    specs = [make_trial(**plain), make_trial(**plain)]
    packed = OPTIMIZERS["adam"](drawn(0, 2), ROLES, specs, [0, 0])
    assert not packed.replace([specs[0], make_trial(**(plain | fields))], [0, 0])
    assert packed.replace([specs[0], make_trial(**plain, lr=0.5)], [0, 0])


def test_the_norm_before_clipping_is_returned() -> None:
    specs = trials("sgd")
    gradients = drawn(1, len(specs))
    norm = OPTIMIZERS["sgd"](drawn(0, len(specs)), ROLES, specs, [0] * len(specs)).step(gradients)
    for k in range(len(specs)):
        parts = torch.cat([g[k].flatten() for g in gradients.values()])
        assert float(norm[k]) == pytest.approx(float(parts.norm()), rel=1e-12)


@pytest.mark.parametrize(
    ("fields", "role", "wanted"),
    [
        ({}, "weight", 0.01),
        ({}, "bias", 0.01),
        ({"reflector_lr": 0.1}, "reflector", 0.001),
        ({"reflector_lr": 0.1, "margin": 0.5}, "threshold", 0.01),
        ({"reflector_lr": 0.1, "margin": 0.5}, "coordinate", 0.01),
        ({"margin": 0.5}, "singular_value", 0.02),
        ({"margin": 0.01}, "singular_value", 0.1),
        ({"margin": 0.01, "singular_lr": 3.0}, "singular_value", 0.03),
        ({"margin": 0.5, "singular_lr": 3.0}, "weight", 0.01),
        ({"margin": 0.5, "lr": 0.2}, "singular_value", 0.2),
    ],
)
def test_each_role_has_its_learning_rate(fields: dict[str, Any], role: ParameterRole, wanted: float) -> None:
    assert full_rate(role, make_trial(**fields)) == pytest.approx(wanted)


def test_decay_is_for_weight_matrices_alone() -> None:
    assert [role for role in get_args(ParameterRole) if decays(role)] == ["weight"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"warmup_steps": 4},
        {"schedule": "cosine"},
        {"schedule": "cosine", "warmup_steps": 5},
        {"schedule": "step"},
        {"schedule": "step", "schedule_factor": 0.5, "schedule_every": 2, "warmup_steps": 3},
    ],
)
def test_a_schedule_follows_its_formula_alone_and_beside_others(fields: dict[str, Any]) -> None:
    other = make_trial(schedule="step", schedule_factor=0.3, schedule_every=1, warmup_steps=2)
    spec = make_trial(**fields)
    together = factors([other, spec, other], 12)
    for step, row in enumerate(together):
        assert float(row[1]) == pytest.approx(expected(spec, step), rel=1e-12)
    assert torch.equal(factors([spec], 12)[:, 0], together[:, 1])


def factors(specs: list[TrialSpec], steps: int, train_size: int | None = None) -> Tensor:
    schedule = PackedSchedule(specs, train_size, torch.device("cpu"))
    return torch.stack([schedule(torch.full((len(specs),), step)) for step in range(steps)])


def test_steps_of_epochs_fall_after_whole_passes() -> None:
    spec = make_trial(
        task={"name": "digits"},
        batch_size=4,
        schedule="step",
        schedule_unit="epochs",
        schedule_every=2,
        schedule_factor=0.5,
    )
    found = factors([spec], 12, train_size=9)[:, 0].tolist()
    # two passes over 9 examples in batches of 4 are over after 4.5 batches, four after 9
    assert found == pytest.approx([1.0] * 5 + [0.5] * 4 + [0.25] * 3)


def test_epochs_of_a_task_without_any_are_refused() -> None:
    spec = make_trial(task={"name": "digits"}, schedule="step", schedule_unit="epochs")
    with pytest.raises(ValueError, match="schedule_unit is epochs, but task digits draws new"):
        factors([spec], 1, train_size=None)


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"momentum": 0.9}, "training.momentum", "it is for optimizer rmsprop or sgd"),
        ({"optimizer": "sgd", "beta1": 0.9}, "training.beta1", "it is for optimizer adam or adamw"),
        ({"optimizer": "sgd", "alpha": 0.9}, "training.alpha", "it is for optimizer rmsprop"),
        ({"schedule_every": 5}, "training.schedule_every", "it is for schedule step"),
        ({"schedule": "cosine", "schedule_unit": "epochs"}, "training.schedule_unit", "it is for schedule step"),
        ({"warmup_steps": 12}, "training.warmup_steps", "0 to 11, below steps"),
        ({"optimizer": "sgd", "momentum": 1.0}, "training.momentum", "below 1"),
    ],
)
def test_a_field_of_another_choice_is_refused(fields: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(sweep_document(training={"steps": 12} | fields))
    (error,) = caught.value.errors
    assert error.field == field
    assert allowed in error.allowed


def test_a_sweep_over_optimizers_drops_fields_of_other_optimizers() -> None:
    training = {"steps": 12, "optimizer": "sgd", "momentum": 0.7}
    space = {"training.optimizer": ["sgd", "adam"]}
    sweep = parse_sweep(sweep_document(training=training, space=space))
    sgd, adam = (plan.require_spec() for plan in plan_trials(sweep))
    assert (sgd.training.momentum, adam.training.momentum) == (0.7, None)
    assert sgd.shape_key != adam.shape_key

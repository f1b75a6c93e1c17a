"""What each kind of network has: its fields and defaults, and what is refused or dropped where kinds are swept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workers.spec.good_sweep import changed, wrong
from workers.spec.expand import plan_trial, plan_trials
from workers.spec.model import FEED_FORWARD, KINDS, ModelSpec
from workers.spec.parse import parse_sweep


@pytest.mark.parametrize(
    ("model", "field", "allowed"),
    [
        ({"kind": "rnn", "activation": "modrelu"}, "activation", "relu, tanh"),
        ({"kind": "mlp", "activation": "identity"}, "activation", "leaky_relu, relu, tanh"),
        ({"kind": "irnn", "activation": "relu"}, "activation", "leave it out"),
        ({"kind": "ornn", "margin": 0.1}, "margin", "leave it out"),
        ({"kind": "lstm", "layers": 17}, "layers", "1 to 16"),
        ({"kind": "mlp", "layers": 1001}, "layers", "at most 1,000"),
        ({"kind": "spectral_resnet", "layers": 3}, "layers", "an even number"),
        ({"kind": "exprnn", "start": "gaussian"}, "start", "henaff"),
        ({"kind": "exprnn", "reflectors": 4}, "reflectors", "leave it out"),
        ({"kind": "spectral_mlp", "start": "cayley"}, "start", "at least 32"),
        ({"kind": "spectral_lstm", "reflectors": 65}, "reflectors", "1 to 64"),
        ({"embedding_size": 4}, "embedding_size", "leave it out"),
    ],
)
def test_what_a_kind_of_model_cannot_have_is_refused(model: dict[str, Any], field: str, allowed: str) -> None:
    (error,) = wrong({"task": {"name": "adding"}, "model": model, "space": {"training.seed": [0, 1]}})
    assert error.field == f"model.{field}"
    assert error.given == model[field]
    assert allowed in error.allowed


def test_a_net_that_reads_a_sequence_at_once_is_refused_where_every_step_is_read() -> None:
    document = {"task": {"name": "copy"}, "model": {"kind": "mlp"}, "space": {"training.seed": [0, 1]}}
    (error,) = wrong(document)
    assert (error.field, error.given) == ("model.kind", "mlp")
    assert "spectral_rnn" in error.allowed
    assert "resnet" not in error.allowed
    (error,) = wrong(document | {"model": {}, "space": {"model.kind": ["spectral_rnn", "spectral_mlp"]}})
    assert (error.field, error.given) == ("space.model.kind", "spectral_mlp")
    assert "a sweep of its own" not in error.allowed


def test_defaults_of_a_model_are_those_of_its_kind() -> None:
    models = {kind: ModelSpec.model_validate({"kind": kind, "layers": 8}) for kind in sorted(KINDS)}
    assert {kind for kind, model in models.items() if model.start_name == "identity"} == {"spectral_mlp"}
    assert (models["exprnn"].nonlinearity, models["exprnn"].start_name) == ("modrelu", "henaff")
    assert {models[kind].nonlinearity for kind in FEED_FORWARD} == {"leaky_relu"}
    assert {models[kind].nonlinearity for kind in ("spectral_rnn", "ornn", "rnn", "irnn")} == {"relu"}
    assert (models["spectral_resnet"].band_centre, models["spectral_resnet"].band_margin) == (0.0, 0.5)
    assert ModelSpec(kind="spectral_mlp", reflectors_u=3, reflectors_v=2).start_name == "gaussian"


def test_memory_of_a_step_counts_layers_or_steps_and_outputs() -> None:
    def step_bytes(task: dict[str, Any], **model: Any) -> int:
        parts = {"model": {"hidden_size": 32} | model, "training": {"batch_size": 10}}
        sweep = parse_sweep({"task": task, **parts, "space": {"training.seed": [0]}})
        return plan_trial(sweep, 0, {"training.seed": 0}).require_spec().step_bytes

    adding = {"name": "adding", "length": 50}
    assert step_bytes(adding, layers=3) == 4 * 10 * (50 * 3 * 32 + 1)
    assert step_bytes(adding, kind="mlp", layers=3) == 4 * 10 * (3 * 32 + 1)
    assert step_bytes({"name": "copy", "length": 50}) == 4 * 10 * (70 * 32 + 70 * 9)


def test_a_swept_kind_drops_what_it_has_not() -> None:
    sweep = parse_sweep(changed("space", {"model.kind": {"values": ["spectral_rnn", "rnn", "lstm"]}}))
    kinds = [plan.require_spec().model for plan in plan_trials(sweep)]
    assert [model.activation for model in kinds] == ["relu", "relu", None]


def test_a_swept_kind_that_cannot_recompute_keeps_all() -> None:
    document = {"task": {"name": "adding"}, "training": {"recompute_every": 9}}
    sweep = parse_sweep(document | {"space": {"model.kind": ["spectral_rnn", "lstm", "ornn", "mlp"]}})
    trials = [plan.require_spec().training for plan in plan_trials(sweep)]
    assert [training.recompute_every for training in trials] == [9, None, 9, None]


@pytest.mark.parametrize("kind", ["spectral_lstm", "rnn", "exprnn", "spectral_mlp"])
def test_recomputing_is_refused_where_it_would_do_nothing(kind: str) -> None:
    document = {"task": {"name": "adding"}, "model": {"kind": kind}, "training": {"recompute_every": 9}}
    (error,) = wrong(document | {"space": {"training.seed": [0]}})
    assert (error.field, error.given) == ("training.recompute_every", 9)
    assert error.allowed == "leave it out; it is for kind ornn or spectral_rnn"


@pytest.mark.parametrize(
    ("model", "space", "field", "allowed"),
    [
        ({"activation": "modrelu"}, {"model.kind": ["spectral_rnn", "lstm", "rnn"]}, "model.activation",
         "relu, tanh; or a sweep of its own for kind rnn"),
        ({}, {"model.kind": ["rnn", "exprnn"], "model.activation": ["tanh", "identity"]}, "space.model.activation",
         "relu, tanh; or a sweep of its own for kind rnn"),
        ({"layers": 3}, {"model.kind": ["mlp", "resnet"]}, "model.layers",
         "an even number; or a sweep of its own for kind resnet"),
        ({"activation": "identity"}, {"model.kind": ["rnn", "mlp"]}, "model.activation", "relu, tanh"),
        ({"reflectors": 99}, {"model.kind": ["spectral_rnn", "spectral_gru"]}, "model.reflectors",
         "1 to 64, the hidden_size"),
    ],
)  # fmt: skip
def test_a_value_that_one_of_the_swept_kinds_lacks_is_refused_with_the_way_out(
    model: dict[str, Any], space: dict[str, Any], field: str, allowed: str
) -> None:
    (error,) = wrong({"task": {"name": "adding"}, "model": model, "space": space})
    assert (error.field, error.allowed) == (field, allowed)

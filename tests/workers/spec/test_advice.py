"""What is allowed and unwise is said, by field, and what is wise is not."""

from __future__ import annotations

from typing import Any

import pytest

from workers.spec.advice import warnings
from workers.spec.parse import parse_sweep

ADDING = {"name": "adding", "length": 500}
DIGITS = {"name": "digits"}


def advised(task: dict[str, Any], model: dict[str, Any], **parts: Any) -> dict[str, str]:
    """Field -> what is advised."""
    document = {"task": task, "model": {"hidden_size": 128} | model, "space": {"training.seed": [0, 1]}} | parts
    found = warnings(parse_sweep(document))
    assert all(str(one.given) and one.problem and one.allowed for one in found)
    return {one.field: one.allowed for one in found}


@pytest.mark.parametrize("kind", ["spectral_rnn", "spectral_lstm", "spectral_gru"])
@pytest.mark.parametrize(("margin", "warned"), [(0.02, False), (0.021, True)])
def test_margins_above_ten_over_t(kind: str, margin: float, warned: bool) -> None:
    found = advised(ADDING, {"kind": kind, "margin": margin})
    assert found == ({"model.margin": "use at most 1 / T = 0.002"} if warned else {})


@pytest.mark.parametrize("kind", ["rnn", "lstm", "ornn", "exprnn"])
def test_kinds_without_a_band_get_no_advice_on_it(kind: str) -> None:
    assert advised(ADDING, {"kind": kind}) == {}


def test_the_t_of_a_net_that_reads_a_sequence_at_once_is_its_layers() -> None:
    model = {"kind": "spectral_mlp", "layers": 200}
    assert advised(DIGITS, model) == {}
    assert advised(DIGITS, model | {"margin": 0.06}) == {"model.margin": "use at most 1 / T = 0.005"}


def test_the_end_of_a_swept_range_counts() -> None:
    space = {"model.margin": {"low": 0.001, "high": 0.3, "log": True, "grid": 3}}
    assert list(advised(ADDING, {}, space=space)) == ["space.model.margin"]
    space = {"model.kind": ["lstm", "spectral_rnn"], "training.seed": [0, 1]}
    assert list(advised(ADDING, {"margin": 0.1}, space=space)) == ["model.margin"]


def test_residual_blocks_have_a_margin_of_their_own() -> None:
    model = {"kind": "spectral_resnet", "layers": 200}
    assert advised(DIGITS, model) == {}
    assert advised(DIGITS, model | {"margin": 0.5}) == {"model.margin": "use at most 0.1"}


def test_a_band_below_one_lets_gradients_fade() -> None:
    assert list(advised(ADDING, {"sigma": 0.9})) == ["model.sigma"]
    assert advised(ADDING, {"sigma": 0.99}) == {}
    assert list(advised(ADDING, {"sigma": 0.0})) == ["model.sigma"]


def test_a_small_margin_at_the_plain_rate_freezes_singular_values() -> None:
    assert advised(ADDING, {"margin": 0.001}, training={"singular_lr": 1.0}) == {
        "training.singular_lr": "leave it out, or use about 1 / margin = 1e+03"
    }
    assert advised(ADDING, {"margin": 0.001}, training={"singular_lr": 500.0}) == {}
    assert advised(ADDING, {"margin": 0.001}) == {}


@pytest.mark.parametrize(
    ("model", "warned"),
    [
        ({"reflectors": 64}, True),
        ({"reflectors": 64, "start": "henaff", "activation": "leaky_relu"}, True),
        ({"kind": "ornn", "reflectors_u": 100, "reflectors_v": 3}, True),
        ({"reflectors": 16}, False),
        ({"reflectors": 64, "start": "cayley"}, False),
        ({"reflectors": 64, "activation": "modrelu"}, False),
        ({"kind": "spectral_gru", "reflectors": 64}, False),
    ],
)
def test_many_random_reflectors_and_a_rectifier_over_long_sequences(model: dict[str, Any], warned: bool) -> None:
    found = [advice for advice in advised(ADDING, model).values() if "at most n / 8 = 16 on each side" in advice]
    assert bool(found) == warned
    assert not advised(ADDING | {"length": 99}, model)


def test_henaff_wants_a_rectifier_on_short_sequences_alone() -> None:
    model = {"hidden_size": 32, "start": "henaff", "reflectors": 16, "activation": "leaky_relu"}
    assert list(advised({"name": "adding", "length": 120}, model)) == ["model.reflectors"]
    assert advised({"name": "adding", "length": 40}, model) == {}


def test_copying_wants_a_state_that_is_turned_and_not_rectified() -> None:
    copy = {"name": "copy", "length": 100}
    assert "modrelu" in advised(copy, {})["model.activation"]
    assert advised(copy, {"activation": "modrelu", "reflectors": 64, "start": "henaff"}) == {}
    assert advised(copy, {"reflectors": 64}, space={"model.activation": ["relu", "modrelu"]}) == {}
    assert advised(copy, {"kind": "lstm"}) == {}


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ({"activation": "leaky_relu", "reflectors": 64}, "model.activation"),
        ({"reflectors": 32}, "model.reflectors"),
        ({"reflectors": 33}, None),
        ({"reflectors": 64, "start": "identity"}, "model.start"),
        ({"reflectors": 64}, None),
        ({"reflectors": 64, "start": "henaff"}, None),
    ],
)
def test_copying_is_advised_as_the_phase_diagram_says(model: dict[str, Any], field: str | None) -> None:
    found = advised({"name": "copy", "length": 100}, {"activation": "modrelu"} | model)
    assert list(found) == ([field] if field else [])


def test_short_copies_do_with_fewer_reflectors() -> None:
    model = {"hidden_size": 32, "activation": "modrelu", "reflectors": 8}
    assert advised({"name": "copy", "length": 20}, model) == {}
    assert list(advised({"name": "copy", "length": 100}, model)) == ["model.reflectors"]


def test_a_sigma_above_one_lets_gradients_explode() -> None:
    assert list(advised(ADDING, {"sigma": 1.5, "margin": 0.001})) == ["model.sigma"]
    assert list(advised(ADDING, {"sigma": 0.5, "margin": 0.1})) == ["model.sigma"]


def test_one_model_that_can_copy_is_enough_and_must_be_one() -> None:
    copy = {"name": "copy", "length": 100}
    assert advised(copy, {"activation": "modrelu"}, space={"model.reflectors": [8, 64]}) == {}
    model = {"hidden_size": 128, "activation": "modrelu", "start": "identity"}
    assert list(advised(copy, model, space={"model.reflectors": [8, 64]})) == ["model.start"]


def test_long_sums_are_not_for_modrelu() -> None:
    assert "leaky_relu" in advised(ADDING, {"activation": "modrelu"})["model.activation"]
    assert advised(ADDING | {"length": 99}, {"activation": "modrelu"}) == {}
    assert advised(ADDING, {}, space={"model.activation": ["modrelu", "leaky_relu"]}) == {}


def test_a_space_of_many_points_is_looked_at_by_its_ends() -> None:
    space = {
        "model.margin": {"low": 0.001, "high": 0.3, "grid": 100},
        "training.lr": {"low": 0.001, "high": 0.1, "grid": 100},
    }
    assert list(advised(ADDING, {}, space=space)) == ["space.model.margin"]


def test_a_value_that_the_space_overrides_is_named() -> None:
    def ignored(model: dict[str, Any], space: dict[str, Any]) -> list[str]:
        document = {
            "task": {"name": "adding", "length": 20},
            "model": {"kind": "spectral_rnn", "hidden_size": 8, **model},
            "space": space,
        }
        sweep = parse_sweep(document)
        assert warnings(parse_sweep(sweep.model_dump(mode="json"))) == warnings(sweep)
        return [one.field for one in warnings(sweep) if "is ignored" in one.problem]

    assert ignored({"reflectors": 4}, {"model.reflectors": [2, 4]}) == ["model.reflectors"]
    assert ignored({"reflectors": 2}, {"model.reflectors": [2, 4]}) == []
    assert ignored({"reflectors": 4}, {"model.reflectors": {"low": 1, "high": 3}}) == ["model.reflectors"]
    assert ignored({"reflectors": 4}, {"model.margin": [0.01]}) == []
    kinds = {"model.kind": ["spectral_rnn", "rnn"], "model.reflectors": {"values": [2], "when": {"model.kind": "rnn"}}}
    assert ignored({"reflectors": 4}, kinds) == []

"""What a search space can say: steps, conditions, constraints, and points given by the user."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.examples import sweep_document
from workers.errors import FieldError, SpecError
from workers.spec.advice import warnings
from workers.spec.expand import plan_trial, points_of, trial_count
from workers.spec.parse import parse_sweep
from workers.spec.samplers import SAMPLERS
from workers.spec.samplers.grid import grid_values
from workers.spec.search_checks import excluded_points, lies_in
from workers.spec.search_space import MAX_TRIALS, Range, Values

drawing_samplers = pytest.mark.parametrize("name", [name for name, one in SAMPLERS.items() if one.takes_trials])

KINDS: dict[str, Any] = {
    "model.reflectors": {"values": [1, 2, 3], "when": {"model.kind": "spectral_rnn"}},
    "model.kind": ["spectral_rnn", "lstm"],
    "training.lr": [0.01, 0.02],
}
"""A dimension that exists for one kind, listed before the dimension that it depends on."""
TWO_SIDES: dict[str, Any] = {
    "model.reflectors_u": {"low": 1, "high": 6},
    "model.reflectors_v": {"low": 1, "high": 6},
}
FIT = "model.reflectors_u + model.reflectors_v <= model.hidden_size"


def searching(space: dict[str, Any], **search: Any) -> dict[str, Any]:
    """Return a document that searches a space, with a hidden size of 6 and without a fixed number of reflectors."""
    return sweep_document(space=space, model={"hidden_size": 6}, search=search)


def errors_of(document: Any) -> list[FieldError]:
    with pytest.raises(SpecError) as caught:
        parse_sweep(document)
    return caught.value.errors


# dimensions


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        (Range(low=2, high=9, step=3), [2, 5, 8]),
        (Range(low=8, high=64, step=8), [8, 16, 24, 32, 40, 48, 56, 64]),
        (Range(low=0.0, high=0.3, step=0.1), [0.0, 0.1, 0.2, 0.3]),
        (Range(low=0, high=1, step=1), [0, 1]),
        (Range(low=0.1, high=0.35, step=0.1), [0.1, 0.2, 0.3]),
    ],
)
def test_a_step_gives_the_values_of_a_range(dimension: Range, values: list[float]) -> None:
    assert list(grid_values(dimension)) == values
    assert dimension.count == len(values)
    assert all(lies_in(value, dimension) for value in values)
    assert [dimension.at(place / (len(values) - 1)) for place in range(len(values))] == values
    assert not lies_in(dimension.low + 0.05, dimension)


@pytest.mark.parametrize(
    ("dimension", "field"),
    [
        ({"low": 1, "high": 9, "step": 2, "log": True}, "step"),
        ({"low": 1, "high": 9, "step": 2, "grid": 3}, "step"),
        ({"low": 1, "high": 9, "step": 0.5}, "step"),
        ({"low": 1, "high": 9, "step": 9}, "step"),
        ({"low": 1, "high": 9, "step": 0}, "step"),
        ({"low": 1, "high": 9, "step": "2"}, "step"),
    ],
)
def test_a_wrong_step_is_refused(dimension: dict[str, Any], field: str) -> None:
    (error,) = errors_of(sweep_document(space={"model.reflectors": dimension}))
    assert error.field == f"space.model.reflectors.{field}"


@drawing_samplers
def test_every_value_of_a_stepped_range_a_list_and_a_boolean_is_drawn(name: str) -> None:
    space: dict[str, Any] = {
        "model.reflectors": {"low": 1, "high": 5, "step": 2},
        "training.lr": {"low": 0.1, "high": 0.3, "step": 0.1},
        "training.seed": [7, 8],
    }
    points = list(points_of(parse_sweep(sweep_document(space=space, search={"sampler": name, "trials": 64}))))
    for path, expected in (
        ("model.reflectors", {1, 3, 5}),
        ("training.lr", {0.1, 0.2, 0.3}),
        ("training.seed", {7, 8}),
    ):
        assert {point[path] for point in points} == expected


def test_quasi_random_points_are_spread_evenly() -> None:
    """Of 64 scrambled points of Sobol's sequence each interval of length 1/64 has one; Halton's are nearly as even."""
    space = {"training.lr": {"low": 0.0001, "high": 1.0001}, "training.weight_decay": {"low": 0.0, "high": 1.0}}
    for name, least in (("sobol", 64), ("halton", 50)):
        points = list(points_of(parse_sweep(sweep_document(space=space, search={"sampler": name, "trials": 64}))))
        for path, low in (("training.lr", 0.0001), ("training.weight_decay", 0.0)):
            assert len({int((float(point[path]) - low) * 64) for point in points}) >= least


@pytest.mark.parametrize("name", ["sobol", "halton"])
def test_more_trials_of_a_sequence_begin_with_the_same_points(name: str) -> None:
    few, many = (
        list(points_of(parse_sweep(sweep_document(search={"sampler": name, "trials": trials, "seed": 5}))))
        for trials in (3, 1500)
    )
    assert many[:3] == few


def test_a_sequence_that_is_not_scrambled_is_the_same_for_all_seeds() -> None:
    space = {"training.lr": {"low": 0.5, "high": 1.0}}

    def points(**search: Any) -> list[Any]:
        return list(
            points_of(parse_sweep(sweep_document(space=space, search={"sampler": "sobol", "trials": 4, **search})))
        )

    assert points(seed=1) != points(seed=2)
    plain = {"options": {"scramble": False}}
    assert points(seed=1, **plain) == points(seed=2, **plain)
    assert [point["training.lr"] for point in points(**plain)] == [0.5, 0.75, 0.875, 0.625]


# conditions


def test_a_grid_has_a_conditional_dimension_only_where_it_exists() -> None:
    sweep = parse_sweep(searching(KINDS))
    points = list(points_of(sweep))
    assert trial_count(sweep) == len(points) == 3 * 2 + 2
    spectral = [point for point in points if point["model.kind"] == "spectral_rnn"]
    assert [(point["model.reflectors"], point["training.lr"]) for point in spectral] == [
        (reflectors, lr) for reflectors in (1, 2, 3) for lr in (0.01, 0.02)
    ]
    assert all("model.reflectors" not in point for point in points if point["model.kind"] == "lstm")
    assert all(list(point) == [path for path in KINDS if path in point] for point in points)
    assert all(plan_trial(sweep, 0, point).spec for point in points)
    assert isinstance(warnings(sweep), list)


@pytest.mark.parametrize("name", ["random", "sobol", "halton", "tpe"])
def test_points_have_conditional_dimensions_only_where_they_exist(name: str) -> None:
    points = list(points_of(parse_sweep(searching(KINDS, sampler=name, trials=40))))
    assert {point["model.kind"] for point in points} == {"spectral_rnn", "lstm"}
    assert all(("model.reflectors" in point) == (point["model.kind"] == "spectral_rnn") for point in points)


def test_conditions_can_depend_on_conditional_dimensions() -> None:
    space: dict[str, Any] = {
        "model.kind": ["spectral_rnn", "lstm"],
        "model.reflectors": {"values": [1, 2], "when": {"model.kind": ["spectral_rnn"]}},
        "model.margin": {"values": [0.1, 0.2], "when": {"model.reflectors": 2}},
    }
    points = list(points_of(parse_sweep(searching(space))))
    assert [tuple(point.values()) for point in points] == [
        ("spectral_rnn", 1),
        ("spectral_rnn", 2, 0.1),
        ("spectral_rnn", 2, 0.2),
        ("lstm",),
    ]


@pytest.mark.parametrize(
    ("when", "field", "problem"),
    [
        ({"model.kind": "gru"}, "space.model.reflectors.when.model.kind", "never has the value gru"),
        ({"model.kind": []}, "space.model.reflectors.when.model.kind", "has no values"),
        ({"model.hidden_size": 4}, "space.model.reflectors.when.model.hidden_size", "not another dimension"),
        ({"training.lr": 0.1}, "space.model.reflectors.when.training.lr", "not another dimension that is a list"),
        ({"model.reflectors": 1}, "space.model.reflectors.when.model.reflectors", "not another dimension"),
        (
            {"model.kind": "lstm", "model.activation": "relu"},
            "space.model.reflectors.when",
            "never exists: its conditions ask for different values of model.kind",
        ),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(when: dict[str, Any], field: str, problem: str) -> None:
    space: dict[str, Any] = {
        "model.kind": ["spectral_rnn", "lstm"],
        "model.activation": {"values": ["relu", "tanh"], "when": {"model.kind": "spectral_rnn"}},
        "training.lr": {"low": 0.1, "high": 0.2, "grid": 2},
        "model.reflectors": {"values": [1, 2], "when": when},
    }
    (error,) = errors_of(searching(space))
    assert error.field == field
    assert problem in error.problem


def test_conditions_in_a_circle_are_refused() -> None:
    space: dict[str, Any] = {
        "model.kind": {"values": ["spectral_rnn", "lstm"], "when": {"training.optimizer": "adam"}},
        "training.optimizer": {"values": ["adam", "sgd"], "when": {"model.kind": "lstm"}},
    }
    errors = errors_of(searching(space))
    assert [error.field for error in errors] == ["space.model.kind.when", "space.training.optimizer.when"]
    assert "depends on" in errors[0].problem


@pytest.mark.parametrize("name", ["gp", "cma_es"])
def test_samplers_that_need_every_dimension_refuse_conditions(name: str) -> None:
    space = {"model.layers": [1, 2], "model.reflectors": {"values": [1, 2], "when": {"model.layers": 2}}}
    errors = errors_of(searching(space, sampler=name, trials=4))
    assert [error.field for error in errors] == ["space.model.reflectors.when"]


# constraints


def test_a_grid_loses_the_points_that_break_a_constraint_and_counts_them() -> None:
    sweep = parse_sweep(searching(TWO_SIDES, constraints=[FIT]))
    points = list(points_of(sweep))
    assert points == [
        {"model.reflectors_u": u, "model.reflectors_v": v} for u in range(1, 7) for v in range(1, 7) if u + v <= 6
    ]
    assert (trial_count(sweep), excluded_points(sweep)) == (15, 21)


@drawing_samplers
def test_no_point_breaks_a_constraint(name: str) -> None:
    sweep = parse_sweep(searching(TWO_SIDES, sampler=name, trials=30, constraints=[FIT]))
    points = list(points_of(sweep))
    assert len(points) == 30
    assert all(int(point["model.reflectors_u"]) + int(point["model.reflectors_v"]) <= 6 for point in points)
    assert excluded_points(sweep) == 0


def test_a_constraint_reads_fields_of_the_task_and_defaults() -> None:
    space = {"model.margin": [0.1, 0.5, 0.9], "task.length": [8, 16]}
    sweep = parse_sweep(sweep_document(space=space, search={"constraints": ["model.margin * task.length <= 7"]}))
    assert [tuple(point.values()) for point in points_of(sweep)] == [(0.1, 8), (0.1, 16), (0.5, 8)]
    alone = {"model.margin": [0.1, 0.9]}
    sweep = parse_sweep(sweep_document(space=alone, search={"constraints": ["model.margin * training.batch_size < 3"]}))
    assert [point["model.margin"] for point in points_of(sweep)] == [0.1]


def test_a_constraint_says_nothing_where_its_field_does_not_exist() -> None:
    sweep = parse_sweep(searching(KINDS, constraints=["model.reflectors > 2"]))
    assert [point.get("model.reflectors") for point in points_of(sweep)] == [3, 3, None, None]


@pytest.mark.parametrize(
    ("constraint", "problem"),
    [
        ("model.reflectors_w > 1", "not a field of a trial"),
        ("model.reflectors > 1", "has no value in this sweep"),
        ("model.kind < 3", "takes numbers"),
        ("model.hidden_size", "no yes or no"),
        ("import os", "not an expression that can be read"),
        ("os.system > 1", "not a field of a trial"),
    ],
)
def test_a_wrong_constraint_is_refused_by_its_place(constraint: str, problem: str) -> None:
    (error,) = errors_of(searching(TWO_SIDES, constraints=[FIT, constraint]))
    assert (error.field, error.given) == ("search.constraints.1", constraint)
    assert problem in error.problem


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_space_without_a_valid_point_is_refused_and_says_why(name: str) -> None:
    search = {"sampler": name} | ({"trials": 5} if SAMPLERS[name].takes_trials else {})
    (error,) = errors_of(searching(TWO_SIDES, constraints=["model.reflectors_u > 9", FIT], **search))
    assert error.field == "search.constraints"
    assert "model.reflectors_u > 9" in error.problem


def test_a_grid_that_is_too_large_to_examine_is_refused() -> None:
    space = {"training.seed": {"low": 0, "high": 10**6}}
    (error,) = errors_of(sweep_document(space=space, search={"constraints": ["training.seed < 10"]}))
    assert (error.field, error.given) == ("space", 10**6 + 1)


def test_a_grid_of_13020_points_makes_13020_trials() -> None:
    space = {
        "training.seed": {"low": 1, "high": 31},
        "training.steps": {"low": 1, "high": 420},
    }
    sweep = parse_sweep(sweep_document(space=space))
    points = {tuple(point.values()) for point in points_of(sweep)}
    assert trial_count(sweep) == len(points) == 31 * 420 == 13_020 <= MAX_TRIALS


# points given by the user


def test_given_points_come_first_and_a_grid_does_not_repeat_them() -> None:
    space = {"model.reflectors": [1, 2, 3], "training.seed": [0, 1]}
    given_points = [{"model.reflectors": 3, "training.seed": 0}, {"training.seed": 0, "model.reflectors": 1}]
    sweep = parse_sweep(sweep_document(space=space, search={"enqueue": given_points}))
    points = list(points_of(sweep))
    assert points[:2] == given_points
    assert trial_count(sweep) == len(points) == 6
    assert [tuple(point.values()) for point in points[2:]] == [(1, 1), (2, 0), (2, 1), (3, 1)]


@drawing_samplers
def test_given_points_count_among_the_trials(name: str) -> None:
    search = {"sampler": name, "trials": 5, "enqueue": [{"training.seed": 1}, {"training.seed": 1}]}
    sweep = parse_sweep(sweep_document(search=search))
    points = list(points_of(sweep))
    assert len(points) == trial_count(sweep) == 5
    assert points[:2] == [{"training.seed": 1}] * 2


@pytest.mark.parametrize(
    ("point", "field", "problem"),
    [
        ({"model.kind": "gru", "training.lr": 0.01}, "model.kind", "not a value of the dimension"),
        ({"model.kind": "lstm", "training.lr": 0.03}, "training.lr", "not a value of the dimension"),
        ({"model.kind": "lstm", "training.lr": True}, "training.lr", "not a value of the dimension"),
        ({"model.kind": "lstm"}, "training.lr", "is missing"),
        ({"model.kind": "spectral_rnn", "training.lr": 0.01}, "model.reflectors", "is missing"),
        ({"model.kind": "lstm", "training.lr": 0.01, "model.reflectors": 1}, "model.reflectors", "does not exist"),
        ({"model.kind": "lstm", "training.lr": 0.01, "model.layer": 1}, "model.layer", "is not a dimension"),
        ({"model.kind": "spectral_rnn", "training.lr": 0.01, "model.reflectors": 3}, "", "breaks the constraint"),
        ({"model.kind": None, "training.lr": 0.01}, "model.kind", "finite number, text"),
    ],
)
def test_a_bad_point_is_refused_with_its_place_and_field(point: dict[str, Any], field: str, problem: str) -> None:
    good = {"model.kind": "spectral_rnn", "training.lr": 0.02, "model.reflectors": 2}
    (error,) = errors_of(searching(KINDS, enqueue=[good, point], constraints=["model.reflectors < 3"]))
    assert error.field == ".".join(filter(None, ("search.enqueue.1", field)))
    assert problem in error.problem


def test_more_points_than_trials_are_refused() -> None:
    search = {"sampler": "random", "trials": 1, "enqueue": [{"training.seed": 1}, {"training.seed": 0}]}
    (error,) = errors_of(sweep_document(search=search))
    assert error.field == "search.enqueue"


@given(value=st.one_of(st.booleans(), st.integers(-3, 12), st.floats(-3, 12), st.text(max_size=2)))
def test_a_value_lies_in_a_dimension_or_not(value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    assert lies_in(value, Range(low=0, high=9)) == (number and isinstance(value, int) and 0 <= value <= 9)
    assert lies_in(value, Range(low=0.0, high=9.0)) == (number and 0 <= value <= 9)
    assert lies_in(value, Values(values=[1, "a"])) == (value == "a" or (number and value == 1))


# options


@pytest.mark.parametrize(
    ("name", "options", "field", "problem"),
    [
        ("random", {"scramble": True}, "scramble", "not an option of sampler random"),
        ("tpe", {"startup": 3}, "startup", "not an option of sampler tpe"),
        ("tpe", {"concurrent": 0}, "concurrent", "less than 1"),
        ("sobol", {"scramble": 1}, "scramble", "not true or false"),
        ("cma_es", {"population": 1}, "population", "less than 4"),
    ],
)
def test_a_wrong_option_is_refused(name: str, options: dict[str, Any], field: str, problem: str) -> None:
    (error,) = errors_of(sweep_document(search={"sampler": name, "trials": 3, "options": options}))
    assert error.field == f"search.options.{field}"
    assert problem in error.problem


def test_a_sampler_that_learns_takes_no_more_trials_than_it_can_learn_from() -> None:
    (error,) = errors_of(sweep_document(search={"sampler": "gp", "trials": 501}))
    assert (error.field, error.allowed) == ("search.trials", "at most 500, or another sampler")


@pytest.mark.parametrize("name", ["tpe", "grid"])
def test_steps_are_planned_beforehand(name: str) -> None:
    steps = {"values": [8, 12]} | ({"when": {"training.seed": 1}} if name == "grid" else {})
    search = {"sampler": name} | ({"trials": 3} if name == "tpe" else {})
    (error,) = errors_of(sweep_document(space={"training.seed": [0, 1], "training.steps": steps}, search=search))
    assert error.field == "space.training.steps"
    assert "planned beforehand" in error.problem

"""Further trials of a sweep: which points they take, and that those that exist keep their numbers and points."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import FieldError, SpecError
from workers.spec.expand import trial_count
from workers.spec.extension import Extension, extended_document, in_extension, next_points, parse_extension
from workers.spec.parse import parse_sweep
from workers.spec.samplers import Observation
from workers.spec.search_space import Params
from workers.spec.sweep import SweepSpec

MARGINS = [0.01, 0.02, 0.05, 0.1, 0.2]
REFLECTORS = [1, 2, 3, 4]


def sweep_of(space: dict[str, Any], **search: Any) -> SweepSpec:
    return parse_sweep(
        {"task": {"name": "adding", "length": 20}, "model": {"hidden_size": 8}, "space": space, "search": search}
    )


def extended(sweep: SweepSpec, document: dict[str, Any], count: int) -> SweepSpec:
    stored = sweep.model_dump(mode="json")
    return parse_sweep(extended_document(sweep, stored, parse_extension(document), count))


def expanded(sweep: SweepSpec, before: list[Params]) -> list[Params]:
    """Return the points of all trials, of which those of ``before`` exist already."""
    earlier = [Observation(number, params, 0.5, ended=True) for number, params in enumerate(before)]
    return [*before, *next_points(sweep, earlier)]


def error_of(document: Any, sweep: SweepSpec | None = None, count: int = 4) -> FieldError:
    def ask() -> None:
        extension = parse_extension(document)
        if sweep is not None:
            extended_document(sweep, sweep.model_dump(mode="json"), extension, count)

    with pytest.raises(SpecError) as caught:
        ask()
    return caught.value.errors[0]


@given(
    margins=st.permutations(MARGINS),
    reflectors=st.permutations(REFLECTORS),
    cuts=st.lists(st.integers(1, 4), max_size=3),
)
def test_a_grid_that_grows_in_any_order_has_each_point_once_and_keeps_its_numbers(
    margins: list[float], reflectors: list[int], cuts: list[int]
) -> None:
    """In each stage, a dimension gets the next values; in the end all of them are there."""
    have = {"model.margin": margins[:1], "model.reflectors": reflectors[:1]}
    sweep = sweep_of({path: list(values) for path, values in have.items()})
    points = expanded(sweep, [])
    every = {"model.margin": margins, "model.reflectors": reflectors}
    for stage, cut in enumerate([*cuts, 10, 10]):
        path = ("model.margin", "model.reflectors")[stage % 2]
        new = every[path][len(have[path]) : len(have[path]) + cut]
        if not new:
            continue
        have[path] = [*have[path], *new]
        sweep = extended(sweep, {"space": {path: new}}, len(points))
        before, points = points, expanded(sweep, points)
        assert points[: len(before)] == before
        assert len(points) == trial_count(sweep)
        assert sorted(tuple(point.values()) for point in points) == sorted(product(*have.values()))
    assert expanded(sweep, points) == points
    assert len(points) == len(MARGINS) * len(REFLECTORS)


def test_a_range_keeps_its_points_when_it_gets_further_ones() -> None:
    space = {"model.margin": {"low": 0.01, "high": 0.04, "grid": 4}, "model.reflectors": {"low": 2, "high": 3}}
    sweep = sweep_of(space)
    points = expanded(sweep, [])
    larger = extended(sweep, {"space": {"model.margin": [0.3], "model.reflectors": [8]}}, len(points))
    grown = expanded(larger, points)
    assert grown[:8] == points
    assert [point["model.margin"] for point in grown[8:]] == [0.01, 0.02, 0.03, 0.04, 0.3, 0.3, 0.3]
    assert [point["model.reflectors"] for point in grown[8:]] == [8, 8, 8, 8, 2, 3, 8]


def test_a_random_search_goes_on_where_it_was() -> None:
    space = {"model.margin": {"low": 0.01, "high": 0.1}}
    small, large = (sweep_of(space, sampler="random", seed=3, trials=n) for n in (4, 9))
    grown = extended(small, {"trials": 5}, 4)
    assert grown.search.trials == 9
    assert expanded(grown, expanded(small, [])) == expanded(large, [])


@pytest.mark.parametrize(
    ("document", "field", "allowed"),
    [
        ([], "(document)", '"trials" or "space"'),
        ({}, "(document)", '"trials" or "space"'),
        ({"trial": 3}, "trial", "trials or space"),
        ({"trials": 3, "space": {"model.margin": [0.3]}}, "trials", "trials or space"),
        ({"trials": 0}, "trials", "1 to 20,000"),
        ({"trials": True}, "trials", "1 to 20,000"),
        ({"trials": 2.0}, "trials", "1 to 20,000"),
        ({"trials": "3"}, "trials", "1 to 20,000"),
        ({"space": {}}, "space", "model.margin"),
        ({"space": [0.3]}, "space", "model.margin"),
        ({"space": {"model.margin": 0.3}}, "space.model.margin", "a list"),
        ({"space": {"model.margin": []}}, "space.model.margin", "a list"),
    ],
)
def test_what_is_no_extension_is_named(document: Any, field: str, allowed: str) -> None:
    error = error_of(document)
    assert error.field == field
    assert allowed in error.allowed


def test_what_does_not_suit_the_sweep_is_named() -> None:
    grid = sweep_of({"model.margin": [0.01, 0.1], "model.reflectors": {"low": 1, "high": 3}})
    assert error_of({"trials": 3}, grid).field == "trials"
    unknown = error_of({"space": {"model.hidden_size": [16]}}, grid)
    assert (unknown.field, unknown.allowed) == ("space.model.hidden_size", "one of model.margin, model.reflectors")
    again = error_of({"space": {"model.margin": [0.3, 0.1]}}, grid)
    assert (again.field, again.given) == ("space.model.margin.1", 0.1)
    assert error_of({"space": {"model.margin": [0.3, 0.3]}}, grid).field == "space.model.margin.1"
    assert error_of({"space": {"model.reflectors": [2]}}, grid).field == "space.model.reflectors.0"
    drawn = sweep_of({"model.margin": {"low": 0.01, "high": 0.1}}, sampler="random", trials=4)
    assert error_of({"space": {"model.margin": [0.3]}}, drawn).field == "space"
    assert error_of({"trials": 19_997}, drawn).allowed == "at most 19,996"


def test_true_is_another_value_than_one() -> None:
    sweep = sweep_of({"training.seed": [1, 2], "model.margin": [0.1]})
    document = extended_document(sweep, sweep.model_dump(mode="json"), Extension(None, {"training.seed": [True]}), 2)
    with pytest.raises(SpecError) as caught:  # it is new, and no seed
        parse_sweep(document)
    (error,) = caught.value.errors
    assert in_extension(error, sweep, Extension(None, {"training.seed": [True]})).field == "space.training.seed.0"

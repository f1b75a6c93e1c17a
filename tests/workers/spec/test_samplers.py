"""The laws of every sampler. A sampler joins this suite by joining the table ``SAMPLERS``."""

from __future__ import annotations

import itertools
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.examples import sweep_document
from tests.workers.halving import Halving
from workers.errors import FieldError, SpecError
from workers.spec import expand
from workers.spec.expand import next_points, plan_trial, points_of, sampler_of, trial_count
from workers.spec.parse import parse_sweep
from workers.spec.samplers import SAMPLERS, Observation, Sampler
from workers.spec.samplers.grid import grid_values
from workers.spec.search_space import Range, Values
from workers.spec.sweep import SweepSpec

SPACE: dict[str, Values | Range] = {
    "model.margin": Range(low=0.001, high=0.3, log=True, grid=4),
    "model.reflectors": Range(low=1, high=64, log=True, grid=3),
    "training.weight_decay": Range(low=0.0, high=0.1, grid=2),
    "training.seed": Range(low=0, high=2),
    "model.activation": Values(values=["relu", "tanh"]),
}
"""Every kind of dimension: logarithmic, logarithmic in integers, linear, all integers of a range, a list."""

every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def space_for(name: str) -> dict[str, Values | Range]:
    """Return the dimensions of ``SPACE`` that the sampler can search."""
    return {path: one for path, one in SPACE.items() if SAMPLERS[name].unsuited(one) is None}


def make(name: str, space: dict[str, Values | Range] | None = None, seed: int = 3, trials: int = 20) -> Sampler:
    """Return the sampler of this name; ``trials`` is its number of trials if it takes one."""
    sampler, space = SAMPLERS[name], space_for(name) if space is None else space
    return sampler(space, seed=seed, trials=trials if sampler.takes_trials else None, direction="minimize")


def results(sampler: Sampler, count: int) -> list[Observation]:
    """Return the first trials with made-up results, each proposed after those before it."""
    found: list[Observation] = []
    while len(found) < min(count, sampler.trial_count) and sampler.is_ready(len(found), found):
        params = sampler.propose(len(found), found)
        found.append(Observation(len(found), params, float(params["model.margin"]), ended=True))
    return found


@every_sampler
def test_points_lie_in_the_space(name: str) -> None:
    sampler = make(name)
    for number in range(sampler.trial_count):
        point = sampler.propose(number, ())
        assert list(point) == list(sampler.space)
        for path, dimension in sampler.space.items():
            value = point[path]
            if isinstance(dimension, Values):
                assert value in dimension.values
            else:
                assert isinstance(value, int if dimension.is_integer else float)
                assert dimension.low <= float(value) <= dimension.high


@every_sampler
@given(seed=st.integers(0, 2**31 - 1), asked=st.lists(st.integers(0, 19), max_size=5), number=st.integers(0, 19))
def test_a_proposal_depends_on_its_arguments_alone(name: str, seed: int, asked: list[int], number: int) -> None:
    sampler = make(name, seed=seed)
    earlier = results(sampler, 4)
    for other in asked:
        sampler.propose(other, earlier)
    assert sampler.propose(number, earlier) == make(name, seed=seed).propose(number, earlier)


@every_sampler
def test_a_proposal_survives_json(name: str) -> None:
    point = make(name).propose(1, ())
    assert json.loads(json.dumps(point)) == point


@every_sampler
def test_every_trial_of_an_accepted_sweep_is_proposed_in_the_end(name: str) -> None:
    search = {"sampler": name} | ({"trials": 7} if SAMPLERS[name].takes_trials else {})
    sweep = parse_sweep(sweep_document(space={"model.margin": {"low": 0.01, "high": 0.1, "grid": 3}}, search=search))
    known: list[Observation] = []
    while len(known) < trial_count(sweep):
        fresh = next_points(sweep, known)
        assert fresh, "with every trial ended, the sampler must propose another"
        known += [Observation(len(known) + i, point) for i, point in enumerate(fresh)]
        known = [Observation(k.number, k.params, float(k.params["model.margin"]), ended=True) for k in known]
    assert all(plan_trial(sweep, k.number, k.params).spec for k in known)
    assert next_points(sweep, known) == []


@every_sampler
def test_a_sampler_takes_a_number_of_trials_or_refuses_it(name: str) -> None:
    search: dict[str, Any] = {"sampler": name}
    if not SAMPLERS[name].takes_trials:
        search["trials"] = 5
    errors = _errors(sweep_document(search=search))
    assert [error.field for error in errors] == ["search.trials"]
    assert SAMPLERS[name].summary
    assert SAMPLERS[name].use_when


def test_an_unknown_sampler_is_refused_by_name() -> None:
    (error,) = _errors(sweep_document(search={"sampler": "annealing"}))
    assert (error.field, error.given) == ("search.sampler", "annealing")
    assert error.allowed == "one of " + ", ".join(SAMPLERS)


def _errors(document: Any) -> list[FieldError]:
    with pytest.raises(SpecError) as caught:
        parse_sweep(document)
    return caught.value.errors


@pytest.mark.parametrize(("direction", "margins"), [("minimize", [0.1, 0.05, 0.025]), ("maximize", [0.1, 0.05, 0.05])])
def test_a_sampler_that_learns_fits_the_contract(
    monkeypatch: pytest.MonkeyPatch, direction: Literal["minimize", "maximize"], margins: list[float]
) -> None:
    monkeypatch.setitem(SAMPLERS, "halving", Halving)
    sweep = parse_sweep(
        sweep_document(
            space={"model.margin": {"low": 0.001, "high": 0.1}},
            search={"sampler": "halving", "trials": 3},
            objective={"metric": "val/loss", "direction": direction},
        )
    )
    known: list[Observation] = []
    for _ in range(3):
        (point,) = next_points(sweep, known)
        waiting = [*known, Observation(len(known), point)]
        assert next_points(sweep, waiting) == [], "it must wait for the result of the trial that runs"
        known.append(Observation(len(known), point, float(point["model.margin"]), ended=True))
    assert [trial.params["model.margin"] for trial in known] == margins


def test_the_grid_changes_the_last_dimension_fastest_and_has_every_point_once() -> None:
    sampler = make("grid")
    points = [tuple(sampler.propose(number, ()).values()) for number in range(sampler.trial_count)]
    assert points == list(itertools.product(*(grid_values(dimension) for dimension in SPACE.values())))
    assert len(set(points)) == sampler.trial_count == 4 * 3 * 2 * 3 * 2


def test_points_of_a_grid_that_fall_together_count_once() -> None:
    sweep = parse_sweep({"task": {"name": "adding"}, "space": {"training.seed": {"low": 1, "high": 3, "grid": 10}}})
    assert trial_count(sweep) == len(list(points_of(sweep))) == 3


def test_the_size_of_a_grid_beyond_any_list_is_counted() -> None:
    sampler = make("grid", {"training.seed": Range(low=0, high=10**30), "model.layers": Values(values=[1, 2])})
    assert sampler.trial_count == 2 * (10**30 + 1)


def test_random_draws_differ_between_numbers_and_between_seeds() -> None:
    drawn = {make("random", seed=seed).propose(n, ())["model.margin"] for seed in range(20) for n in range(20)}
    assert len(drawn) == 400


def test_random_points_stay_as_they_were_drawn_in_release_0_1_0() -> None:
    """A stored sweep names its points by (seed, number): another stream would change trials that already ran."""
    space: dict[str, Values | Range] = {
        "model.margin": Range(low=0.001, high=0.3, log=True),
        "model.reflectors": Range(low=1, high=64),
        "model.activation": Values(values=["relu", "tanh"]),
    }
    found = [make("random", space).propose(number, ()) for number in range(3)]
    assert [tuple(point.values()) for point in found] == [
        (0.0271601362157, 15, "tanh"),
        (0.00476552110889, 21, "relu"),
        (0.101218867898, 64, "tanh"),
    ]


def test_a_sweep_gets_its_own_sampler() -> None:
    sweep: SweepSpec = parse_sweep(sweep_document(search={"sampler": "random", "trials": 4, "seed": 9}))
    sampler = sampler_of(sweep)
    assert (type(sampler), sampler.seed, sampler.trial_count) == (SAMPLERS["random"], 9, 4)
    assert expand.trial_count(sweep) == 4

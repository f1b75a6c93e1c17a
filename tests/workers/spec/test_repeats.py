"""Repeats of points: which trials there are, what samplers learn from them, and their curves."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.examples import sweep_document
from tests.workers.spec.test_learning_samplers import loss, searching
from workers.errors import SpecError
from workers.spec import extension
from workers.spec.checkpoint_size import sweep_bytes
from workers.spec.expand import next_points, plan_trials, points_of, trial_count
from workers.spec.extension import extended_document, new_points, parse_extension
from workers.spec.parse import parse_sweep
from workers.spec.pruning_rules import Curve
from workers.spec.repeats import SEED_PATH, aggregate, observed_points, point_curves, with_seeds, without_seed
from workers.spec.samplers import Observation, learning
from workers.spec.search_space import Params
from workers.spec.sweep import SweepSpec

GRID = {"model.margin": [0.01, 0.1], "model.reflectors": [1, 2, 4]}


def repeated(repeats: int, **changes: Any) -> SweepSpec:
    return parse_sweep(sweep_document(**{"space": GRID, "repeats": repeats} | changes))


def errors_of(**changes: Any) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        parse_sweep(sweep_document(**{"space": GRID} | changes))
    return {error.field: f"{error.problem}; {error.allowed}" for error in caught.value.errors}


def test_each_point_has_a_trial_for_each_seed() -> None:
    sweep = repeated(3, training={"steps": 8, "seed": 40})
    assert trial_count(sweep) == 18
    trials = plan_trials(sweep)
    assert [trial.number for trial in trials] == list(range(18))
    assert [trial.params[SEED_PATH] for trial in trials] == [40, 41, 42] * 6
    assert [trial.require_spec().training.seed for trial in trials] == [40, 41, 42] * 6
    points = [without_seed(trial.params, 3) for trial in trials]
    alone = list(points_of(repeated(1)))
    assert points == [point for point in alone for _ in range(3)]
    assert sweep_bytes(sweep) > 2.5 * sweep_bytes(repeated(1))


def test_without_repeats_trials_are_as_they_were() -> None:
    sweep = repeated(1)
    assert all(SEED_PATH not in params for params in points_of(sweep))
    assert sweep == parse_sweep(sweep_document(space=GRID))
    assert with_seeds({"model.margin": 0.1}, 1, 7) == [{"model.margin": 0.1}]


def test_what_does_not_go_with_repeats_is_refused() -> None:
    seeds = errors_of(space=GRID | {SEED_PATH: [0, 1]}, repeats=2)
    assert seeds.keys() == {"repeats"}
    assert "training.seed is searched too; leave training.seed out of the space" in seeds["repeats"]
    many = errors_of(space={"training.lr": {"low": 0.001, "high": 0.1, "grid": 6_000}}, repeats=4)
    assert many["repeats"] == "of each of 6,000 points are 24,000 trials, more than 20,000; at most 3, or fewer points"
    last = errors_of(training={"seed": 2**31 - 2}, repeats=3)
    assert last == {SEED_PATH: "is the first of 3 seeds, which follow each other; at most 2147483645"}
    alone = errors_of(objective={"statistic": "median"})
    assert "repeats of at least 2" in alone["objective.statistic"]
    assert errors_of(repeats=0).keys() == errors_of(repeats=101).keys() == {"repeats"}
    unknown = errors_of(repeats=2, objective={"statistic": "mode"})
    assert unknown.keys() == {"objective.statistic"}


def observation(number: int, objective: float | None, place: int | None, cancelled: bool = False) -> Observation:
    return Observation(
        number, {"a": number // 2, SEED_PATH: number % 2}, objective, place is not None, place, cancelled
    )


def test_a_sampler_sees_points_that_end_with_their_last_trial() -> None:
    trials = [
        observation(0, 1.0, 5),
        observation(1, 3.0, 0),
        observation(2, 4.0, 1),
        observation(3, None, 2),  # failed
        observation(4, 8.0, 3),
        observation(5, None, 4, cancelled=True),
        observation(6, 2.0, 6),
        observation(7, 0.5, None),  # runs
        observation(8, 1.0, 7),  # the last point is not complete
    ]
    found = observed_points(trials, 2, "mean")
    assert [(p.objective, p.ended, p.place) for p in found] == [
        (2.0, True, 5),
        (None, True, 2),
        (8.0, True, 4),
        (1.25, False, None),
        (None, False, None),
    ]
    assert [p.params for p in found] == [{"a": number} for number in range(5)]
    assert observed_points(trials, 1, "mean") == trials
    assert observed_points(trials, 2, "max")[0].objective == 3.0


def run(sweep: SweepSpec, seed: int, order: Sequence[int] | None = None) -> tuple[list[Params], list[int]]:
    """Run a sweep whose trials end in an order; with one given, the controller crashes, also in the middle of a point.

    Returns:
        The values of all trials, and the order in which they ended.
    """
    rng, known, ended = random.Random(seed), list[Observation](), list[int]()
    while len(ended) < trial_count(sweep):
        fresh = next_points(sweep, known)
        if order is not None and fresh and rng.random() < 0.7:
            # it crashed after it had stored a part of the trials, and lost what was in memory
            fresh = fresh[: rng.randrange(len(fresh))]
            learning._studies.clear()
        known += [Observation(len(known) + i, params) for i, params in enumerate(fresh)]
        due = order[len(ended)] if order else rng.choice([trial.number for trial in known if not trial.ended])
        if due >= len(known):
            continue
        value = loss(known[due].params)
        noise = random.Random(f"{due}").gauss(0, 0.1)
        known[due] = replace(
            known[due], objective=None if value is None else value + noise, ended=True, place=len(ended)
        )
        ended.append(due)
    return [trial.params for trial in known], ended


@pytest.mark.parametrize("name", ["tpe", "cma_es"])
def test_a_crash_in_the_middle_of_a_point_changes_no_proposal(name: str) -> None:
    for seed in range(20):
        options = {"startup_trials": 3, "concurrent": 2} | ({"population": 4} if name == "cma_es" else {})
        sweep = searching(name, 9, seed, options=options).model_copy(update={"repeats": 3})
        values, order = run(sweep, seed)
        assert len(values) == 27
        assert run(sweep, seed, order)[0] == values
        points = [without_seed(params, 3) for params in values]
        assert points[::3] == points[1::3] == points[2::3]
        assert len({tuple(point.items()) for point in points}) > 5


def test_a_sampler_learns_from_the_statistic() -> None:
    """With two orders of noise that have the same means, the proposals are the same; with others they differ."""
    options = {"startup_trials": 3, "concurrent": 1}
    sweep = searching("tpe", 8, options=options).model_copy(update={"repeats": 2})

    def proposals(spread: float, shift: float) -> list[Params]:
        known = list[Observation]()
        while len(known) < 16:
            for params in next_points(sweep, known):
                sign = 1 if params[SEED_PATH] else -1
                value = float(params["training.lr"]) * 4 + sign * spread + shift * len(known)
                known.append(Observation(len(known), params, value, ended=True, place=len(known)))
        return [trial.params for trial in known]

    assert proposals(0.25, 0.0) == proposals(0.5, 0.0)
    assert proposals(0.25, 0.0) != proposals(0.25, 0.0625)


def test_at_most_whole_points_are_proposed() -> None:
    sweep = repeated(4)
    assert [len(next_points(sweep, [], most)) for most in (3, 4, 11, None)] == [0, 4, 8, 24]
    stored = [Observation(number, params) for number, params in enumerate(points_of(sweep))]
    assert next_points(sweep, stored[:6], 6) == list(points_of(sweep))[6:12]
    assert extension.next_points(sweep, stored[:6], 6) == list(points_of(sweep))[6:12]


def test_extended_sweeps_keep_their_trials() -> None:
    sweep = repeated(2)
    stored = sweep.model_dump(mode="json")
    before = list(points_of(sweep))
    wider = parse_sweep(
        extended_document(sweep, stored, parse_extension({"space": {"model.margin": [0.3]}}), len(before))
    )
    added = new_points(wider, before)
    assert [(p["model.margin"], p["model.reflectors"], p[SEED_PATH]) for p in added] == [
        (0.3, reflectors, seed) for reflectors in (1, 2, 4) for seed in (0, 1)
    ]
    drawn = repeated(2, space={"model.margin": {"low": 0.01, "high": 0.1}}, search={"sampler": "random", "trials": 3})
    document = extended_document(drawn, drawn.model_dump(mode="json"), parse_extension({"trials": 2}), 6)
    longer = parse_sweep(document)
    assert (longer.search.trials, trial_count(longer)) == (5, 10)
    assert list(points_of(longer))[:6] == list(points_of(drawn))
    with pytest.raises(SpecError, match=r"2 repeats of each point.* at most 9,997"):
        extended_document(drawn, drawn.model_dump(mode="json"), parse_extension({"trials": 10_000}), 6)


curve = st.dictionaries(st.integers(1, 8), st.floats(-10, 10), min_size=1).map(lambda found: sorted(found.items()))


@given(
    st.dictionaries(st.integers(0, 11), curve),
    st.sets(st.integers(0, 11)),
    st.sets(st.integers(0, 11)),
    st.sampled_from(["mean", "median", "min", "max"]),
)
def test_curves_of_points_equal_a_recomputation(
    curves: dict[int, Curve], left_out: set[int], final: set[int], statistic: Any
) -> None:
    expected: dict[int, Curve] = {}
    for point in range(4):
        own = [trial for trial in range(3 * point, 3 * point + 3) if trial not in left_out]
        for step in range(9) if own else ():
            values = []
            for trial in own:
                known = dict(curves.get(trial, []))
                before = [known[at] for at in sorted(known)]
                if step in known:
                    values.append(known[step])
                elif trial in final and known and step > max(known):
                    values.append(before[-1])
            some = any(step in dict(curves.get(trial, [])) for trial in own)
            if some and len(values) == len(own):
                expected.setdefault(point, []).append((step, aggregate(values, statistic)))
    assert point_curves(curves, left_out, final, 3, statistic) == expected


def test_the_statistic_of_values_that_are_not_finite_is_nan() -> None:
    assert math.isnan(aggregate([1.0, math.inf], "min"))
    assert math.isnan(aggregate([math.inf, -math.inf], "mean"))
    assert aggregate([1.7e308, 1.7e308], "median") == 1.7e308

"""Results of earlier sweeps: which of them count, what is refused, and what samplers make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from service.api.submission import stored
from tests.workers.examples import sweep_document
from tests.workers.spec.test_learning_samplers import disturbed, loss, searching, undisturbed
from workers.errors import SpecError
from workers.runtime.local_sweep import LocalSweep
from workers.spec.advice import warnings
from workers.spec.expand import next_points
from workers.spec.parse import parse_sweep
from workers.spec.prior_results import PriorResult, WarmStart
from workers.spec.samplers import Observation, learning
from workers.spec.search_space import Params
from workers.spec.sweep import SweepSpec
from workers.spec.warm_start import EarlierSweep, with_prior_results

OLD = "sw0123456789"
SPACE: dict[str, Any] = {"training.lr": {"low": 0.001, "high": 0.1, "log": True}, "model.reflectors": [1, 2, 4]}


def new_sweep(**changes: Any) -> SweepSpec:
    search = {"sampler": "tpe", "trials": 20, "warm_start": {"sweep": OLD}} | changes.pop("search", {})
    return parse_sweep(sweep_document(space=changes.pop("space", SPACE), search=search, **changes))


def earlier(points: Sequence[Params], results: Sequence[float | None] | None = None, **changes: Any) -> EarlierSweep:
    """Return an earlier sweep with these points, which have ended in order, by default with their places as results."""
    space = changes.pop("space", SPACE)
    search = changes.pop("search", {"sampler": "random", "trials": max(1, len(points))})
    values = results or [float(place) for place in range(len(points))]
    known = [
        Observation(number, point, value, True, number)
        for number, (point, value) in enumerate(zip(points, values, strict=True))
    ]
    return EarlierSweep(OLD, parse_sweep(sweep_document(space=space, search=search, **changes)), known)


def taken(sweep: SweepSpec) -> list[tuple[Params, float]]:
    assert sweep.search.warm_start is not None
    return [(result.params, result.objective) for result in sweep.search.warm_start.results]


def test_results_within_the_space_are_taken_and_the_others_counted() -> None:
    points: list[Params] = [
        {"training.lr": 0.01, "model.reflectors": 2},
        {"training.lr": 0.5, "model.reflectors": 2},
        {"training.lr": 0.01, "model.reflectors": 3},
        {"training.lr": 0.001, "model.reflectors": 4},
    ]
    space = {"training.lr": {"low": 0.001, "high": 1.0}, "model.reflectors": {"low": 1, "high": 6}}
    found = with_prior_results(new_sweep(), [earlier(points, space=space)])
    assert taken(found) == [(points[0], 0.0), (points[3], 3.0)]
    assert found.search.warm_start is not None
    assert (found.search.warm_start.sweep, found.search.warm_start.left_out) == ([OLD], 2)
    assert parse_sweep(stored(found)) == found
    (warning,) = [w for w in warnings(found) if w.field == "search.warm_start.sweep"]
    assert "2 results outside" in warning.problem


def test_a_value_that_was_fixed_is_known_and_one_that_is_fixed_now_has_to_agree() -> None:
    points: list[Params] = [{"model.reflectors": 2, "model.margin": margin} for margin in (0.01, 0.1, 0.1)]
    space = {"model.reflectors": [1, 2, 4], "model.margin": {"low": 0.001, "high": 0.2}}
    sweep = new_sweep(model={"hidden_size": 6, "margin": 0.1})
    found = with_prior_results(sweep, [earlier(points, space=space)])
    assert taken(found) == [({"training.lr": 0.01, "model.reflectors": 2}, value) for value in (1.0, 2.0)]


def test_what_says_nothing_is_left_out() -> None:
    points: list[Params] = [{"training.lr": 0.01, "model.reflectors": 2}] * 4
    one = earlier(points, [0.5, None, float("nan"), 0.25])
    running = [Observation(4, points[0], 0.1, False, None)]
    found = with_prior_results(new_sweep(), [one._replace(points=[*one.points, *running])])
    assert [value for _, value in taken(found)] == [0.5, 0.25]
    with pytest.raises(SpecError, match="has no result"):
        with_prior_results(new_sweep(), [earlier([])])
    with pytest.raises(SpecError, match="1 lie outside"):
        with_prior_results(new_sweep(), [earlier([{"training.lr": 0.9, "model.reflectors": 2}], space=SPACE | WIDE)])
    strict = new_sweep(search={"constraints": ["training.lr * model.reflectors > 1"]}, space=SPACE | WIDE)
    with pytest.raises(SpecError, match="4 lie outside"):
        with_prior_results(strict, [earlier(points)])


WIDE: dict[str, Any] = {"training.lr": {"low": 0.001, "high": 5.0}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": {"name": "copy", "length": 8}}, "task copy"),
        ({"task": {"name": "adding", "length": 9}}, "task.length 9"),
        ({"objective": {"metric": "val/loss", "direction": "maximize"}}, "maximizes val/loss"),
        ({"repeats": 2, "objective": {"statistic": "max"}}, "the max of repeats"),
    ],
)
def test_an_objective_that_means_something_else_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        with_prior_results(new_sweep(), [earlier([{"training.lr": 0.01, "model.reflectors": 2}], **changes)])
    (error,) = refused.value.errors
    assert (error.field, error.given) == ("search.warm_start.sweep", OLD)
    assert words in error.problem


def test_another_training_is_named_and_seeds_and_reports_are_not() -> None:
    training = {"steps": 24, "batch_size": 8, "report_every": 2, "lr": 0.01, "seed": 7}
    one = earlier([{"training.lr": 0.01, "model.reflectors": 2}], training=training)
    found = with_prior_results(new_sweep(), [one])
    assert found.search.warm_start is not None
    assert found.search.warm_start.differences == [
        f"training.steps is 24 in {OLD} and 12 here",
        f"training.batch_size is 8 in {OLD} and 4 here",
    ]
    (warning,) = [w for w in warnings(found) if w.field == "search.warm_start.sweep"]
    assert "training.steps is 24" in warning.problem


@pytest.mark.parametrize(("sampler", "trials", "most"), [("gp", 490, 10), ("tpe", 20, 1_000)])
def test_the_best_and_the_newest_are_taken_if_there_are_too_many(sampler: str, trials: int, most: int) -> None:
    count = most + 400
    points: list[Params] = [{"training.lr": 0.01 + n * 1e-6, "model.reflectors": 2} for n in range(count)]
    found = with_prior_results(new_sweep(search={"sampler": sampler, "trials": trials}), [earlier(points)])
    values = [value for _, value in taken(found)]
    assert values == [*map(float, range(most // 2)), *map(float, range(count - most // 2, count))]


def test_a_sampler_without_room_for_results_is_refused() -> None:
    with pytest.raises(SpecError, match="at most 499 trials"):
        with_prior_results(
            new_sweep(search={"sampler": "gp", "trials": 500}),
            [earlier([{"training.lr": 0.01, "model.reflectors": 2}])],
        )


@pytest.mark.parametrize(
    ("search", "field"),
    [
        ({"sampler": "random"}, "search.warm_start"),
        ({"warm_start": {"sweep": []}}, "search.warm_start.sweep"),
        ({"warm_start": {"sweep": "last"}}, "search.warm_start.sweep.0"),
        ({"warm_start": {}}, "search.warm_start.sweep"),
        (
            {"warm_start": {"sweep": OLD, "results": [{"params": {"training.lr": 9.0}, "objective": 1.0}]}},
            "search.warm_start.results.0.params.training.lr",
        ),
    ],
)
def test_a_wrong_warm_start_names_its_field(search: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as refused:
        new_sweep(search=search)
    assert refused.value.errors[0].field == field


def test_a_warm_start_needs_a_service(tmp_path: Any) -> None:
    with pytest.raises(SpecError, match="sweeps of a service"):
        LocalSweep(new_sweep(), tmp_path)


def known(name: str, seed: int, count: int = 14) -> list[PriorResult]:
    """Return results of random points."""
    drawn = next_points(searching("random" if name == "tpe" else name, count, seed + 100), [], 8)
    return [PriorResult(params=point, objective=value) for point in drawn if (value := loss(point)) is not None]


def warm(sweep: SweepSpec, results: list[PriorResult]) -> SweepSpec:
    own = WarmStart(sweep=[OLD], results=results)
    return sweep.model_copy(update={"search": sweep.search.model_copy(update={"warm_start": own})})


@pytest.mark.parametrize(
    ("name", "seeds", "trials", "options"),
    [
        ("tpe", 20, 12, {"startup_trials": 5, "concurrent": 4}),
        ("cma_es", 20, 14, {"concurrent": 5, "population": 4}),
        pytest.param("gp", 2, 5, {"startup_trials": 3, "concurrent": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_crash_changes_no_proposal_of_a_sweep_with_a_warm_start(
    name: str, seeds: int, trials: int, options: dict[str, int]
) -> None:
    for seed in range(seeds):
        sweep = warm(searching(name, trials, seed, options=options), known(name, seed))
        points, order = undisturbed(sweep, seed)
        learning._studies.clear()
        assert disturbed(sweep, order, seed) == points


@pytest.mark.parametrize("name", ["tpe", "cma_es", pytest.param("gp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("count", [5, 40])
def test_the_first_proposal_already_learns(name: str, count: int) -> None:
    options = {"startup_trials": 1} if name == "cma_es" else {"startup_trials": 3}
    space = {"training.lr": {"low": 0.001, "high": 1.0}, "training.weight_decay": {"low": 0.0, "high": 1.0}}
    sweep = parse_sweep(
        sweep_document(space=space, search={"sampler": name, "trials": 20, "seed": 1, "options": options})
    )
    drawn = next_points(
        parse_sweep(sweep_document(space=space, search={"sampler": "random", "trials": count, "seed": 5})), []
    )

    def value(point: Params) -> float:
        return (float(point["training.lr"]) - 0.9) ** 2 + (float(point["training.weight_decay"]) - 0.9) ** 2

    results = [PriorResult(params=point, objective=value(point)) for point in drawn]
    cold, begun = next_points(sweep, [], 6), next_points(warm(sweep, results), [], 6)
    assert cold != begun
    if count > 5 or name == "cma_es":
        assert sum(map(value, begun)) < sum(map(value, cold))
    assert next_points(warm(sweep, results), [], 6) == begun
    fewer = {"startup_trials": len(results) + 1}
    late = parse_sweep(
        sweep_document(space=space, search={"sampler": name, "trials": 20, "seed": 1, "options": options | fewer})
    )
    assert next_points(warm(late, results), [], 6) == cold

"""Points of sweeps over HTTP: ranked, in pages, compared, and in the views of their sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from scipy import stats

from service.client import RestClient
from service.controller import sweep_lifecycle
from service.store import points, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep
from tests.service.api.test_documents import conforms as conforms
from workers.spec.sweep import SweepSpec

BACKENDS = ["sqlite", "postgresql"]
MARGINS = {"model.margin": [0.01, 0.02, 0.05, 0.1]}
LOSSES = [[0.5, 0.6, 0.7], [0.1, 0.3, 0.5], [0.2, 0.21, 0.22], [0.0, 0.1, None]]
"""The losses of four points with three repeats each. Point 2 is the best, and point 1 has a better trial."""


@pytest.fixture
def repeated(database: Database, new_sweep: Callable[..., Sweep]) -> Callable[..., Sweep]:
    """A function that makes a running sweep with trials that have succeeded; those without a loss have failed."""

    def make(losses: list[list[float | None]] = LOSSES, **changes: Any) -> Sweep:
        sweep = new_sweep(**{"space": MARGINS, "repeats": len(losses[0])} | changes)
        with database.write() as session:
            sweep_lifecycle.expand(session, sweep.id, SweepSpec.model_validate(sweep.spec))
        with database.write() as session:
            flat = [loss for point in losses for loss in point]
            for trial, loss in zip(trials.page(session, sweep.id), flat, strict=True):
                trials.move(session, trial, "running")
                trial.objective, trial.best_step, trial.step = loss, 100, 100
                trials.move(session, trial, "failed" if loss is None else "succeeded", None if loss else "NaN")
            return sweeps.get(session, sweep.id)

    return make


@pytest.mark.parametrize("backend", BACKENDS)
def test_points_are_listed_the_best_first_with_their_spread(
    backend: str, conforms: Callable[..., Any], repeated: Callable[..., Sweep]
) -> None:
    sweep = repeated(training={"steps": 100, "seed": 7})
    answer = conforms("/v1/sweeps/{sweep_id}/points", sweep_id=sweep.id)
    assert answer["statistic"] == "mean"
    assert [point["number"] for point in answer["points"]] == [2, 1, 0, 3]
    best, *_, failed = answer["points"]
    assert best["params"] == {"model.margin": 0.05}
    assert (best["objective"], best["n"]) == (best["mean"], 3)
    assert best["mean"] == pytest.approx(0.21)
    assert best["sd"] == pytest.approx(0.01)
    assert best["interval"] == pytest.approx(stats.t.interval(0.95, 2, 0.21, stats.sem([0.2, 0.21, 0.22])))
    assert best["best_trial"] == f"{sweep.id}-0006"
    assert [(r["seed"], r["objective"], r["state"]) for r in best["repeats"]] == [
        (7, 0.2, "succeeded"),
        (8, 0.21, "succeeded"),
        (9, 0.22, "succeeded"),
    ]
    assert (failed["objective"], failed["n"], failed["reason"]) == (None, 2, "trial 11 failed")


def test_points_come_in_pages(conforms: Callable[..., Any], api: httpx.Client, repeated: Any) -> None:
    sweep = repeated()
    seen, cursor = [], None
    while True:
        query = "?limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = conforms("/v1/sweeps/{sweep_id}/points", sweep_id=sweep.id, query=query)
        seen += [point["number"] for point in page["points"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [2, 1, 0, 3]
    with RestClient(str(api.base_url)) as client:
        assert [point["number"] for point in client.points(sweep.id)] == seen
        assert [point["number"] for point in client.points(sweep.id, limit=1)] == [2]
    assert api.get(f"/v1/sweeps/{sweep.id}/points?cursor=x").status_code == 422


def test_the_best_of_a_sweep_is_the_best_trial_of_its_best_point(
    conforms: Callable[..., Any], database: Database, repeated: Any
) -> None:
    sweep = repeated()
    shown = conforms("/v1/sweeps/{sweep_id}", sweep_id=sweep.id)
    assert shown["best"]["number"] == 6
    assert (shown["best_point"]["number"], shown["best_point"]["n"]) == (2, 3)
    (listed,) = conforms("/v1/sweeps")["sweeps"]
    assert listed["best_objective"] == shown["best_objective"] == shown["best_point"]["objective"]
    (course,) = conforms("/v1/best-so-far", query=f"?sweeps={sweep.id}")["sweeps"]
    assert course["points"] == [[3, pytest.approx(0.6)], [6, pytest.approx(0.3)], [9, pytest.approx(0.21)]]
    report = conforms("/v1/sweeps/{sweep_id}/report", sweep_id=sweep.id)
    assert [point["number"] for point in report["points"]] == [2, 1, 0]
    with database.read() as session:
        row = sweeps.get(session, sweep.id)
        found = points.best_trial(session, row)
        assert found is not None
        assert found.id == shown["best"]["id"]
    other = repeated(objective={"statistic": "min"})
    assert conforms("/v1/sweeps/{sweep_id}", sweep_id=other.id)["best"]["number"] == 3


def test_without_repeats_each_trial_is_a_point(conforms: Callable[..., Any], repeated: Any) -> None:
    sweep = repeated([[0.3], [0.1], [None], [0.2]])
    shown = conforms("/v1/sweeps/{sweep_id}", sweep_id=sweep.id)
    assert (shown["best"]["number"], shown["best_point"]) == (1, None)
    listed = conforms("/v1/sweeps/{sweep_id}/points", sweep_id=sweep.id)["points"]
    assert [(p["number"], p["objective"], p["n"], p["sd"]) for p in listed] == [
        (1, 0.1, 1, None),
        (3, 0.2, 1, None),
        (0, 0.3, 1, None),
        (2, None, 0, None),
    ]
    assert conforms("/v1/sweeps/{sweep_id}/report", sweep_id=sweep.id)["points"] == []
    compared = conforms("/v1/sweeps/{sweep_id}/compare", query="?points=0,1", sweep_id=sweep.id)
    assert compared["comparisons"][0]["verdict"] == "not told apart"


def test_a_sweep_of_an_earlier_release_has_no_repeats(
    conforms: Callable[..., Any], database: Database, repeated: Any
) -> None:
    sweep = repeated([[0.3], [0.1], [None], [0.2]])
    with database.write() as session:
        row = sweeps.get(session, sweep.id)
        row.spec = {key: value for key, value in row.spec.items() if key not in ("repeats", "objective")}
    assert conforms("/v1/sweeps/{sweep_id}", sweep_id=sweep.id)["best"]["number"] == 1
    assert len(conforms("/v1/sweeps/{sweep_id}/points", sweep_id=sweep.id)["points"]) == 4


def test_points_are_compared_in_pairs(conforms: Callable[..., Any], api: httpx.Client, repeated: Any) -> None:
    losses = [[0.50, 0.60, 0.71], [0.40, 0.51, 0.60], [0.52, 0.58, 0.70], [0.1, 0.2, None]]
    sweep = repeated(losses)
    answer = conforms("/v1/sweeps/{sweep_id}/compare", query="?points=1,0", sweep_id=sweep.id)
    assert [point["number"] for point in answer["points"]] == [1, 0]
    (pair,) = answer["comparisons"]
    test = stats.ttest_rel(losses[1], losses[0])
    assert (pair["first"], pair["second"], pair["verdict"], pair["n"]) == (1, 0, "better", 3)
    assert pair["interval"] == pytest.approx(tuple(test.confidence_interval(0.95)))
    with RestClient(str(api.base_url)) as client:
        several = client.compare(sweep.id, [0, 1, 2, 3])
    verdicts = {(pair["first"], pair["second"]): pair["verdict"] for pair in several["comparisons"]}
    assert len(verdicts) == 6
    assert verdicts[0, 2] == "not told apart"
    assert all(verdicts[point, 3] == "not told apart" for point in (0, 1, 2))
    # the interval is wider among six
    wide = next(pair for pair in several["comparisons"] if (pair["first"], pair["second"]) == (0, 1))["interval"]
    assert wide == pytest.approx(tuple(stats.ttest_rel(losses[0], losses[1]).confidence_interval(1 - 0.05 / 6)))


@pytest.mark.parametrize("wanted", ["1", "1,1", "a,b", "1;2", ",".join(map(str, range(21))), ""])
def test_what_does_not_say_which_points_to_compare_is_refused(api: httpx.Client, repeated: Any, wanted: str) -> None:
    answer = api.get(f"/v1/sweeps/{repeated().id}/compare", params={"points": wanted})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "points"


def test_points_that_are_not_there_are_not_found(
    conforms: Callable[..., Any], api: httpx.Client, repeated: Any
) -> None:
    sweep = repeated()
    conforms("/v1/sweeps/{sweep_id}/compare", 404, query="?points=0,4", sweep_id=sweep.id)
    conforms("/v1/sweeps/{sweep_id}/compare", 404, query="?points=0,1", sweep_id="sw0123456789")
    conforms("/v1/sweeps/{sweep_id}/points", 404, sweep_id="sw0123456789")
    assert "points" in api.get(f"/v1/sweeps/{sweep.id}/compare").json()["errors"][0]["field"]


def test_a_dry_run_says_points_and_repeats(api: httpx.Client, document: dict[str, Any]) -> None:
    dry = api.post("/v1/sweeps/validate", json=document | {"repeats": 5}).json()
    assert (dry["points"], dry["repeats"], dry["trials"]) == (4, 5, 20)
    assert all(size % 5 == 0 for size in dry["packs"])
    refused = api.post("/v1/sweeps", json=document | {"repeats": 5, "space": {"training.seed": [1, 2]}})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["repeats"]


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_sweep_with_repeats_is_extended_by_points(
    api: httpx.Client, database: Database, new_sweep: Any, trials_of: Callable[[str], list[int]], state: str
) -> None:
    space = {"model.margin": {"low": 0.01, "high": 0.1}}
    sweep = new_sweep(space=space, search={"sampler": "random", "trials": 2}, repeats=3)
    with database.write() as session:
        sweep_lifecycle.expand(session, sweep.id, SweepSpec.model_validate(sweep.spec))
        if state == "stopped":
            sweeps.move(session, sweep.id, "stopping")
            sweep_lifecycle.settle(session, sweep.id)
    before = trials_of(sweep.id)
    answer = api.post(f"/v1/sweeps/{sweep.id}/extend", json={"trials": 2})
    assert answer.status_code == 202, answer.text
    assert answer.json()["trials"]["total"] == 12
    with database.write() as session:
        row = sweeps.get(session, sweep.id)
        sweep_lifecycle.expand(session, sweep.id, SweepSpec.model_validate(row.spec))
    assert trials_of(sweep.id)[:6] == before
    assert len(trials_of(sweep.id)) == 12


@pytest.fixture
def trials_of(database: Database) -> Callable[[str], list[Any]]:
    def read(sweep_id: str) -> list[Any]:
        with database.read() as session:
            return [trial.params for trial in trials.page(session, sweep_id)]

    return read

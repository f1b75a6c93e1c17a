"""One metric of several trials in one answer, and what the list of sweeps says beside it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.store import reports, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from tests.service.api.test_errors import problem

BACKENDS = ["sqlite", "postgresql"]


@pytest.fixture
def measured(database: Database, running: tuple[Sweep, list[Trial]]) -> Sweep:
    """A running sweep: trials 0 to 2 report, and trial 1 is the best."""
    sweep, rows = running
    with database.write() as session:
        for number, best in ((0, 0.5), (1, 0.2), (2, 0.9)):
            points = [(step, {"val/loss": best + 1 / step, "train/loss": 0.1}) for step in range(1, 101)]
            reports.add(session, rows[number].id, points, 0.0)
            trial = trials.get(session, rows[number].id)
            trials.move(session, trial, "running")
            trial.objective, trial.step = best, 100
    return sweep


def curves(api: httpx.Client, sweep_id: str, **query: Any) -> dict[str, Any]:
    answer = api.get(f"/v1/sweeps/{sweep_id}/curves", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("backend", BACKENDS)
def test_curves_of_the_best_trials_come_best_first(backend: str, api: httpx.Client, measured: Sweep) -> None:
    found = curves(api, measured.id, best=2, points=5)
    assert (found["metric"], found["metrics"]) == ("val/loss", ["train/loss", "val/loss"])
    assert [curve["number"] for curve in found["curves"]] == [1, 0]
    points = found["curves"][0]["points"]
    assert 3 <= len(points) <= 6
    assert [step for step, _ in points] == sorted({step for step, _ in points})
    assert (points[0], points[-1]) == ([1, 1.2], [100, pytest.approx(0.21)])


def test_curves_are_those_that_were_asked_for(api: httpx.Client, measured: Sweep) -> None:
    found = curves(api, measured.id, trials=[2, 3, 0, 77], metric="train/loss", points=1000)
    assert [curve["number"] for curve in found["curves"]] == [2, 0], "3 has not reported, and there is no 77"
    assert found["curves"][0]["points"] == [[step, 0.1] for step in range(1, 101)]
    assert curves(api, measured.id, metric="val/nothing")["curves"] == []
    assert curves(api, measured.id, metric='va"l$.\\')["curves"] == []


def test_what_is_no_query_of_curves_is_refused(api: httpx.Client, measured: Sweep) -> None:
    for query in ("trials=-1", "trials=x", "points=1", "points=2001", "best=0", "more=1", f"metric={'m' * 81}"):
        problem(api.get(f"/v1/sweeps/{measured.id}/curves?{query}"), 422)
    problem(api.get(f"/v1/sweeps/{measured.id}/curves?" + "&".join("trials=1" for _ in range(201))), 422)
    problem(api.get("/v1/sweeps/sw0000000000/curves"), 404)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_list_says_task_owner_best_and_last_event(backend: str, api: httpx.Client, measured: Sweep) -> None:
    (row,) = api.get("/v1/sweeps").json()["sweeps"]
    whole = api.get(f"/v1/sweeps/{measured.id}").json()
    for shown in (row, whole):
        assert (shown["task"], shown["owner"], shown["best_objective"]) == ("adding", "local", 0.2)
        assert shown["planned_steps"] == 400
        assert shown["last_event"] > 4
    assert api.get(f"/v1/sweeps/{measured.id}/trials").json()["trials"][0]["pack_id"] is None


def test_the_best_of_a_list_is_by_each_sweeps_direction(
    api: httpx.Client, database: Database, measured: Sweep, document: dict[str, Any]
) -> None:
    other = api.post(
        "/v1/sweeps", json=document | {"objective": {"metric": "val/loss", "direction": "maximize"}}
    ).json()
    with database.write() as session:
        points = [{"model.reflectors": 2}, {"model.reflectors": 4}]
        for trial, value in zip(
            trials.create(session, session.get_one(Sweep, other["id"]), 0, points), (0.3, 0.7), strict=True
        ):
            trial.objective = value
    best = {row["id"]: row["best_objective"] for row in api.get("/v1/sweeps").json()["sweeps"]}
    assert best == {measured.id: 0.2, other["id"]: 0.7}


def test_a_list_has_running_sweeps_that_have_no_trials_yet(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    learning = document | {"search": {"sampler": "tpe", "trials": 4}}
    learning["space"] = {"model.margin": {"low": 0.01, "high": 0.1}}
    ids = [api.post("/v1/sweeps", json=one).json()["id"] for one in (document, learning)]
    with database.write() as session:
        for id in ids:
            sweeps.move(session, id, "running")
    listed = {row["id"]: row["waiting_for"] for row in api.get("/v1/sweeps").json()["sweeps"]}
    assert listed == {id: api.get(f"/v1/sweeps/{id}").json()["waiting_for"] for id in ids}
    assert "results" in listed[ids[1]]
    assert "results" not in listed[ids[0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_best_so_far_of_sweeps_is_a_few_points_for_each(
    backend: str, api: httpx.Client, database: Database, measured: Sweep, document: dict[str, Any]
) -> None:
    space = {"training.seed": {"low": 0, "high": 999, "grid": 1000}}
    goal = {"metric": "val/loss", "direction": "maximize"}
    large = api.post("/v1/sweeps", json=document | {"space": space, "objective": goal}).json()["id"]
    empty = api.post("/v1/sweeps", json=document).json()["id"]
    with database.write() as session:
        row = session.get_one(Sweep, large)
        for trial in trials.create(session, row, 0, [{"training.seed": n} for n in range(600)]):
            trial.objective = None if trial.number < 100 else float(trial.number % 300)
    asked = [large, "sw0123456789", empty, measured.id, large]
    found = api.get("/v1/best-so-far", params={"sweeps": asked}).json()["sweeps"]
    assert [one["id"] for one in found] == [large, empty, measured.id]
    points = {one["id"]: one["points"] for one in found}
    assert points[measured.id] == [[1, 0.5], [2, 0.2], [3, 0.2]]
    assert points[empty] == []
    assert 10 <= len(points[large]) <= 24
    assert points[large][0] == [125, 124.0]
    assert points[large][-1] == [600, 299.0]
    values = [value for _, value in points[large]]
    assert values == sorted(values)
    problem(api.get("/v1/best-so-far?sweeps=x"), 422)
    problem(api.get("/v1/best-so-far?" + "&".join(f"sweeps={empty}" for _ in range(201))), 422)

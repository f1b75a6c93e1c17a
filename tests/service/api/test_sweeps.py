"""Sweeps over HTTP: submit, list, inspect and control."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from service.api import dry_run
from service.settings import ApiSettings
from service.store import components, projections, sweeps, trials
from service.store.database import Database
from service.store.tables import Event, IdempotencyKey, OutboxEntry, Sweep, Trial
from tests.service.conftest import serving
from workers.errors import SpecError
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec

BACKENDS = ["sqlite", "postgresql"]
NewSweep = Callable[..., Sweep]
Running = tuple[Sweep, list[Trial]]


def rows(database: Database, table: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_post_stores_the_sweep_with_every_default(
    backend: str, api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    answer = api.post("/v1/sweeps", json=document)
    assert answer.status_code == 202
    sweep = answer.json()
    assert answer.headers["location"] == sweep["links"]["self"] == f"/v1/sweeps/{sweep['id']}"
    assert (sweep["state"], sweep["trials"]["total"], sweep["trials"]["waiting"]) == ("queued", 4, 4)
    assert sweep["progress"] == {"done": 0, "total": 400}
    assert parse_sweep(sweep["spec"]) == parse_sweep(document)
    assert sweep["spec"]["training"]["lr"] == 0.001
    assert list(sweep["spec"]["space"]) == ["model.reflectors", "model.margin"]
    assert api.get(answer.headers["location"]).json() == sweep
    assert (rows(database, Sweep), rows(database, Event), rows(database, OutboxEntry)) == (1, 1, 1)


def test_without_a_key_each_post_is_a_new_sweep(api: httpx.Client, document: dict[str, Any]) -> None:
    one, two = (api.post("/v1/sweeps", json=document).json()["id"] for _ in range(2))
    assert one != two


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_key_is_one_sweep(backend: str, api: httpx.Client, database: Database, document: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "mine"}
    first, second = (api.post("/v1/sweeps", json=document, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["location"] == first.headers["location"]
    other = api.post("/v1/sweeps", json=document | {"name": "other"}, headers=headers)
    assert other.status_code == 409
    assert first.json()["id"] in other.json()["detail"]
    assert (rows(database, Sweep), rows(database, IdempotencyKey)) == (1, 1)


def test_a_repeated_post_finds_its_sweep_although_its_data_are_gone(url: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("target,a,b\n" + "p,1,2\nq,3,4\n" * 8)
    task = {"name": "own_data", "file": "mine.csv"}
    document = {"name": "mine", "task": task, "space": {"model.margin": [0.01]}}
    with serving(ApiSettings(database_url=url, data_dir=tmp_path)) as address, httpx.Client(base_url=address) as client:
        first = client.post("/v1/sweeps", json=document, headers={"Idempotency-Key": "mine"})
        file.unlink()
        again = client.post("/v1/sweeps", json=document, headers={"Idempotency-Key": "mine"})
        new = client.post("/v1/sweeps", json=document)
    assert (first.status_code, again.status_code, new.status_code) == (202, 202, 422)
    assert again.json()["id"] == first.json()["id"]
    assert new.json()["errors"][0]["field"] == "task.file"


@pytest.mark.parametrize("backend", BACKENDS)
def test_racing_posts_with_one_key_make_one_sweep(
    backend: str, base_url: str, database: Database, document: dict[str, Any]
) -> None:
    gate = threading.Barrier(8)

    def post(_: int) -> httpx.Response:
        with httpx.Client(base_url=base_url, timeout=30) as client:
            gate.wait()
            return client.post("/v1/sweeps", json=document, headers={"Idempotency-Key": "raced"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (rows(database, Sweep), rows(database, OutboxEntry)) == (1, 1)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_a_bad_key_is_refused(api: httpx.Client, database: Database, document: dict[str, Any], key: str) -> None:
    answer = api.post("/v1/sweeps", json=document, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert rows(database, Sweep) == 0


def test_a_wrong_sweep_names_its_fields_and_stores_nothing(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    wrong = document | {"space": {"model.margn": {"values": [1]}}}
    for path in ("/v1/sweeps", "/v1/sweeps/validate"):
        answer = api.post(path, json=wrong, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        (error,) = answer.json()["errors"]
        assert error["field"] == "space.model.margn"
        assert "did you mean model.margin?" in error["allowed"]
    assert rows(database, Sweep) == rows(database, IdempotencyKey) == 0


def test_validate_plans_without_storing(api: httpx.Client, database: Database, document: dict[str, Any]) -> None:
    document["space"]["training.batch_size"] = {"values": [8, 16]}
    document["space"]["model.margin"] = {"low": 0.01, "high": 0.6, "grid": 3}
    plan = api.post("/v1/sweeps/validate", json=document).json()
    assert plan["trials"] == 12
    assert plan["shapes"] == [6, 6]
    assert sum(plan["packs"]) == 12
    (warning,) = plan["warnings"]
    assert (warning["field"], warning["given"]) == ("space.model.margin", 0.6)
    assert "at most 1 / T = 0.05" in warning["allowed"]
    assert rows(database, Sweep) == 0


@pytest.mark.parametrize(("margin", "warned"), [(0.5, False), (0.51, True), (0.05, False)])
def test_margins_above_ten_over_t_are_warned_of(
    api: httpx.Client, document: dict[str, Any], margin: float, warned: bool
) -> None:
    document["space"]["model.margin"] = {"values": [0.001, margin]}
    assert bool(api.post("/v1/sweeps/validate", json=document).json()["warnings"]) == warned


@pytest.mark.parametrize("backend", BACKENDS)
def test_listing_pages_through_every_sweep_once_newest_first(
    backend: str, api: httpx.Client, database: Database, new_sweep: NewSweep
) -> None:
    made = [new_sweep(name=f"s{i}") for i in range(5)]
    with database.write() as session:
        for sweep in made[1:3]:
            sweeps.get(session, sweep.id).created_at = made[3].created_at
    found, cursor = [], None
    while True:
        page = api.get("/v1/sweeps", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [sweep["id"] for sweep in page["sweeps"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(found) == sorted(sweep.id for sweep in made)
    assert (found[0], found[-1]) == (made[4].id, made[0].id)


def test_listing_by_state(api: httpx.Client, database: Database, new_sweep: NewSweep) -> None:
    queued, paused, running = (new_sweep().id for _ in range(3))
    with database.write() as session:
        sweeps.move(session, paused, "paused")
        sweeps.move(session, running, "running")
    found = api.get("/v1/sweeps", params={"state": ["paused", "running"]}).json()["sweeps"]
    assert {sweep["id"] for sweep in found} == {paused, running}
    assert [s["id"] for s in api.get("/v1/sweeps?state=queued").json()["sweeps"]] == [queued]


@pytest.mark.parametrize(
    ("query", "field", "problem", "allowed"),
    [
        ("limit=0", "limit", "is less than 1", "at least 1"),
        ("limit=201", "limit", "is more than 200", "at most 200"),
        ("limit=many", "limit", "is not a whole number", "a whole number"),
        ("limit=" + "9" * 5000, "limit", "is a number with too many digits", "a whole number with fewer digits"),
        ("state=done", "state.0", "is not one of the values allowed", "'succeeded'"),
        ("cursor=xx", "cursor", "is not a cursor of this list", "next_cursor"),
        ("cursor=WzFlOTk5LCAiYSJd", "cursor", "is not a cursor of this list", "next_cursor"),
        ("cursor=" + "x" * 401, "cursor", "is longer than 400 characters", "at most 400 characters"),
        ("stat=running", "stat", "is not a parameter of this call", ""),
    ],
)
def test_a_wrong_listing_says_what_is_allowed(
    api: httpx.Client, query: str, field: str, problem: str, allowed: str
) -> None:
    answer = api.get(f"/v1/sweeps?{query}")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"], error["problem"]) == (field, problem)
    assert allowed in error["allowed"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_detail_counts_progress_best_and_links(
    backend: str, api: httpx.Client, database: Database, running: Running
) -> None:
    sweep, made = running
    with database.write() as session:
        for trial, step, value in zip(made[:3], (100, 40, 10), (0.3, 0.1, 0.2), strict=True):
            row = trials.get(session, trial.id)
            row.step, row.objective, row.best_step = step, value, step
            trials.move(session, row, "running")
        trials.move(session, trials.get(session, made[0].id), "succeeded")
        trials.move(session, trials.get(session, made[1].id), "pruned", "rung")
        projections.put(session, sweep.id, "3", "abc")
    shown = api.get(f"/v1/sweeps/{sweep.id}").json()
    counts = {name: n for name, n in shown["trials"].items() if n}
    assert counts == {"total": 4, "waiting": 1, "running": 1, "succeeded": 1, "pruned": 1}
    assert shown["progress"] == {"done": 150, "total": 100 + 40 + 100 + 100}
    assert shown["best"]["id"] == made[1].id
    assert shown["mlflow_url"] == "http://mlflow:5000/#/experiments/3/runs/abc?workflowType=machine_learning"
    (summary,) = api.get("/v1/sweeps").json()["sweeps"]
    assert summary == {name: shown[name] for name in summary}


def test_progress_of_a_sweep_over_steps(api: httpx.Client, database: Database, new_sweep: NewSweep) -> None:
    sweep = new_sweep(space={"training.steps": {"values": [10, 1000]}})
    assert api.get(f"/v1/sweeps/{sweep.id}").json()["progress"] == {"done": 0, "total": 1010}
    with database.write() as session:
        _, long = trials.create(session, sweep, 0, [{"training.steps": 10}, {"training.steps": 1000}])
        long.step = 7
        trials.move(session, long, "cancelled")
    assert api.get(f"/v1/sweeps/{sweep.id}").json()["progress"] == {"done": 7, "total": 17}


@pytest.mark.parametrize("backend", BACKENDS)
def test_verbs_are_idempotent_and_too_late_is_a_conflict(
    backend: str, api: httpx.Client, database: Database, new_sweep: NewSweep
) -> None:
    path = f"/v1/sweeps/{new_sweep().id}"
    for verb, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopping"), ("cancel", "cancelling")):
        answers = [api.post(f"{path}/{verb}") for _ in range(2)]
        assert [(a.status_code, a.json()["state"]) for a in answers] == [(202, state)] * 2
    answer = api.post(f"{path}/pause")
    assert answer.status_code == 409
    assert answer.json()["detail"] == (
        "cannot pause a sweep that is cancelling: possible only while it is paused, queued, running"
    )
    assert rows(database, Event) == 5


def test_unknown_ids_are_named(api: httpx.Client) -> None:
    calls = [("GET", ""), ("GET", "/trials"), ("GET", "/events"), ("GET", "/report"), ("POST", "/pause")]
    for method, path in calls:
        answer = api.request(method, f"/v1/sweeps/sw0123456789{path}")
        assert answer.status_code == 404
        assert "sw0123456789" in answer.json()["detail"]


@pytest.mark.parametrize("sort", ["number", "objective"])
def test_trials_page_by_page(api: httpx.Client, database: Database, running: Running, sort: str) -> None:
    sweep, made = running
    with database.write() as session:
        for trial, value in zip(made, (0.2, None, 0.1, None), strict=True):
            trials.get(session, trial.id).objective = value
    found, cursor = [], None
    for _ in range(3):
        query: dict[str, Any] = {"limit": 2, "sort": sort} | ({"cursor": cursor} if cursor else {})
        page = api.get(f"/v1/sweeps/{sweep.id}/trials", params=query).json()
        found += [trial["number"] for trial in page["trials"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == ([0, 1, 2, 3] if sort == "number" else [2, 0, 1, 3])
    other = "objective" if sort == "number" else "number"
    first = api.get(f"/v1/sweeps/{sweep.id}/trials", params={"limit": 2, "sort": sort}).json()["next_cursor"]
    wrong = api.get(f"/v1/sweeps/{sweep.id}/trials", params={"sort": other, "cursor": first})
    assert wrong.status_code == 422


def test_trials_without_a_result_come_last_on_every_page(
    api: httpx.Client, database: Database, running: Running
) -> None:
    sweep, made = running
    objectives, states = (1e300, 0.1, 1e308, 0.2), ("succeeded", "failed", "pruned", "cancelled")
    with database.write() as session:
        for trial, value, state in zip(made, objectives, states, strict=True):
            row = trials.get(session, trial.id)
            row.objective = value
            trials.move(session, row, "running")
            trials.move(session, row, state)
    found, query = [], {"limit": 1, "sort": "objective"}
    for _ in range(5):
        page = api.get(f"/v1/sweeps/{sweep.id}/trials", params=query).json()
        found += [trial["number"] for trial in page["trials"]]
        query |= {"cursor": page["next_cursor"]}
        if page["next_cursor"] is None:
            break
    assert found == [0, 2, 1, 3]
    assert api.get(f"/v1/sweeps/{sweep.id}").json()["best"]["number"] == 0
    report = api.get(f"/v1/sweeps/{sweep.id}/report").json()
    assert [trial["number"] for trial in report["leaderboard"]] == [0, 2]
    assert [place["number"] for place in report["places"]] == [0, 2]


def test_report_has_the_grid_of_the_paper(api: httpx.Client, database: Database, new_sweep: NewSweep) -> None:
    space = {
        "model.reflectors": {"values": [2, 4]},
        "model.margin": {"values": [0.1, 0.01]},
        "training.seed": {"values": [0, 1]},
    }
    sweep = new_sweep(space=space)
    points = [
        {"model.reflectors": m, "model.margin": r, "training.seed": s}
        for m in (2, 4)
        for r in (0.1, 0.01)
        for s in (0, 1)
    ]
    with database.write() as session:
        for trial, value in zip(trials.create(session, sweep, 0, points), (8, 7, 6, 5, 4, 2, 1, None), strict=True):
            trial.objective = value
    report = api.get(f"/v1/sweeps/{sweep.id}/report").json()
    assert report["objective"] == {"metric": "val/loss", "direction": "minimize"}
    assert [trial["number"] for trial in report["leaderboard"]] == [6, 5, 4, 3, 2, 1, 0]
    assert report["grid"]["reflectors"] == [[2, 2], [4, 4]]
    assert report["grid"]["margins"] == [0.01, 0.1]
    assert report["grid"]["cells"] == [
        [{"count": 2, "best": 5, "mean": 5.5}, {"count": 2, "best": 7, "mean": 7.5}],
        [{"count": 1, "best": 1, "mean": 1}, {"count": 2, "best": 2, "mean": 3}],
    ]
    assert len(report["places"]) == 7


def test_report_of_other_models_has_no_grid(api: httpx.Client, database: Database, new_sweep: NewSweep) -> None:
    sweep = new_sweep(model={"kind": "lstm", "hidden_size": 8}, space={"training.lr": {"values": [0.1]}})
    with database.write() as session:
        (trial,) = trials.create(session, sweep, 0, [{"training.lr": 0.1}])
        trial.objective = 1.0
    report = api.get(f"/v1/sweeps/{sweep.id}/report").json()
    assert (report["grid"], report["places"], len(report["leaderboard"])) == (None, [], 1)


@pytest.mark.parametrize("space", [{"model.margin": {"values": [0.01, 0.1]}}, {"training.steps": {"values": [10, 20]}}])
def test_a_sweep_cancelled_before_it_began_has_nothing_left_to_wait_for(
    api: httpx.Client, database: Database, new_sweep: NewSweep, space: dict[str, Any]
) -> None:
    sweep = new_sweep(space=space)
    with database.write() as session:
        sweeps.move(session, sweep.id, "cancelling")
    assert api.get(f"/v1/sweeps/{sweep.id}").json()["trials"]["waiting"] == 2
    with database.write() as session:
        sweeps.move(session, sweep.id, "cancelled")
    shown = api.get(f"/v1/sweeps/{sweep.id}").json()
    assert {name: n for name, n in shown["trials"].items() if n} == {"total": 2, "cancelled": 2}
    assert shown["progress"] == {"done": 0, "total": 0}


def test_what_no_node_has_is_warned_of_once_the_cluster_is_known(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    document["resources"] = {"cpus": 64, "gpus": 1}
    posted = api.post("/v1/sweeps", json=document).json()
    assert posted["warnings"] == api.post("/v1/sweeps/validate", json=document).json()["warnings"] == []
    nodes = [{"name": "a", "cpus": 2.0, "gpus": 0.0}, {"name": "b", "cpus": 1.0, "gpus": 0.0}]
    with database.write() as session:
        components.note(session, "ray", True, "2 nodes", {"nodes": nodes})
    shown = api.get(f"/v1/sweeps/{posted['id']}").json()
    assert shown["warnings"] == api.post("/v1/sweeps/validate", json=document).json()["warnings"]
    found = [(w["field"], w["given"], w["allowed"]) for w in shown["warnings"]]
    assert found == [("resources.cpus", 64, "at most 2 here"), ("resources.gpus", 1, "at most 0 here")]
    assert "the sweep waits" in shown["warnings"][0]["problem"]
    with database.write() as session:
        sweeps.move(session, posted["id"], "failed", "because")
    assert api.get(f"/v1/sweeps/{posted['id']}").json()["warnings"] == []


def test_what_no_node_has_together_is_warned_of(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    nodes = [{"name": "a", "cpus": 8.0, "gpus": 0.0}, {"name": "b", "cpus": 2.0, "gpus": 1.0}]
    with database.write() as session:
        components.note(session, "ray", True, "2 nodes", {"nodes": nodes})
    for resources, fields in (({"cpus": 4, "gpus": 1}, ["resources"]), ({"cpus": 2, "gpus": 1}, []), ({"cpus": 8}, [])):
        plan = api.post("/v1/sweeps/validate", json=document | {"resources": resources}).json()
        assert [warning["field"] for warning in plan["warnings"]] == fields


def test_validate_refuses_trials_that_do_not_go_together(document: dict[str, Any]) -> None:
    spec = SweepSpec.model_validate(
        document
        | {
            "space": {"model.reflectors": {"values": [2, 8]}, "model.hidden_size": {"values": [4, 64]}},
            "search": {"sampler": "random", "trials": 8},
        }
    )
    with pytest.raises(SpecError) as refused:
        dry_run.trials_of(spec)
    (error,) = refused.value.errors
    assert error.field.startswith("space.model.")
    assert "hidden_size = 4" in error.problem

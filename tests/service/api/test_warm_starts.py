"""A sweep that begins with the results of an earlier one, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.controller import sweep_lifecycle
from service.store import removals, sweeps, trials
from service.store.database import Database
from tests.service.api.test_after_end import end, expand
from tests.service.api.test_errors import problem
from workers.spec.sweep import SweepSpec

SEARCH: dict[str, Any] = {"sampler": "tpe", "trials": 6, "seed": 3, "options": {"startup_trials": 3}}


def submitted(api: httpx.Client, database: Database, document: dict[str, Any]) -> str:
    """Submit a sweep, let all of its trials succeed, and return its id."""
    id = str(api.post("/v1/sweeps", json=document).json()["id"])
    expand(database, id)
    end(database, id)
    return id


def warm(document: dict[str, Any], id: Any, **search: Any) -> dict[str, Any]:
    return document | {"search": SEARCH | {"warm_start": {"sweep": id}} | search}


def prior(database: Database, id: str) -> list[tuple[dict[str, Any], float]]:
    with database.read() as session:
        spec = SweepSpec.model_validate(sweeps.get(session, id).spec)
    assert spec.search.warm_start is not None
    return [(result.params, result.objective) for result in spec.search.warm_start.results]


def test_the_results_are_stored_at_submit_and_outlive_the_earlier_sweep(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    old = submitted(api, database, document)
    answer = api.post("/v1/sweeps", json=warm(document, old))
    assert answer.status_code == 202
    sweep = answer.json()
    assert sweep["spec"]["search"]["warm_start"] == {"sweep": [old], "results": [], "left_out": 0, "differences": []}
    with database.read() as session:
        known = [(trial.params, trial.objective) for trial in trials.page(session, old)]
    assert prior(database, sweep["id"]) == known
    with database.write() as session:
        removals.begin(session, old)
    made = [trial.params for trial in expand(database, sweep["id"])]
    cold = api.post("/v1/sweeps", json=document | {"search": SEARCH}).json()
    assert made != [trial.params for trial in expand(database, cold["id"])]
    end(database, sweep["id"])
    assert api.post(f"/v1/sweeps/{sweep['id']}/extend", json={"trials": 2}).status_code == 202
    assert len(expand(database, sweep["id"])) == 8
    assert prior(database, sweep["id"]) == known


def test_several_sweeps_and_points_with_repeats(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    one = submitted(api, database, document)
    two = submitted(api, database, document | {"repeats": 2, "space": document["space"] | {"model.margin": [0.1, 0.5]}})
    plan = api.post("/v1/sweeps/validate", json=warm(document, [one, two])).json()
    assert plan["trials"] == 6
    (warning,) = [w for w in plan["warnings"] if w["field"] == "search.warm_start.sweep"]
    assert "has 2 results outside of this space" in warning["problem"]
    id = api.post("/v1/sweeps", json=warm(document, [one, two])).json()["id"]
    known = prior(database, id)
    assert len(known) == 6
    same = [value for params, value in known if params == {"model.reflectors": 4, "model.margin": 0.1}]
    assert same == pytest.approx([0.3, 0.45])


def test_a_key_finds_the_sweep_whatever_has_become_of_the_earlier_one(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    old = submitted(api, database, document)
    headers = {"Idempotency-Key": "warm"}
    first = api.post("/v1/sweeps", json=warm(document, old), headers=headers).json()["id"]
    api.delete(f"/v1/sweeps/{old}")
    assert api.post("/v1/sweeps", json=warm(document, old), headers=headers).json()["id"] == first
    (error,) = problem(api.post("/v1/sweeps", json=warm(document, old)), 422)["errors"]
    assert error["field"] == "search.warm_start.sweep"


def test_what_cannot_be_learned_from_is_refused(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    old = submitted(api, database, document)
    empty = api.post("/v1/sweeps", json=document).json()["id"]
    given = {"sweep": old, "results": [{"params": {"model.reflectors": 2, "model.margin": 0.1}, "objective": 1.0}]}
    other = document | {"task": {"name": "copy", "length": 20}}
    for body, field, words in (
        (warm(document, empty), "search.warm_start.sweep", "has no result"),
        (warm(document, old, warm_start=given), "search.warm_start.results", "filled in by the service"),
        (warm(document, old, sampler="random", options={}), "search.warm_start", "does not learn"),
        (warm(other, old), "search.warm_start.sweep", "a sweep on task adding"),
    ):
        for path in ("/v1/sweeps", "/v1/sweeps/validate"):
            (error,) = problem(api.post(path, json=body), 422)["errors"]
            assert error["field"] == field
            assert words in error["problem"]
    with database.write() as session:
        sweep_lifecycle.fail(session, empty, "over")

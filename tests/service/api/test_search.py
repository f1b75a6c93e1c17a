"""What the API says of a sweep's search: points that a grid loses, refusals, and the catalogue of samplers."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema

from workers.spec.samplers import SAMPLERS

SIDES = {"model.reflectors_u": {"low": 1, "high": 8}, "model.reflectors_v": {"low": 1, "high": 8}}
FIT = "model.reflectors_u + model.reflectors_v <= model.hidden_size"


def test_a_dry_run_counts_the_points_that_a_grid_loses(api: httpx.Client, document: dict[str, Any]) -> None:
    dry = api.post("/v1/sweeps/validate", json=document | {"space": SIDES, "search": {"constraints": [FIT]}}).json()
    assert (dry["trials"], dry["excluded_points"]) == (28, 36)
    assert api.post("/v1/sweeps/validate", json=document).json()["excluded_points"] == 0


def test_a_bad_search_is_refused_with_its_place(api: httpx.Client, document: dict[str, Any]) -> None:
    search = {"constraints": [FIT, "model.size > 1"], "enqueue": [{"model.reflectors_u": 1}]}
    answer = api.post("/v1/sweeps", json=document | {"space": SIDES, "search": search})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["search.constraints.1"]
    search["constraints"] = ["model.reflectors_u > 8"]
    answer = api.post("/v1/sweeps", json=document | {"space": SIDES, "search": search | {"enqueue": []}})
    assert answer.status_code == 422
    assert "model.reflectors_u > 8" in answer.json()["errors"][0]["problem"]


def test_a_sweep_of_every_sampler_is_accepted(api: httpx.Client, document: dict[str, Any]) -> None:
    for name, sampler in SAMPLERS.items():
        search = {"sampler": name, "constraints": [FIT]} | ({"trials": 12} if sampler.takes_trials else {})
        answer = api.post("/v1/sweeps", json=document | {"space": SIDES, "search": search})
        assert answer.status_code == 202, answer.text
        assert answer.json()["trials"]["total"] == (12 if sampler.takes_trials else 28)


def test_the_catalogue_has_a_schema_of_every_samplers_options(api: httpx.Client) -> None:
    found = {sampler["name"]: sampler for sampler in api.get("/v1/samplers").json()}
    assert list(found) == list(SAMPLERS)
    for sampler in found.values():
        jsonschema.Draft202012Validator.check_schema(sampler["options"])
        assert all("description" in field for field in sampler["options"].get("properties", {}).values())
    assert found["tpe"]["learns"]
    assert found["tpe"]["options"]["properties"]["concurrent"]["default"] == 8
    assert found["gp"]["max_trials"] == 500
    assert not found["sobol"]["learns"]

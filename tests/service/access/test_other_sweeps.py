"""Calls that name a second sweep or trial: that of another owner is as if it were not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from service.store.database import Database
from tests.service.access.conftest import NewToken
from tests.service.api.test_after_end import end, expand
from tests.service.api.test_errors import problem

Call = Callable[..., httpx.Response]


def test_the_trial_of_another_owner_is_as_if_it_were_not_there(
    new_token: NewToken, call: Call, document: dict[str, Any], database: Database
) -> None:
    ada, eve = new_token("ada"), new_token("eve")
    mine, theirs = (call("POST", "/v1/sweeps", token, json=document).json()["id"] for token in (eve, ada))
    for id in (mine, theirs):
        expand(database, id)
    unknown = problem(call("GET", f"/v1/trials/{mine}-0000/compare?other=sw0123456789-0000", eve), 404)
    hidden = problem(call("GET", f"/v1/trials/{mine}-0000/compare?other={theirs}-0000", eve), 404)
    assert hidden["detail"].replace(theirs, "sw0123456789") == unknown["detail"]
    root = new_token("root", "admin")
    assert call("GET", f"/v1/trials/{mine}-0000/compare?other={theirs}-0000", root).status_code == 200


def test_a_sweep_cannot_begin_with_the_results_of_another_owner(
    new_token: NewToken, call: Call, document: dict[str, Any], database: Database
) -> None:
    ada, eve, root = new_token("ada"), new_token("eve"), new_token("root", "admin")
    theirs = call("POST", "/v1/sweeps", ada, json=document).json()["id"]
    expand(database, theirs)
    end(database, theirs)
    for path in ("/v1/sweeps", "/v1/sweeps/validate"):
        for id in (theirs, "sw0123456789"):
            search = {"sampler": "tpe", "trials": 5, "warm_start": {"sweep": id}}
            refused = problem(call("POST", path, eve, json=document | {"search": search}), 422)
            (error,) = refused["errors"]
            assert (error["field"], error["given"]) == ("search.warm_start.sweep", id)
            assert error["problem"] == "there is no such sweep"
    search = {"sampler": "tpe", "trials": 5, "warm_start": {"sweep": theirs}}
    for token in (ada, root):
        assert call("POST", "/v1/sweeps", token, json=document | {"search": search}).status_code == 202


def test_the_best_results_of_another_owner_are_not_shown(
    new_token: NewToken, call: Call, document: dict[str, Any]
) -> None:
    ada, eve, root = new_token("ada"), new_token("eve"), new_token("root", "admin")
    mine, theirs = (call("POST", "/v1/sweeps", token, json=document).json()["id"] for token in (eve, ada))
    path = f"/v1/best-so-far?sweeps={theirs}&sweeps={mine}"
    assert [one["id"] for one in call("GET", path, eve).json()["sweeps"]] == [mine]
    assert [one["id"] for one in call("GET", path, root).json()["sweeps"]] == [theirs, mine]

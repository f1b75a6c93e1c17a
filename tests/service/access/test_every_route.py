"""Every route that the application has is closed to whoever may not use it; a new route is, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from service.access.principal import principal_of
from service.api import route_rules
from service.api.app import create_app
from service.settings import ApiSettings
from service.store import sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from tests.service.access.conftest import NewToken
from tests.service.api.test_errors import problem

Call = Callable[..., httpx.Response]
PARAMETERS = {"sweep_id", "trial_id", "verb", "figure", "kind"}
"""The parameters of paths. One that names something with an owner needs a rule in ``route_rules.subject_of``."""


def documented(app: FastAPI) -> set[tuple[str, str]]:
    """Return the method and the path of every call in the OpenAPI schema."""
    return {(method.upper(), path) for path, calls in app.openapi()["paths"].items() for method in calls}


def mounted(routes: list[Any]) -> Iterator[str]:
    """Yield the path of every route and folder, also of those that OpenAPI does not show."""
    for route in routes:
        inner = getattr(getattr(route, "original_router", route), "routes", [])
        if isinstance(route, Mount):
            yield f"{route.path}/"
        elif path := getattr(route, "path", ""):
            yield path
        if not isinstance(route, Mount):
            yield from mounted(list(inner))


def filled(path: str, trial_id: str) -> str:
    ids = {"sweep_id": trial_id.partition("-")[0], "trial_id": trial_id, "verb": "cancel"}
    ids |= {"figure": "results", "kind": "png"}
    return path.format_map(ids)


@pytest.fixture
def calls(settings: ApiSettings) -> list[tuple[str, str]]:
    found = documented(create_app(settings))
    assert len(found) > 20
    return sorted(found)


def closed(calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [one for one in calls if one not in route_rules.OPEN]


def test_the_schema_shows_every_route_but_the_pages(settings: ApiSettings) -> None:
    app = create_app(settings)
    undocumented = set(mounted(app.routes)) - {path for _, path in documented(app)}
    assert undocumented == {"/", "/docs", "/openapi.json", "/page/", "/manual/"}


def test_the_schema_says_which_calls_need_a_token(settings: ApiSettings) -> None:
    schema = create_app(settings).openapi()
    open_calls = {
        (method.upper(), path)
        for path, calls in schema["paths"].items()
        for method, operation in calls.items()
        if operation["security"] == []
    }
    assert open_calls == {one for one in route_rules.OPEN if one[1].startswith(("/health", "/v1"))}
    assert set(schema["components"]["securitySchemes"]) == {"token", "session"}


def test_without_a_token_every_route_but_the_open_ones_answers_401(
    calls: list[tuple[str, str]], call: Call, running: tuple[Sweep, list[Trial]], database: Database
) -> None:
    _, (trial, *_) = running
    for method, path in closed(calls):
        answer = call(method, filled(path, trial.id))
        assert problem(answer, 401)["title"] == "Not signed in", (method, path)
        assert answer.headers["www-authenticate"] == 'Bearer realm="spectral"'
    with database.read() as session:
        assert sweeps.get(session, trial.sweep_id).state == "running"
        assert trials.get(session, trial.id).wanted is None


def test_without_a_token_unknown_paths_and_methods_answer_401_as_well(call: Call) -> None:
    for method, path in [
        ("GET", "/nowhere"),
        ("GET", "/v1"),
        ("GET", "/mlflow/"),
        ("GET", "//v1/sweeps"),
        ("GET", "/page/../v1/sweeps"),
        ("GET", "/v1/sweeps/"),
        ("GET", "/V1/sweeps"),
        ("GET", "/%76%31/sweeps"),
        ("DELETE", "/v1/sweeps"),
        ("PUT", "/"),
        ("POST", "/health/ready"),
        ("POST", "/page/page.js"),
        ("POST", "/manual/"),
        ("GET", "/manually"),
        ("OPTIONS", "/v1/sweeps"),
        ("HEAD", "/v1/sweeps"),
        ("TRACE", "/v1/sweeps"),
    ]:
        assert call(method, path).status_code == 401, (method, path)


def test_the_open_routes_answer_everyone(calls: list[tuple[str, str]], call: Call) -> None:
    for method, path in route_rules.OPEN:
        answer = call(method, path, json={"token": "srs_"} if method == "POST" else None)
        expected = {("GET", "/health/ready"): 503, ("POST", "/v1/session"): 401, ("DELETE", "/v1/session"): 204}
        assert answer.status_code == expected.get((method, path), 200), (method, path)
    assert call("GET", "/page/page.js").status_code == 200
    assert call("GET", "/manual/").status_code in (200, 404)  # as it is built or not
    assert call("GET", "/manual").headers["location"].endswith("/manual/")


def test_a_lesser_scope_is_refused(calls: list[tuple[str, str]], call: Call, new_token: NewToken) -> None:
    tokens = {scope: new_token("ada", scope) for scope in ("read", "submit", "admin")}
    needs = {one: route_rules.scope_needed(*one) for one in closed(calls)}
    assert set(needs.values()) == {"read", "submit", "admin"}
    for (method, path), scope in needs.items():
        lesser = {"read": [], "submit": ["read"], "admin": ["read", "submit"]}[str(scope)]
        for one in lesser:
            refused = problem(call(method, filled(path, "sw0123456789-0000"), tokens[one]), 403)
            assert f"needs the scope {scope}" in refused["detail"], (method, path)
        admitted = call(method, filled(path, "sw0123456789-0000"), tokens[str(scope)])
        assert admitted.status_code not in (401, 403), (method, path)


def test_what_another_owns_is_answered_like_what_does_not_exist(
    calls: list[tuple[str, str]], call: Call, new_token: NewToken, document: dict[str, Any], database: Database
) -> None:
    ada, eve = new_token("ada"), new_token("eve")
    id = call("POST", "/v1/sweeps", ada, json=document).json()["id"]
    with database.write() as session:
        (trial, *_) = trials.create(session, sweeps.get(session, id), 0, [{}])
    owned = [(method, path) for method, path in calls if "{" in path]
    assert {name for _, path in owned for name in PARAMETERS if f"{{{name}}}" in path} == PARAMETERS
    for method, path in owned:
        assert set(path.replace("{", "}").split("}")[1::2]) <= PARAMETERS, path
        for query in ("", "?unknown=1", "?after=-1&which=none"):
            theirs = call(method, filled(path, trial.id) + query, eve)
            nobodys = call(method, filled(path, "sw0000000000-0000") + query, eve)
            assert problem(theirs, 404) == {
                **nobodys.json(),
                "detail": nobodys.json()["detail"].replace("sw0000000000-0000", trial.id).replace("sw0000000000", id),
            }, (method, path)
            assert theirs.headers.keys() == nobodys.headers.keys()
    with database.read() as session:
        assert sweeps.get(session, id).state == "queued"
        assert trials.get(session, trial.id).wanted is None
    assert call("GET", f"/v1/sweeps/{id}", ada).status_code == 200
    assert call("GET", f"/v1/trials/{trial.id}", ada).status_code == 200


def test_lists_show_what_one_owns_and_administrators_see_all(
    call: Call, new_token: NewToken, document: dict[str, Any]
) -> None:
    ada, eve, root = new_token("ada"), new_token("eve"), new_token("root", "admin")
    mine = [call("POST", "/v1/sweeps", ada, json=document).json()["id"] for _ in range(3)]
    theirs = call("POST", "/v1/sweeps", eve, json=document).json()["id"]

    def listed(token: str, query: str = "") -> list[str]:
        return [row["id"] for row in call("GET", f"/v1/sweeps{query}", token).json()["sweeps"]]

    assert (listed(ada), listed(eve)) == (mine[::-1], [theirs])
    assert listed(root) == [theirs, *mine[::-1]]
    assert listed(new_token("new", "read")) == []
    first = call("GET", "/v1/sweeps?limit=2", ada).json()
    assert listed(ada, f"?cursor={first['next_cursor']}") == mine[:1]
    assert call("POST", f"/v1/sweeps/{theirs}/cancel", root).status_code == 202


def test_readiness_says_little_to_strangers(call: Call, new_token: NewToken) -> None:
    stranger, reader = (
        call("GET", "/health/ready").json(),
        call("GET", "/health/ready", new_token("ada", "read")).json(),
    )
    assert stranger["waiting_for"] == ["controller", "ray"]
    assert {part["message"] for part in stranger["parts"].values()} == {""}
    assert reader["waiting_for"] == ["controller: not seen yet", "ray: not seen yet"]
    assert call("GET", "/health/ready", "srs_none").json() == stranger


def test_a_mounted_application_is_behind_the_gate(settings: ApiSettings) -> None:
    assert principal_of({}) is None
    assert route_rules.scope_needed("GET", "/mlflow/api/2.0/mlflow/runs/search") == "admin"
    assert route_rules.scope_needed("GET", "/anything/new") == "read"
    assert route_rules.changes_something("POST", "/mlflow/api/2.0/mlflow/runs/delete")
    assert not route_rules.changes_something("POST", "/mlflow/ajax-api/2.0/mlflow/runs/search")
    assert route_rules.changes_something("POST", "/v1/sweeps/search")

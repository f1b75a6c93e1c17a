"""Every error is a problem document: wrong and hostile bodies, a database that does not answer, our own bugs."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, make_url, select
from sqlalchemy.event import listen

from service.api import app as app_module
from service.settings import ApiSettings
from service.store import audit, sweeps
from service.store.database import Database
from service.store.tables import AuditEntry, Sweep
from service.strict_json import MAX_DEPTH, MAX_SHOWN
from tests.service.conftest import serving

JSON = {"content-type": "application/json"}


def sweeps_stored(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Sweep)) or 0


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check that the answer is a problem document with this status, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert set(document) == {"type", "title", "status", "detail", "errors"}
    assert document["status"] == status
    assert all(set(error) == {"field", "given", "problem", "allowed"} for error in document["errors"])
    return document


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        (b"", 422, "(document)", "line 1, column 1"),
        (b'{"name": "a"\n "task"}', 422, "(document)", "line 2, column 2"),
        (b'{"name": "\xff"}', 422, "(document)", "line 1, column 11"),
        (b'{"training": {"lr": NaN}}', 422, "training.lr", "not a finite number"),
        (b'{"space": {"model.margin": {"values": [0.1, Infinity]}}}', 422, "space.model.margin.values.1", "finite"),
        (b'{"training": {"lr": 1e999}}', 422, "training.lr", "finite"),
        (b'{"training": {"steps": 1' + b"0" * 5000 + b"}}", 422, "training.steps", "finite"),
        (b'{"model": {"kind": "rnn", "kind": "lstm"}}', 422, "model.kind", "twice"),
        (b'{"name": "\\ud800"}', 422, "name", "surrogate"),
        (b'{"\\ud800": 1}', 422, "(document)", "surrogate"),
        (b"[" * 200_000, 422, "(document)", "nested too deep"),
        (b'{"a":' * 90_000 + b"1" + b"}" * 90_000, 422, "(document)", "nested too deep"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), 422, "0" + ".0" * (MAX_DEPTH - 1), "too deep"),
        (b"[]", 422, "(document)", "is not an object"),
        (b"null", 422, "(document)", "is not an object"),
        (b'{"task": {"name": "adding"}}', 422, "space", "missing"),
    ],
)
def test_a_wrong_body_names_the_place(
    api: httpx.Client, database: Database, body: bytes, status: int, field: str | None, words: str
) -> None:
    document = problem(api.post("/v1/sweeps", content=body, headers=JSON), status)
    assert words in document["detail"]
    if field is not None:
        assert document["errors"][0]["field"] == field
    assert sweeps_stored(database) == 0


def test_one_of_very_many_keys_given_twice_is_found(api: httpx.Client) -> None:
    body = "{" + ",".join(f'"k{i}":0' for i in range(75_000)) + ',"k74999":0}'
    (error,) = problem(api.post("/v1/sweeps", content=body, headers=JSON), 422)["errors"]
    assert (error["field"], error["problem"]) == ("k74999", "is given twice in one object")


def test_only_the_first_of_many_faults_are_named_and_long_names_are_cut(api: httpx.Client) -> None:
    body = f'{{"{"k" * 400_000}": [{",".join(["NaN"] * 100_000)}]}}'
    errors = problem(api.post("/v1/sweeps", content=body, headers=JSON), 422)["errors"]
    assert len(errors) == MAX_SHOWN
    assert all(len(error["field"]) <= 300 for error in errors)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(api: httpx.Client, document: dict[str, Any], kind: str) -> None:
    answer = api.post("/v1/sweeps", content=json.dumps(document), headers={"content-type": kind})
    assert "application/json" in problem(answer, 415)["detail"]


def test_ten_megabytes_are_refused_counted_as_they_come(api: httpx.Client, database: Database) -> None:
    def chunks() -> Iterator[bytes]:  # sent in chunks: no Content-Length to look at
        yield b'{"name": "'
        for _ in range(10):
            yield b"x" * 1_000_000
        yield b'"}'

    for body in (chunks(), b" " * 10_000_000):
        answer = api.post("/v1/sweeps", content=body, headers=JSON)
        refused = problem(answer, 413)
        assert "1,000,000 bytes" in refused["detail"]
        (error,) = refused["errors"]
        assert (error["field"], error["allowed"]) == ("(document)", "at most 1,000,000 bytes")
        assert error["given"].startswith("10,000,0")
    assert sweeps_stored(database) == 0


def test_the_frameworks_errors_are_problems_too(api: httpx.Client) -> None:
    assert "/nowhere" in problem(api.get("/nowhere"), 404)["detail"]
    wrong_method = api.delete("/v1/sweeps/sw0123456789/report")
    problem(wrong_method, 405)
    assert wrong_method.headers["allow"] == "GET"
    assert problem(api.post("/v1/sweeps/sw0123456789/explode"), 422)["errors"][0]["allowed"] == (
        "'pause', 'resume', 'stop' or 'cancel'"
    )
    assert problem(api.get("/v1/sweeps/sw0123456789/events?after=-1"), 422)["errors"][0]["field"] == "after"


def test_an_internal_error_reveals_nothing_of_the_inside(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def slip(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(sweeps, "get", slip)
    answer = api.get("/v1/sweeps/sw0123456789")
    problem(answer, 500)
    assert "secret" not in answer.text
    assert "KeyError" not in answer.text


def test_an_internal_error_has_the_headers_and_is_counted_and_audited(
    api: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slip(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(sweeps, "apply", slip)
    answer = api.post("/v1/sweeps/sw0123456789/pause", headers={"Connection": "close"})  # the server ends it anyhow
    problem(answer, 500)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert 'route="/v1/sweeps/{sweep_id}/{verb}",status="500"} 1.0' in api.get("/metrics").text
    until = time.monotonic() + 60
    rows: Sequence[AuditEntry] = []
    while not rows and time.monotonic() < until:
        with database.read() as session:
            rows = audit.page(session, 10)
    assert [(row.action, row.status) for row in rows] == [("POST /v1/sweeps/sw0123456789/pause", 500)]


def test_a_locked_database_is_unavailable_until_it_is_not(
    settings: ApiSettings, database: Database, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "PATIENCE_SECONDS", 0.05)
    with serving(settings) as address, httpx.Client(base_url=address, timeout=30) as api:
        other = sqlite3.connect(make_url(settings.database_url).database or "", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        headers = {"Idempotency-Key": "k"}
        refused = api.post("/v1/sweeps", json=document, headers=headers)
        problem(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert api.get("/v1/sweeps").json() == {"sweeps": [], "next_cursor": None}
        other.execute("ROLLBACK")
        other.close()
        assert api.post("/v1/sweeps", json=document, headers=headers).status_code == 202
    assert sweeps_stored(database) == 1


def test_a_full_disk_leaves_no_partial_state(
    settings: ApiSettings, database: Database, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    disk = {"pages": pages}
    small = Database(settings.database_url)
    listen(small.engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count = {disk['pages']}").close())
    monkeypatch.setattr("service.api.app.Database", lambda _url, **_limits: small)
    document["space"] = {"training.lr": {"values": [i / 10_000 for i in range(1, 4000)]}}
    with serving(settings) as address, httpx.Client(base_url=address, timeout=30) as api:
        headers = {"Idempotency-Key": "k"}
        problem(api.post("/v1/sweeps", json=document, headers=headers), 503)
        assert sweeps_stored(database) == 0
        disk["pages"] = 1_000_000
        small.engine.dispose()
        assert api.post("/v1/sweeps", json=document, headers=headers).status_code == 202
    assert sweeps_stored(database) == 1


def test_no_database_at_all_is_unavailable(tmp_path: Any) -> None:
    settings = ApiSettings(database_url=f"sqlite:///{tmp_path}/missing/folder/x.db")
    with serving(settings) as address:
        problem(httpx.get(f"{address}/v1/sweeps"), 503)
        assert httpx.get(f"{address}/health/live").status_code == 200


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [
        ("name",),
        ("task",),
        ("task", "name"),
        ("task", "length"),
        ("model",),
        ("model", "hidden_size"),
        ("model", "kind"),
        ("model", "reflectors"),
        ("model", "start"),
        ("training", "steps"),
        ("training", "lr"),
        ("space",),
        ("space", "model.margin"),
        ("space", "model.margin", "values"),
        ("space", "model.margin", "low"),
        ("space", "model.reflectors"),
        ("space", "model.kind"),
        ("search",),
        ("search", "sampler"),
        ("search", "trials"),
        ("early_stopping", "kind"),
        ("objective", "metric"),
        ("resources", "pack_size"),
        ("resources", "gpus"),
        ("retries",),
    ]
)
LIKELY = st.sampled_from(
    [0, 1, -1, 2**31, 10**18, 1e-320, 1e308, "auto", "grid", "random", "lstm", "rnn", "", "digits", True]
)
RANGES = st.fixed_dictionaries(
    {"low": SCALARS | LIKELY, "high": SCALARS | LIKELY},
    optional={"log": st.booleans(), "grid": LIKELY | SCALARS, "values": TREES},
)


@hypothesis_settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    changes=st.lists(st.tuples(PATHS, TREES | LIKELY | RANGES | st.lists(LIKELY, max_size=4)), min_size=1, max_size=3)
)
def test_no_document_makes_the_service_slip(api: httpx.Client, document: dict[str, Any], changes: Any) -> None:
    changed: Any = json.loads(json.dumps(document))
    for path, value in changes:
        place = changed
        for name in path[:-1]:
            place = place.setdefault(name, {}) if isinstance(place, dict) else {}
        if isinstance(place, dict):
            place[path[-1]] = value
    for call in ("/v1/sweeps", "/v1/sweeps/validate"):
        answer = api.post(call, content=json.dumps(changed), headers=JSON)
        if answer.status_code not in (200, 202):
            assert problem(answer, 422)["errors"]


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=64)
    | st.text(alphabet='{}[]",:0123456789.eE-+\\u nulltruefals', max_size=64).map(str.encode)
)
def test_no_bytes_make_the_service_slip(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/v1/sweeps", content=body, headers=JSON)
    assert problem(answer, 422)["errors"]

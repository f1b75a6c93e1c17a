"""Probes, the cluster, Prometheus, the catalogue, the pages, and what importing the API costs."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError

from service import schemas
from service.api.app import create_app
from service.settings import ApiSettings
from service.store import components, trials, write_probe
from service.store.database import Database
from service.store.tables import Component, Sweep, Trial
from tests.service.conftest import serving
from workers.spec.parse import parse_sweep


def see(database: Database, **parts: bool) -> None:
    with database.write() as session:
        for name, healthy in parts.items():
            components.note(session, name, healthy, "fine" if healthy else "broken", {"nodes": 2})


def test_ready_says_what_is_waited_for(api: httpx.Client, database: Database) -> None:
    answer = api.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["waiting_for"] == ["controller: not seen yet", "ray: not seen yet"]
    see(database, controller=True, ray=False, mlflow=True)
    assert api.get("/health/ready").json()["waiting_for"] == ["ray: broken"]
    see(database, ray=True)
    answer = api.get("/health/ready")
    assert (answer.status_code, answer.json()["ready"], answer.json()["degraded"]) == (200, True, False)


def test_without_mlflow_it_is_ready_and_degraded(api: httpx.Client, database: Database) -> None:
    see(database, controller=True, ray=True, mlflow=False)
    answer = api.get("/health/ready")
    assert (answer.status_code, answer.json()["ready"], answer.json()["degraded"]) == (200, True, True)
    assert answer.json()["parts"]["mlflow"]["message"] == "broken"


def test_a_controller_not_seen_for_long_is_not_healthy(api: httpx.Client, database: Database) -> None:
    see(database, controller=True, ray=True, mlflow=True)
    with database.write() as session:
        row = session.get(Component, "controller")
        assert row is not None
        row.at -= 100
    answer = api.get("/health/ready")
    assert answer.status_code == 503
    (waiting,) = answer.json()["waiting_for"]
    assert waiting.startswith("controller: last seen 10")


def test_while_nothing_can_be_written_it_is_not_ready_and_reads_go_on(
    api: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(database, controller=True, ray=True, mlflow=True)

    def full(*_: Any) -> Any:
        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    monkeypatch.setattr(write_probe, "PROBE_SECONDS", 0.0)
    assert api.get("/health/ready").status_code == 200
    with monkeypatch.context() as broken:
        broken.setattr(Database, "write", full)
        answers = [api.get("/health/ready") for _ in range(2)]  # the first may still tell what was found before
        assert answers[-1].status_code == 503
        assert answers[-1].json()["waiting_for"] == ["database: cannot be written to: database or disk is full"]
        assert api.get("/v1/sweeps").status_code == 200
    assert [api.get("/health/ready").status_code for _ in range(2)][-1] == 200


def test_a_clock_set_back_makes_no_dead_part_look_alive(
    api: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(database, controller=True, ray=True, mlflow=True)
    with database.write() as session:
        row = session.get(Component, "controller")
        assert row is not None
        row.at += 3600
    answer = api.get("/health/ready")
    assert answer.json()["waiting_for"][0].startswith("controller: last seen 3")


def test_without_a_database_live_stays_and_ready_does_not(tmp_path: Any) -> None:
    with serving(ApiSettings(database_url=f"sqlite:///{tmp_path}/no/such.db")) as address:
        assert httpx.get(f"{address}/health/live").status_code == 200
        answer = httpx.get(f"{address}/health/ready")
        assert answer.status_code == 503
        waiting = answer.json()["waiting_for"]
        assert waiting[0].startswith("database: does not answer")
        assert waiting[1] == "controller: not known while the database does not answer"
        assert "spectral_database_up 0.0" in httpx.get(f"{address}/metrics").text


def test_cluster_shows_parts_and_queue(
    api: httpx.Client, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    see(database, ray=True)
    with database.write() as session:
        trials.move(session, trials.get(session, running[1][0].id), "running")
    cluster = api.get("/v1/cluster").json()
    assert cluster["parts"]["ray"]["detail"] == {"nodes": 2}
    assert cluster["queue"] == {"waiting_trials": 3, "running_trials": 1, "open_packs": 0}


def test_prometheus_counts_by_route_and_state(api: httpx.Client, running: tuple[Sweep, list[Trial]]) -> None:
    for id in (running[0].id, "sw0000000000", "sw1111111111"):
        api.get(f"/v1/sweeps/{id}")
    api.get("/nowhere")
    families = {f.name: f for f in text_string_to_metric_families(api.get("/metrics").text)}
    requests = {
        (s.labels["method"], s.labels["route"], s.labels["status"]): s.value
        for s in families["spectral_http_requests"].samples
        if s.name.endswith("_total")
    }
    assert requests == {
        ("GET", "/v1/sweeps/{sweep_id}", "200"): 1,
        ("GET", "/v1/sweeps/{sweep_id}", "404"): 2,
        ("GET", "(none)", "404"): 1,
    }
    by_state = {s.labels["state"]: s.value for s in families["spectral_trials"].samples}
    assert (by_state["waiting"], by_state["succeeded"]) == (4, 0)
    assert families["spectral_outbox_entries"].samples[0].value == 5
    assert families["spectral_http_response_seconds"].type == "histogram"


def test_catalogue_lists_tasks_and_samplers(api: httpx.Client) -> None:
    tasks = {task["name"]: task for task in api.get("/v1/tasks").json()}
    assert tasks["digits"]["metrics"] == {"loss": "minimize", "accuracy": "maximize"}
    assert tasks["adding"]["json_schema"]["properties"]["length"]["maximum"] == 100_000
    for sampler in api.get("/v1/samplers").json():
        trials = {"trials": 2} if sampler["takes_trials"] else {}
        options = {name: field["default"] for name, field in sampler["options"].get("properties", {}).items()}
        assert sampler["use_when"]
        space = {"model.margin": {"values": [0.01]}}
        parse_sweep(
            {
                "task": {"name": "digits"},
                "space": space,
                "search": {"sampler": sampler["name"], "options": options, **trials},
            }
        )


def test_catalogue_lists_the_rules_of_early_stopping_with_their_options(api: httpx.Client) -> None:
    rules = {rule["name"]: rule for rule in api.get("/v1/early-stopping").json()}
    assert list(rules) == ["asha", "hyperband", "median", "patience", "threshold"]
    assert rules["threshold"]["json_schema"]["required"] == ["kind", "threshold"]
    assert rules["asha"]["json_schema"]["properties"].keys() == {"kind", "min_steps", "reduction"}
    assert all(rule["summary"] for rule in rules.values())
    for name in rules:
        options = {"threshold": 0.5} if name == "threshold" else {}
        space = {"model.margin": {"values": [0.01]}}
        parse_sweep({"task": {"name": "digits"}, "space": space, "early_stopping": {"kind": name, **options}})


def test_the_schema_describes_the_posted_sweep_and_resolves(api: httpx.Client) -> None:
    schema = api.get("/openapi.json").json()
    body = schema["paths"]["/v1/sweeps"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/SweepSpec"}
    references = set()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            references.update([part["$ref"]] if isinstance(part.get("$ref"), str) else [])
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(schema)
    assert {r.removeprefix("#/components/schemas/") for r in references} <= set(schema["components"]["schemas"])


def test_every_answer_field_and_parameter_is_described(api: httpx.Client) -> None:
    schema = api.get("/openapi.json").json()
    answers = [name for name, kind in vars(schemas).items() if isinstance(kind, type) and issubclass(kind, BaseModel)]
    shown = {name: part for name, part in schema["components"]["schemas"].items() if name in answers}
    assert len(shown) > 20
    for name, part in shown.items():
        assert part["description"], name
        for field, inner in part["properties"].items():
            assert inner.get("description"), f"{name}.{field}"
    for path, calls in schema["paths"].items():
        for method, call in calls.items():
            assert call["description"], f"{method} {path}"
            for parameter in call.get("parameters", []):
                assert parameter.get("description"), f"{path} {parameter['name']}"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_need_no_other_server(api: httpx.Client, path: str) -> None:
    page = api.get(path)
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")
    parts = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    local = [part for part in parts if part.startswith("/page/")]
    assert len(local) >= 2
    for part in local:
        shown = api.get(part)
        assert shown.status_code == 200
        for script in re.findall(r'from "\./(\w+\.js)"', shown.text):
            assert api.get(f"/page/{script}").status_code == 200


@pytest.mark.parametrize("path", ["__init__.py", "__pycache__", "", "../app.py"])
def test_only_the_pages_files_are_served(api: httpx.Client, path: str) -> None:
    assert api.get(f"/page/{path}").status_code == 404


def test_creating_the_app_opens_nothing() -> None:
    app = create_app(ApiSettings(database_url="postgresql+psycopg://nobody@127.0.0.1:1/nothing"))
    assert app.state.context.database.engine.pool.checkedout() == 0


def test_the_api_imports_no_heavy_library() -> None:
    code = (
        "import sys, service.api.app, service.api.__main__, service.client\n"
        "print(*{'torch', 'ray', 'mlflow', 'optuna', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")

"""Every answer is what the OpenAPI schema says, field by field: the documents are written without their models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from service.api.problems import STATUSES
from service.api.report import PARTS
from service.store import checkpoints, components, projections, reports, sweeps, trials
from service.store.database import Database
from service.store.tables import Attempt, Pack, Sweep, Trial, TrialCheckpoint
from tests.service.api.test_sweeps import rows

Running = tuple[Sweep, list[Trial]]


def strict(part: Any) -> Any:
    """Return a schema in which every object with known fields has all of them and no others."""
    if isinstance(part, list):
        return [strict(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    found = {name: strict(inner) for name, inner in part.items()}
    if isinstance(part.get("properties"), dict) and part.get("type") == "object":
        found |= {"additionalProperties": False, "required": list(part["properties"])}
    return found


@pytest.fixture
def conforms(api: httpx.Client) -> Callable[..., Any]:
    """A function that makes a call, and compares the answer with the schema of its path."""
    schema = api.get("/openapi.json").json()
    components_ = {"components": {"schemas": {n: strict(s) for n, s in schema["components"]["schemas"].items()}}}

    def check(path: str, status: int = 200, method: str = "GET", query: str = "", **ids: str) -> Any:
        answer = api.request(method, path.format(**ids) + query)
        assert answer.status_code == status, answer.text
        described = schema["paths"][path][method.lower()]["responses"][str(status)]["content"]
        kind = answer.headers["content-type"]
        Draft202012Validator(components_ | described[kind]["schema"]).validate(answer.json())
        return answer.json()

    return check


def fill(database: Database, sweep: Sweep, made: list[Trial]) -> None:
    """Let trials be in different states, with reports, attempts and checkpoints."""
    with database.write() as session:
        session.add(Pack(id=f"{sweep.id}-p0", sweep_id=sweep.id, state="started", trial_ids=[], cpus=1, gpus=0, term=1))
        session.flush()
        for trial, value in zip(made[:3], (0.3, 0.1, 0.2), strict=True):
            row = trials.get(session, trial.id)
            row.step, row.objective, row.best_step, row.wanted = 10, value, 10, "stop"
            trials.move(session, row, "running")
            session.add(Attempt(trial_id=row.id, number=1, pack_id=f"{sweep.id}-p0", reason="x"))
            reports.add(session, row.id, [(5, {"val/loss": value, "odd": None}), (10, {"val/loss": value})], at=1.0)
            checkpoint = TrialCheckpoint(trial_id=row.id, step=10, path="/nowhere", best=True, objective=value)
            checkpoints.add(session, checkpoint)
        trials.move(session, trials.get(session, made[0].id), "succeeded")
        trials.move(session, trials.get(session, made[1].id), "failed", "NaN")
        for subject in (sweep.id, made[0].id):
            projections.put(session, subject, "3", "abc")
            projections.note_lack(session, subject, "deleted")
        components.note(session, "ray", True, "fine", {"nodes": [{"cpus": 0.5, "gpus": 0}]})


def test_answers_are_what_the_schema_says(conforms: Callable[..., Any], database: Database, running: Running) -> None:
    sweep, made = running
    ids = {"sweep_id": sweep.id, "trial_id": made[0].id}
    for full in (False, True):
        if full:
            fill(database, sweep, made)
        assert len(conforms("/v1/sweeps")["sweeps"]) == 1
        shown = conforms("/v1/sweeps/{sweep_id}", **ids)
        assert bool(shown["best"]) == bool(shown["warnings"]) == bool(shown["mlflow_lacks"]) == full
        for query in ("", "?sort=objective"):
            assert len(conforms("/v1/sweeps/{sweep_id}/trials", query=query, **ids)["trials"]) == 4
        parts = "&".join(f"include={part}" for part in PARTS)
        conforms("/v1/sweeps/{sweep_id}/report", query=f"?{parts}", **ids)
        report = conforms("/v1/sweeps/{sweep_id}/report", **ids)
        assert [len(report[name]) for name in ("places", "leaderboard")] == ([2, 2] if full else [0, 0])
        assert bool(report["grid"]) == full
        conforms("/v1/trials/{trial_id}", **ids)
        assert bool(conforms("/v1/trials/{trial_id}/metrics", **ids)["points"]) == full
        assert bool(conforms("/v1/trials/{trial_id}/logs", **ids)["attempts"]) == full
        assert bool(conforms("/v1/trials/{trial_id}/checkpoint", **ids)["best"]) == full
        conforms("/v1/cluster")
        conforms("/health/live")
    conforms("/v1/tasks")
    conforms("/v1/samplers")
    assert len(conforms("/v1/early-stopping")) == 5
    conforms("/v1/trials/{trial_id}/{verb}", 202, "POST", trial_id=made[3].id, verb="stop")
    conforms("/v1/sweeps/{sweep_id}/{verb}", 202, "POST", sweep_id=sweep.id, verb="cancel")
    with database.write() as session:
        sweeps.move(session, sweep.id, "cancelled", "because")
    conforms("/v1/sweeps/{sweep_id}", **ids)
    conforms("/v1/sweeps")
    conforms("/v1/sweeps/{sweep_id}/rerun", 202, "POST", **ids)
    assert rows(database, Sweep) == 1


def test_refusals_are_problem_documents_of_the_schema(conforms: Callable[..., Any]) -> None:
    ids = {"sweep_id": "sw0123456789", "trial_id": "sw0123456789-0000"}
    assert conforms("/v1/sweeps/{sweep_id}", 404, **ids)["status"] == 404
    assert conforms("/v1/trials/{trial_id}", 404, **ids)["status"] == 404
    assert conforms("/v1/sweeps", 422, query="?limit=0")["errors"]
    assert conforms("/v1/sweeps", 415, "POST")["status"] == 415


def test_every_call_documents_every_refusal(api: httpx.Client) -> None:

    paths = api.get("/openapi.json").json()["paths"]
    for path, calls in paths.items():
        for method, call in calls.items():
            missing = {str(status) for status in STATUSES} - set(call["responses"])
            assert not missing, f"{method} {path}"
            kinds = {kind for status in STATUSES for kind in call["responses"][str(status)]["content"]}
            assert "application/problem+json" in kinds

"""After the end of a sweep over HTTP: run its failed trials again, extend it, delete it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from service.controller import sweep_lifecycle
from service.states import TrialState
from service.store import (
    checkpoints,
    events,
    outbox,
    owners,
    projections,
    quotas,
    removals,
    reports,
    sweeps,
    trials,
    webhooks,
)
from service.store.database import Database
from service.store.errors import QuotaExceeded
from service.store.tables import (
    Attempt,
    OutboxEntry,
    Pack,
    Sweep,
    Trial,
    TrialCheckpoint,
    WebhookMessage,
)
from tests.service.api.test_errors import problem
from tests.service.api.test_sweeps import rows
from workers.spec.sweep import SweepSpec

BACKENDS = ["sqlite", "postgresql"]
Ended = Callable[..., str]


def expand(database: Database, sweep_id: str) -> list[Trial]:
    """Create the trials that are missing, as the controller does, and return all of them."""
    with database.write() as session:
        sweep_lifecycle.expand(session, sweep_id, SweepSpec.model_validate(sweeps.get(session, sweep_id).spec))
    with database.read() as session:
        return trials.page(session, sweep_id)


def end(database: Database, sweep_id: str, *states: TrialState) -> None:
    """Let the trials of a sweep that wait end in some states, the rest as succeeded, and with them the sweep."""
    with database.write() as session:
        waiting = trials.page(session, sweep_id, ["waiting"])
        pack_id = f"{sweep_id}-{waiting[0].number}"
        session.add(Pack(id=pack_id, sweep_id=sweep_id, state="ended", trial_ids=[], cpus=1, gpus=0, term=1))
        session.flush()
        for trial, state in zip(waiting, [*states, *["succeeded"] * len(waiting)], strict=False):
            trials.move(session, trial, "running")
            trial.step, trial.objective, trial.best_step = 100, 0.1 * trial.number, 100
            session.add(Attempt(trial_id=trial.id, number=1, pack_id=pack_id, outcome=state, ended_at=1.0))
            trials.move(session, trial, state, f"it {state}")
        sweep_lifecycle.settle(session, sweep_id)


@pytest.fixture
def ended(database: Database, new_sweep: Callable[..., Sweep]) -> Ended:
    """A function that returns a sweep that has ended, with trials in some states and others that succeeded."""

    def make(*states: TrialState, **changes: Any) -> str:
        sweep_id = new_sweep(**changes).id
        expand(database, sweep_id)
        end(database, sweep_id, *states)
        return sweep_id

    return make


def states_of(api: httpx.Client, sweep_id: str) -> list[str]:
    return [trial["state"] for trial in api.get(f"/v1/sweeps/{sweep_id}/trials").json()["trials"]]


def kinds(database: Database, subject: str | None) -> list[str]:
    """Return the kinds of what MLflow is yet to get of a trial, or of the sweep itself for None."""
    with database.read() as session:
        return [entry.kind for entry in outbox.oldest(session, 1000) if entry.trial_id == subject]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_failed_trials_run_again_alone_and_the_sweep_ends_again(
    backend: str, api: httpx.Client, database: Database, ended: Ended
) -> None:
    id = ended("failed", "succeeded", "failed", "pruned")
    with database.write() as session:
        trial = trials.get(session, f"{id}-0000")
        trial.user_failures, trial.infrastructure_failures, trial.preemptions = 1, 2, 3
    answer = api.post(f"/v1/sweeps/{id}/rerun")
    assert answer.status_code == 202
    sweep = answer.json()
    assert (sweep["state"], sweep["ended_at"], sweep["reason"]) == ("running", None, None)
    assert states_of(api, id) == ["waiting", "succeeded", "waiting", "pruned"]
    assert sweep["progress"] == {"done": 400, "total": 400}
    with database.read() as session:
        again, kept = trials.get(session, f"{id}-0000"), trials.get(session, f"{id}-0001")
        happened = [event.kind for event in events.after(session, id, 0)]
    assert (again.user_failures, again.infrastructure_failures, again.preemptions) == (0, 0, 0)
    assert (again.attempts_before, again.ended_at, again.reason) == (1, None, "run again by the user")
    assert (kept.attempts_before, kept.reason) == (0, "it succeeded")
    assert happened[-3:] == ["sweep.running", "trial.waiting", "trial.waiting"]
    assert kinds(database, f"{id}-0000") == ["trial", "reopened"]
    assert kinds(database, None) == ["sweep", "reopened"]
    with database.write() as session:
        for trial in trials.page(session, id, ["waiting"]):
            trials.move(session, trial, "running")
            trials.move(session, trial, "succeeded")
        sweep_lifecycle.settle(session, id)
    assert api.get(f"/v1/sweeps/{id}").json()["state"] == "succeeded"
    assert kinds(database, f"{id}-0000") == ["trial", "reopened", "ended"]
    assert kinds(database, None) == ["sweep", "reopened", "ended"]


@pytest.mark.parametrize("state", ["running", "paused", "succeeded", "failed", "stopped", "cancelled"])
def test_one_failed_trial_runs_again_in_these_states_of_its_sweep(
    api: httpx.Client, database: Database, ended: Ended, state: str
) -> None:
    id = ended("failed", "failed")
    with database.write() as session:
        session.execute(update(Sweep).values(state=state))
    answer = api.post(f"/v1/trials/{id}-0001/rerun")
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")
    assert states_of(api, id) == ["failed", "waiting", "succeeded", "succeeded"]
    assert api.get(f"/v1/sweeps/{id}").json()["state"] == ("paused" if state == "paused" else "running")


def test_where_nothing_can_run_again_the_answer_says_why(api: httpx.Client, database: Database, ended: Ended) -> None:
    id = ended()
    assert "none of its trials has failed" in problem(api.post(f"/v1/sweeps/{id}/rerun"), 409)["detail"]
    assert "a trial that is succeeded" in problem(api.post(f"/v1/trials/{id}-0000/rerun"), 409)["detail"]
    for state in ("queued", "stopping", "cancelling"):
        with database.write() as session:
            session.execute(update(Sweep).values(state=state))
            session.execute(update(Trial).values(state="failed"))
        for path in (f"/v1/sweeps/{id}/rerun", f"/v1/trials/{id}-0000/rerun"):
            assert f"cannot rerun a sweep that is {state}" in problem(api.post(path), 409)["detail"]
    assert problem(api.post("/v1/sweeps/sw0123456789/rerun"), 404)
    assert problem(api.post("/v1/trials/sw0123456789-0000/rerun"), 404)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_repeated_request_with_its_key_has_no_further_effect(
    backend: str, api: httpx.Client, database: Database, ended: Ended
) -> None:
    id = ended("failed", search={"sampler": "random", "trials": 4})
    rerun, extend = f"/v1/sweeps/{id}/rerun", f"/v1/sweeps/{id}/extend"
    for _ in range(3):
        assert api.post(rerun, headers={"Idempotency-Key": "a"}).status_code == 202
        answer = api.post(extend, json={"trials": 3}, headers={"Idempotency-Key": "b"})
        assert (answer.status_code, answer.json()["trials"]["total"]) == (202, 7)
    for path, key, body in ((rerun, "b", None), (extend, "b", {"trials": 2}), (extend, "a", {"trials": 3})):
        problem(api.post(path, json=body, headers={"Idempotency-Key": key}), 409)
    problem(api.post(rerun), 409)


@pytest.mark.parametrize("backend", BACKENDS)
def test_racing_requests_with_one_key_extend_once(backend: str, base_url: str, api: httpx.Client, ended: Ended) -> None:
    id = ended(search={"sampler": "random", "trials": 4})
    gate = threading.Barrier(6)

    def post(_: int) -> int:
        with httpx.Client(base_url=base_url, timeout=30) as client:
            gate.wait()
            headers = {"Idempotency-Key": "raced"}
            return client.post(f"/v1/sweeps/{id}/extend", json={"trials": 3}, headers=headers).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(post, range(6))) <= {202, 409, 503}
    assert api.get(f"/v1/sweeps/{id}").json()["trials"]["total"] == 7


def test_a_sweep_that_was_stopped_gets_none_of_the_trials_that_never_began(
    api: httpx.Client, database: Database, ended: Ended
) -> None:
    id = ended("failed", search={"sampler": "random", "trials": 4})
    with database.write() as session:  # as if its sampler had proposed only three
        session.execute(update(Sweep).values(state="stopped"))
        session.delete(session.get_one(Attempt, (f"{id}-0003", 1)))
        session.flush()
        session.delete(session.get_one(Trial, f"{id}-0003"))
    sweep = api.post(f"/v1/sweeps/{id}/rerun").json()
    assert (sweep["trials"]["total"], sweep["trials"]["waiting"]) == (3, 1)
    assert sweep["progress"]["total"] == 300
    assert len(expand(database, id)) == 3
    assert api.post(f"/v1/sweeps/{id}/extend", json={"trials": 2}).json()["trials"]["total"] == 5
    assert [trial.number for trial in expand(database, id)] == list(range(5))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_grid_gets_new_values_and_its_trials_keep_their_numbers(
    backend: str, api: httpx.Client, database: Database, ended: Ended
) -> None:
    id = ended()
    before = api.get(f"/v1/sweeps/{id}/trials").json()["trials"]
    answer = api.post(f"/v1/sweeps/{id}/extend", json={"space": {"model.margin": [0.3], "model.reflectors": [8]}})
    assert answer.status_code == 202
    sweep = answer.json()
    assert (sweep["state"], sweep["trials"]["total"], sweep["trials"]["waiting"]) == ("running", 9, 5)
    assert sweep["progress"] == {"done": 400, "total": 900}
    assert sweep["spec"]["space"]["model.margin"] == {"values": [0.01, 0.1, 0.3], "when": None}
    made = expand(database, id)
    after = api.get(f"/v1/sweeps/{id}/trials").json()["trials"]
    assert after[:4] == before
    assert [trial.number for trial in made] == list(range(9))
    assert len({tuple(sorted(trial.params.items())) for trial in made}) == 9
    with database.read() as session:
        (event,) = [event for event in events.after(session, id, 0) if event.kind == "sweep.extended"]
    assert event.data == {"trials": 9, "added": 5}
    end(database, id)
    assert api.get(f"/v1/sweeps/{id}").json()["progress"] == {"done": 900, "total": 900}


def test_a_sweep_that_waits_or_runs_is_extended_where_it_is(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    random = document | {"search": {"sampler": "random", "trials": 3}}
    id = api.post("/v1/sweeps", json=random).json()["id"]
    for state, total in (("queued", 5), ("running", 7), ("paused", 9)):
        with database.write() as session:
            session.execute(update(Sweep).values(state=state))
        answer = api.post(f"/v1/sweeps/{id}/extend", json={"trials": 2})
        assert (answer.json()["state"], answer.json()["trials"]["total"]) == (state, total)
        assert answer.json()["spec"]["search"]["trials"] == total
    for state in ("stopping", "cancelling"):
        with database.write() as session:
            session.execute(update(Sweep).values(state=state))
        assert state in problem(api.post(f"/v1/sweeps/{id}/extend", json={"trials": 2}), 409)["detail"]


def test_a_wrong_extension_names_its_field_and_changes_nothing(
    api: httpx.Client, database: Database, ended: Ended
) -> None:
    id = ended()
    before = api.get(f"/v1/sweeps/{id}").json()
    for body, field in (
        ({"trials": 4}, "trials"),
        ({"space": {"model.margin": [0.1]}}, "space.model.margin.0"),
        ({"space": {"model.margin": [0.3, "wide"]}}, "space.model.margin.1"),
        ({"space": {"model.reflectors": [99]}}, "space.model.reflectors"),
        ({"space": {"model.margin": [0.2 + i / 10**5 for i in range(10_000)]}}, "space"),
        ({}, "(document)"),
    ):
        (error, *_) = problem(api.post(f"/v1/sweeps/{id}/extend", json=body), 422)["errors"]
        assert error["field"] == field, body
    assert api.get(f"/v1/sweeps/{id}").json() == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_going_on_counts_against_the_quotas(backend: str, api: httpx.Client, database: Database, ended: Ended) -> None:
    id, other = ended("failed"), ended(search={"sampler": "random", "trials": 4})
    with database.write() as session:
        owners.ensure(session, "local")
        owners.limit(session, "local", {"open_sweeps": 1, "open_trials": 5})
    assert "have" in problem(api.post(f"/v1/sweeps/{other}/extend", json={"trials": 2}), 403)["detail"]
    assert api.post(f"/v1/sweeps/{id}/rerun").status_code == 202
    problem(api.post(f"/v1/sweeps/{other}/extend", json={"trials": 1}), 403)
    problem(api.post(f"/v1/sweeps/{id}/extend", json={"space": {"model.margin": [0.3]}}), 403)
    with database.read() as session:
        assert sweeps.get(session, other).state == "succeeded"
        assert sweeps.get(session, id).trial_count == 4


def test_an_end_that_is_undone_is_not_told_to_webhooks(api: httpx.Client, database: Database, ended: Ended) -> None:
    with database.write() as session:
        webhooks.put_all(session, {"chat": ["sweep.ended", "trial.ended"]})
    id = ended("failed")
    assert rows(database, WebhookMessage) == 5
    api.post(f"/v1/sweeps/{id}/rerun")
    with database.read() as session:
        left = {message.trial_id for message in session.scalars(select(WebhookMessage))}
    assert left == {f"{id}-0001", f"{id}-0002", f"{id}-0003"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deleted_sweep_is_gone_for_every_call_at_once(
    backend: str, api: httpx.Client, database: Database, document: dict[str, Any], ended: Ended
) -> None:
    id, kept = ended(), ended()
    with database.write() as session:
        owners.ensure(session, "local")
        owners.limit(session, "local", {"stored_bytes": 1000})
        projections.put(session, id, "7", "run")
        for sweep_id in (id, kept):
            path = f"/store/{sweep_id}/{sweep_id}-0000/step-000000100"
            row = TrialCheckpoint(trial_id=f"{sweep_id}-0000", step=100, path=path, best=True, size=800)
            checkpoints.add(session, row)
            reports.add(session, f"{sweep_id}-0000", [(100, {"val/loss": 0.1})], at=1.0)
    with database.write() as session, pytest.raises(QuotaExceeded, match="1,600 bytes"):
        quotas.admit(session, "local", 1)
    answer = api.delete(f"/v1/sweeps/{id}")
    assert (answer.status_code, answer.content) == (204, b"")
    schema = api.get("/openapi.json").json()["paths"]
    calls = [(method, path) for path, found in schema.items() for method in found if "_id}" in path]
    assert len(calls) > 14
    for method, path in calls:
        filled = path.format(sweep_id=id, trial_id=f"{id}-0000", verb="cancel", figure="results", kind="png")
        body = {"trials": 1} if path.endswith("extend") else {"priority": 1} if method == "patch" else None
        assert api.request(method, filled, json=body).status_code == 404, (method, path)
    assert [sweep["id"] for sweep in api.get("/v1/sweeps").json()["sweeps"]] == [kept]
    with database.read() as session:
        assert (sweeps.counts(session), trials.counts(session)) == ({"succeeded": 1}, {"succeeded": 4})
        assert checkpoints.total_bytes(session) == 800
        assert sweeps.heads(session, [id, kept]).keys() == {kept}
        assert projections.get(session, id) is None
        assert not [entry for entry in session.scalars(select(OutboxEntry)) if entry.sweep_id == id]
    with database.write() as session:
        quotas.admit(session, "local", 1)
    assert api.get(f"/v1/sweeps/{kept}").json()["checkpoint_bytes"] == 800


def test_only_a_sweep_that_has_ended_can_be_deleted(api: httpx.Client, database: Database, ended: Ended) -> None:
    id = ended()
    for state in ("queued", "running", "paused", "stopping", "cancelling"):
        with database.write() as session:
            session.execute(update(Sweep).values(state=state))
        detail = problem(api.delete(f"/v1/sweeps/{id}"), 409)["detail"]
        assert f"cannot delete a sweep that is {state}" in detail
        assert "cancel it first" not in detail
        assert "wait until it has ended, or cancel it" in detail
    for state in ("succeeded", "failed", "stopped", "cancelled"):
        id = ended()
        with database.write() as session:
            session.execute(update(Sweep).where(Sweep.id == id).values(state=state))
        assert api.delete(f"/v1/sweeps/{id}").status_code == 204
        assert problem(api.delete(f"/v1/sweeps/{id}"), 404)


def test_a_key_is_free_again_once_its_sweep_is_deleted(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "mine"}
    first = api.post("/v1/sweeps", json=document, headers=headers).json()["id"]
    with database.write() as session:
        session.execute(update(Sweep).values(state="cancelled"))
    api.delete(f"/v1/sweeps/{first}")
    again = api.post("/v1/sweeps", json=document, headers=headers)
    assert (again.status_code, again.json()["id"] == first) == (202, False)


def test_the_event_stream_of_a_sweep_ends_when_it_is_deleted(
    api: httpx.Client, database: Database, new_sweep: Callable[..., Sweep]
) -> None:
    id = new_sweep().id
    with api.stream("GET", f"/v1/sweeps/{id}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines)
        with database.write() as session:
            session.execute(update(Sweep).values(state="cancelled"))
            removals.begin(session, id)
        assert all("sweep.queued" in line for line in lines if line.startswith(("event", "data")))
    assert api.get(f"/v1/sweeps/{id}/events").status_code == 404

"""After the end of a trial over HTTP: more steps, a replay, and how two trials compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from service.controller import sweep_lifecycle
from service.states import TrialState
from service.store import attempts, checkpoints, events, packs, reports, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial, TrialCheckpoint
from tests.service.api.test_after_end import BACKENDS, end, expand, kinds, states_of
from tests.service.api.test_errors import problem
from workers.spec.more_steps import plan_longer
from workers.spec.sweep import SweepSpec

Checked = Callable[..., str]


def add_checkpoints(database: Database, sweep_id: str, step: int = 100) -> None:
    """Let each trial have a checkpoint at a step, and no other one."""
    with database.write() as session:
        for trial in trials.page(session, sweep_id):
            checkpoints.add(session, TrialCheckpoint(trial_id=trial.id, step=step, path=f"/{trial.id}", best=True))


@pytest.fixture
def checked(database: Database, new_sweep: Callable[..., Sweep]) -> Checked:
    """A function that returns a sweep that has ended, with trials in some states and others that succeeded."""

    def make(*states: TrialState, **changes: Any) -> str:
        id = new_sweep(**changes).id
        expand(database, id)
        end(database, id, *states)
        add_checkpoints(database, id)
        return id

    return make


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trial_goes_on_to_more_steps_and_keeps_what_it_has(
    backend: str, api: httpx.Client, database: Database, checked: Checked
) -> None:
    id = checked("failed")
    answer = api.post(f"/v1/trials/{id}-0001/extend", json={"steps": 250})
    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["state"], shown["step"], shown["added_steps"]) == ("waiting", 100, 150)
    assert (shown["objective"], shown["params"]) == (0.1, {"model.reflectors": 2, "model.margin": 0.1})
    assert shown["reason"] == "250 training steps, asked for by the user"
    assert states_of(api, id) == ["failed", "waiting", "succeeded", "succeeded"]
    sweep = api.get(f"/v1/sweeps/{id}").json()
    assert (sweep["state"], sweep["progress"]) == ("running", {"done": 400, "total": 550})
    assert api.get("/v1/sweeps").json()["sweeps"][0]["progress"] == sweep["progress"]
    assert kinds(database, f"{id}-0001") == ["trial", "reopened"]
    with database.read() as session:
        row = trials.get(session, f"{id}-0001")
        assert (row.attempts_before, attempts.histories(session, [row.id])) == (1, {})
        assert [event.kind for event in events.after(session, id, 0)][-2:] == ["sweep.running", "trial.waiting"]
        spec = SweepSpec.model_validate(sweeps.get(session, id).spec)
        assert plan_longer(spec, 1, row.params, row.added_steps).require_spec().training.steps == 250
    with database.write() as session:
        row = trials.get(session, f"{id}-0001")
        trials.move(session, row, "running")
        row.step, row.objective, row.best_step = 250, 0.01, 240
        trials.move(session, row, "succeeded")
        sweep_lifecycle.settle(session, id)
    sweep = api.get(f"/v1/sweeps/{id}").json()
    assert (sweep["state"], sweep["progress"]) == ("succeeded", {"done": 550, "total": 550})
    assert (sweep["best"]["number"], sweep["best"]["objective"]) == (1, 0.01)


def test_it_goes_on_once_more_and_the_sweep_is_extended_and_rerun(
    api: httpx.Client, database: Database, checked: Checked
) -> None:
    id = checked("failed")
    api.post(f"/v1/trials/{id}-0001/extend", json={"steps": 250})
    assert api.post(f"/v1/sweeps/{id}/rerun").json()["progress"] == {"done": 400, "total": 550}
    answer = api.post(f"/v1/sweeps/{id}/extend", json={"space": {"model.margin": [0.3]}}).json()
    assert (answer["trials"]["total"], answer["progress"]["total"]) == (6, 750)
    assert len(expand(database, id)) == 6  # its point is that of no new trial
    with database.write() as session:
        for trial in trials.page(session, id, ["waiting"]):
            trials.move(session, trial, "running")
            trial.step = 250 if trial.number == 1 else 100
            trials.move(session, trial, "succeeded")
        sweep_lifecycle.settle(session, id)
    add_checkpoints(database, id, 250)
    assert api.get(f"/v1/trials/{id}-0001").json()["added_steps"] == 150
    (error,) = problem(api.post(f"/v1/trials/{id}-0001/extend", json={"steps": 250}), 422)["errors"]
    assert error["allowed"] == "more than 250"
    assert api.post(f"/v1/trials/{id}-0001/extend", json={"steps": 300}).json()["added_steps"] == 200


def test_with_repeats_all_trials_of_the_point_go_on(api: httpx.Client, database: Database, checked: Checked) -> None:
    id = checked(space={"model.margin": {"values": [0.01, 0.1]}}, repeats=3)
    with database.write() as session:
        trials.get(session, f"{id}-0005").state = "cancelled"
    assert api.post(f"/v1/trials/{id}-0004/extend", json={"steps": 200}).status_code == 202
    assert states_of(api, id) == ["succeeded"] * 3 + ["waiting"] * 2 + ["cancelled"]
    with database.write() as session:
        trials.get(session, f"{id}-0000").state = "failed"
    detail = problem(api.post(f"/v1/trials/{id}-0001/extend", json={"steps": 200}), 409)["detail"]
    assert "all trials of its point go on together, and trial 0 is failed" in detail


@pytest.mark.parametrize("state", ["failed", "pruned", "cancelled", "waiting", "running"])
def test_only_a_trial_that_has_succeeded_gets_more_steps(
    api: httpx.Client, database: Database, checked: Checked, state: str
) -> None:
    id = checked()
    with database.write() as session:
        session.execute(update(Trial).where(Trial.id == f"{id}-0002").values(state=state))
    detail = problem(api.post(f"/v1/trials/{id}-0002/extend", json={"steps": 200}), 409)["detail"]
    assert f"a trial that is {state}" in detail
    for sweep_state in ("queued", "stopping", "cancelling"):
        with database.write() as session:
            session.execute(update(Sweep).values(state=sweep_state))
        answer = problem(api.post(f"/v1/trials/{id}-0001/extend", json={"steps": 200}), 409)
        assert sweep_state in answer["detail"]
    assert problem(api.post("/v1/trials/sw0123456789-0000/extend", json={"steps": 200}), 404)


def test_why_a_trial_cannot_go_on_is_said(api: httpx.Client, database: Database, checked: Checked) -> None:
    id = checked()
    for body, field in (({"steps": 100}, "steps"), ({"steps": "200"}, "steps"), ({"trials": 2}, "trials"), ({}, None)):
        (error,) = problem(api.post(f"/v1/trials/{id}-0000/extend", json=body), 422)["errors"]
        assert error["field"] == (field or "(document)"), body
    with database.write() as session:
        checkpoints.note_kept(session, f"{id}-0000", 100, [40], 1.0)
        trials.get(session, f"{id}-0001").step = 60
    detail = problem(api.post(f"/v1/trials/{id}-0000/extend", json={"steps": 200}), 409)["detail"]
    assert "its checkpoint of step 100 is not in the checkpoint store any more" in detail
    detail = problem(api.post(f"/v1/trials/{id}-0001/extend", json={"steps": 200}), 409)["detail"]
    assert "it reached training.target at step 60" in detail
    cosine = checked(training={"steps": 100, "schedule": "cosine"})
    (error,) = problem(api.post(f"/v1/trials/{cosine}-0000/extend", json={"steps": 200}), 422)["errors"]
    assert (error["field"], error["given"]) == ("training.schedule", "cosine")
    assert set(states_of(api, id) + states_of(api, cosine)) == {"succeeded"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_key_makes_both_requests_safe_to_repeat(
    backend: str, api: httpx.Client, database: Database, checked: Checked
) -> None:
    id = checked()
    longer, replay = f"/v1/trials/{id}-0000/extend", f"/v1/trials/{id}-0001/replay"
    made = set()
    for _ in range(3):
        answer = api.post(longer, json={"steps": 200}, headers={"Idempotency-Key": "a"})
        assert (answer.status_code, answer.json()["added_steps"]) == (202, 100)
        made.add(api.post(replay, headers={"Idempotency-Key": "b"}).json()["id"])
    assert len(made) == 1
    problem(api.post(longer, json={"steps": 300}, headers={"Idempotency-Key": "a"}), 409)
    problem(api.post(f"/v1/trials/{id}-0002/replay", headers={"Idempotency-Key": "b"}), 409)
    assert api.post(replay).json()["id"] not in made


def test_a_replay_is_a_sweep_of_one_trial_with_the_same_settings(
    api: httpx.Client, database: Database, checked: Checked
) -> None:
    id = checked(early_stopping={"kind": "median"}, repeats=2)
    answer = api.post(f"/v1/trials/{id}-0003/replay")
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/sweeps/{answer.json()['id']}")
    sweep = answer.json()
    assert (sweep["name"], sweep["trials"]["total"]) == (f"replay of {id}-0003", 1)
    assert (sweep["spec"]["replays"], sweep["warnings"]) == (f"{id}-0003", [])
    (made,) = expand(database, sweep["id"])
    assert made.params == api.get(f"/v1/trials/{id}-0003").json()["params"]
    assert made.params == {"model.reflectors": 2, "model.margin": 0.1, "training.seed": 1}


def test_what_has_nothing_to_compare_is_not_replayed(api: httpx.Client, database: Database, checked: Checked) -> None:
    id = checked("failed")
    with database.write() as session:
        trials.get(session, f"{id}-0000").step = 0
        trials.get(session, f"{id}-0001").state = "running"
    assert "has no report" in problem(api.post(f"/v1/trials/{id}-0000/replay"), 409)["detail"]
    assert "a trial that is running" in problem(api.post(f"/v1/trials/{id}-0001/replay"), 409)["detail"]
    problem(api.post("/v1/trials/sw0123456789-0000/replay"), 404)


def tell(database: Database, trial_id: str, losses: dict[int, float]) -> None:
    with database.write() as session:
        reports.add(session, trial_id, [(s, {"val/loss": loss, "time/wall_s": s}) for s, loss in losses.items()], 1.0)


def test_two_trials_are_compared_step_by_step(api: httpx.Client, database: Database, checked: Checked) -> None:
    id = checked()
    replay = api.post(f"/v1/trials/{id}-0001/replay").json()["id"]
    expand(database, replay)
    end(database, replay)
    losses = {20: 0.5, 40: 0.25, 60: 0.2}
    tell(database, f"{id}-0001", losses)
    tell(database, f"{replay}-0000", {20: 0.5, 40: 0.25})
    found = api.get(f"/v1/trials/{replay}-0000/compare").json()
    assert (found["first"], found["second"], found["likeness"]) == (f"{id}-0001", f"{replay}-0000", "equal")
    assert (found["steps"], found["only_first"], found["only_second"]) == (2, 1, 0)
    assert (found["settings"], found["explanations"]) == ([], [])
    assert [metric["name"] for metric in found["metrics"]] == ["val/loss"]
    tell(database, f"{replay}-0000", {60: 0.2000001})
    found = api.get(f"/v1/trials/{replay}-0000/compare").json()
    (metric,) = found["metrics"]
    assert (found["likeness"], metric["first_step"], metric["largest_step"]) == ("equal to rounding", 60, 60)
    assert metric["largest"] == pytest.approx(5e-7, rel=0.01)
    assert found["settings"] == []
    (words,) = found["explanations"]
    assert "another version of torch" in words
    tell(database, f"{id}-0002", {s: 2 * loss for s, loss in losses.items()})
    found = api.get(f"/v1/trials/{id}-0001/compare", params={"other": f"{id}-0002"}).json()
    assert (found["first"], found["second"], found["likeness"]) == (f"{id}-0001", f"{id}-0002", "different")
    assert found["settings"] == [
        {"field": "model.reflectors", "first": 2, "second": 4},
        {"field": "model.margin", "first": 0.1, "second": 0.01},
    ]
    assert found["explanations"][0] == "their settings differ: model.reflectors, model.margin"
    none = api.get(f"/v1/trials/{id}-0003/compare", params={"other": f"{id}-0002"}).json()
    assert (none["likeness"], none["metrics"], none["explanations"]) == ("nothing in common", [], [])


def test_a_comparison_needs_another_trial(api: httpx.Client, database: Database, checked: Checked) -> None:
    id = checked()
    (error,) = problem(api.get(f"/v1/trials/{id}-0000/compare"), 422)["errors"]
    assert error["field"] == "other"
    for other in ("sw0123456789-0000", "..", f"{id}-0009"):
        problem(api.get(f"/v1/trials/{id}-0000/compare", params={"other": other}), 404)
    replay = api.post(f"/v1/trials/{id}-0000/replay").json()["id"]
    expand(database, replay)
    api.delete(f"/v1/sweeps/{id}")
    problem(api.get(f"/v1/trials/{replay}-0000/compare"), 404)


def test_a_gpu_and_other_packs_explain_a_difference(api: httpx.Client, database: Database, checked: Checked) -> None:
    id = checked(resources={"gpus": 1})
    replay = api.post(f"/v1/trials/{id}-0001/replay").json()["id"]
    expand(database, replay)
    end(database, replay)
    tell(database, f"{id}-0001", {20: 0.5})
    tell(database, f"{replay}-0000", {20: 0.7})
    with database.write() as session:
        packs.get(session, f"{id}-0").trial_ids = ["a", "b", "c"]
    found = api.get(f"/v1/trials/{replay}-0000/compare").json()
    assert "the packs of the first had 3 trials, those of the second 0" in found["explanations"][0]

"""Priority, parallel trials and resources of a sweep: submitted, shown, changed; and what waiting trials wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.api import queue_words
from service.client import ApiError, RestClient
from service.store import attempts, components, events, open_trials, owners, packs, queue, sweeps, trials
from service.store.database import Database
from service.store.queue import MOST_NOTED, QueueNote, QueueNotes
from service.store.tables import Pack, Sweep, Trial
from tests.service.api.test_errors import problem

Running = tuple[Sweep, list[Trial]]
BACKENDS = ["sqlite", "postgresql"]
ROOM = "room for 1 CPU: 2 of 2 CPUs are in use"


def note(database: Database, notes: QueueNotes) -> None:
    with database.write() as session:
        notes.write(session)


@pytest.mark.parametrize("backend", BACKENDS)
def test_priority_and_parallel_trials_are_stored_shown_and_changed(
    backend: str, api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    shown = api.post("/v1/sweeps", json=document | {"priority": -3, "max_parallel": 2}).json()
    id = shown["id"]
    assert (shown["priority"], shown["max_parallel"]) == (-3, 2)
    answer = api.patch(f"/v1/sweeps/{id}", json={"priority": 7})
    assert answer.status_code == 202
    assert (answer.json()["priority"], answer.json()["max_parallel"]) == (7, 2)
    api.patch(f"/v1/sweeps/{id}", json={"max_parallel": None, "priority": 7})
    api.patch(f"/v1/sweeps/{id}", json={"max_parallel": None})
    listed = api.get("/v1/sweeps").json()["sweeps"][0]
    assert (listed["priority"], listed["max_parallel"]) == (7, None)
    spec = api.get(f"/v1/sweeps/{id}").json()["spec"]
    assert (spec["priority"], spec["max_parallel"]) == (7, None), "so that the same can be submitted again"
    with database.read() as session:
        told = [event.data for event in events.after(session, id, 0) if event.kind == "sweep.changed"]
        (kept,) = sweeps.open_sweeps(session)
    assert told == [
        {"before": {"priority": -3}, "after": {"priority": 7}},
        {"before": {"max_parallel": 2}, "after": {"max_parallel": None}},
    ], "what changes nothing is no event"
    assert (kept.priority, kept.max_parallel) == (7, None)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({}, "(document)", "changes nothing"),
        ([1], "(document)", "changes nothing"),
        ({"name": "x"}, "name", "cannot be changed of a sweep that was submitted"),
        ({"priority": 101}, "priority", "is more than 100"),
        ({"priority": None}, "priority", "is not a whole number"),
        ({"priority": 1.5}, "priority", "is not a whole number"),
        ({"max_parallel": 0}, "max_parallel", "is less than 1"),
        ({"max_parallel": "4"}, "max_parallel", "is not a whole number"),
    ],
)
def test_a_wrong_change_is_refused_with_its_field(
    api: httpx.Client, running: Running, change: Any, field: str, words: str
) -> None:
    (error,) = problem(api.patch(f"/v1/sweeps/{running[0].id}", json=change), 422)["errors"]
    assert (error["field"], error["problem"]) == (field, words)


def test_a_sweep_that_has_ended_is_not_changed(api: httpx.Client, database: Database, running: Running) -> None:
    sweep, _ = running
    with database.write() as session:
        sweeps.apply(session, sweep.id, "cancel")
    assert (
        "cannot change a sweep that is cancelling"
        in problem(api.patch(f"/v1/sweeps/{sweep.id}", json={"priority": 1}), 409)["detail"]
    )
    assert problem(api.patch("/v1/sweeps/sw0123456789", json={"priority": 1}), 404)


def test_an_owner_s_sweeps_have_no_higher_priority_than_they_may(
    base_url: str, database: Database, document: dict[str, Any]
) -> None:
    with database.write() as session:
        owners.ensure(session, "local")
        owners.limit(session, "local", {"highest_priority": 3})
    with RestClient(base_url, patience=0) as client:
        sweep = client.submit(document | {"priority": 3})
        with pytest.raises(ApiError, match="may have a priority of at most 3") as refused:
            client.change(sweep["id"], priority=4)
        assert refused.value.status == 403
        assert client.change(sweep["id"], priority=-5, max_parallel=1)["priority"] == -5
        with pytest.raises(ApiError, match="may have a priority of at most 3"):
            client.submit(document | {"priority": 4})
        assert len(list(client.sweeps())) == 1


def test_waiting_trials_say_what_they_wait_for(api: httpx.Client, database: Database, running: Running) -> None:
    sweep, made = running

    def shown() -> tuple[Any, Any, set[Any]]:
        found = api.get(f"/v1/sweeps/{sweep.id}").json()
        of_trials = {trial["waiting_for"] for trial in api.get(f"/v1/sweeps/{sweep.id}/trials").json()["trials"]}
        return found["waiting_for"], found["queue_position"], of_trials

    assert shown() == (queue_words.NEXT_ROUND, None, {queue_words.NEXT_ROUND})
    note(database, QueueNotes.of([QueueNote("sw0000000000", ROOM, True), QueueNote(sweep.id, ROOM, True)]))
    text = f"{ROOM}; 1 sweep is before it"
    assert shown() == (text, 2, {text})
    assert api.get(f"/v1/trials/{made[0].id}").json()["waiting_for"] == text
    note(database, QueueNotes.of([QueueNote(sweep.id, "a trial of its own sweep to end", False)]))
    assert shown()[:2] == ("a trial of its own sweep to end", None)
    note(database, QueueNotes.of_all("Ray, which does not answer"))
    assert shown()[0] == "Ray, which does not answer"
    with database.write() as session:
        trials.want(session, made[0].id, "stop")
        trials.move(session, trials.get(session, made[1].id), "running")
    assert api.get(f"/v1/trials/{made[0].id}").json()["waiting_for"] == queue_words.TO_END
    assert api.get(f"/v1/trials/{made[1].id}").json()["waiting_for"] is None
    api.post(f"/v1/sweeps/{sweep.id}/pause")
    assert shown()[0] == "its sweep to be resumed"


def test_a_sweep_none_of_whose_trials_waits_waits_for_nothing(
    api: httpx.Client, database: Database, running: Running, document: dict[str, Any]
) -> None:
    sweep, made = running
    note(database, QueueNotes.of([QueueNote(sweep.id, ROOM, True)]))
    with database.write() as session:
        for trial in made:
            trials.move(session, trials.get(session, trial.id), "running")
    found = api.get(f"/v1/sweeps/{sweep.id}").json()
    assert (found["waiting_for"], found["queue_position"]) == (None, None)
    learning = document | {"search": {"sampler": "tpe", "trials": 40}}
    id = api.post("/v1/sweeps", json=learning).json()["id"]
    assert api.get(f"/v1/sweeps/{id}").json()["waiting_for"].startswith("the controller, which is about to create")
    with database.write() as session:
        sweeps.move(session, id, "running")
        (first,) = trials.create(session, sweeps.get(session, id), 0, [{"model.margin": 0.1, "model.reflectors": 2}])
        trials.move(session, first, "running")
    assert api.get(f"/v1/sweeps/{id}").json()["waiting_for"] == queue_words.RESULTS


def test_notes_of_very_many_sweeps_are_bounded() -> None:
    notes = QueueNotes.of([QueueNote(f"sw{i:010}", ROOM, True) for i in range(MOST_NOTED + 5)])
    last = notes.of_sweep(f"sw{MOST_NOTED - 1:010}")
    assert last is not None
    assert last.position == MOST_NOTED
    beyond = notes.of_sweep(f"sw{MOST_NOTED + 4:010}")
    assert beyond is not None
    assert beyond.what == "its turn: more than 1,000 sweeps are before it"
    assert QueueNotes.of([]).of_sweep("sw0000000000") is None


def test_the_notes_of_other_owners_sweeps_are_in_no_answer(api: httpx.Client, database: Database) -> None:
    note(database, QueueNotes.of([QueueNote("sw0000000000", ROOM, True)]))
    with database.read() as session:
        assert queue.read(session).of_sweep("sw0000000000") is not None
    assert "sw0000000000" not in api.get("/v1/cluster").text + api.get("/health/ready").text
    assert "queue" not in api.get("/v1/cluster").json()["parts"]


@pytest.mark.parametrize(
    ("resources", "field", "words"),
    [
        ({"cpus": 9.0}, "resources.cpus", "is more than any node has now, so the sweep waits"),
        ({"memory": "17 GiB"}, "resources.memory", "is more than any node has now, so the sweep waits"),
        ({"labels": {"zone": "b"}}, "resources.labels", "are those of no node now, so the sweep waits"),
        ({"cpus": 8.0, "memory": "16 GiB"}, "resources", "are on no node together now, so the sweep waits"),
    ],
)
def test_a_sweep_whose_packs_fit_on_no_node_is_warned_of(
    api: httpx.Client, database: Database, document: dict[str, Any], resources: Any, field: str, words: str
) -> None:
    nodes = [
        {"name": "a", "cpus": 8.0, "gpus": 0.0, "memory": 2**33, "labels": {"zone": "a"}},
        {"name": "b", "cpus": 4.0, "gpus": 0.0, "memory": 2**34, "labels": {}},
    ]
    with database.write() as session:
        components.note(session, "ray", True, "2 nodes", {"nodes": nodes})
    assert api.post("/v1/sweeps/validate", json=document).json()["warnings"] == []
    (warning,) = api.post("/v1/sweeps/validate", json=document | {"resources": resources}).json()["warnings"]
    assert (warning["field"], warning["problem"]) == (field, words)
    sweep = api.post("/v1/sweeps", json=document | {"resources": resources}).json()
    assert [found["field"] for found in sweep["warnings"]] == [field]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_queue_goes_by_is_read_from_the_database(
    backend: str, database: Database, running: Running, new_sweep: Callable[..., Sweep]
) -> None:
    sweep, made = running
    other = new_sweep()
    with database.write() as session:
        assert packs.last_ends(session, [sweep.id, other.id]) == {}
        pack = packs.plan(session, [trials.get(session, made[0].id)], 1.0, 0.0, 1, 5, "node")
        trials.move(session, trials.get(session, made[0].id), "running")
        assert (pack.memory, pack.node, pack.preempted) == (5, "node", None)
        assert open_trials.running_of_packs(session) == {pack.id: 1}
        assert open_trials.sweeps_with_ready(session, [sweep.id, other.id]) == {sweep.id}
        assert packs.preempt(session, pack.id, "for others")
        assert not packs.preempt(session, pack.id, "for others again")
        (attempt,) = attempts.open_of_pack(session, pack.id).values()
        attempts.end(attempt, "paused", attempts.PREEMPTED, "for others")
        assert attempts.lost_trials(session, [made[0].id]) == {made[0].id}
        packs.end(pack)
        assert not packs.preempt(session, pack.id, "too late")
        session.flush()
        assert packs.last_ends(session, [sweep.id, other.id]) == {sweep.id: pack.ended_at}
    with database.read() as session:
        assert session.get_one(Pack, pack.id).preempted == "for others"
        kept = {found.id: found for found in sweeps.open_sweeps(session)}
        assert kept[sweep.id].queued_at == sweeps.get(session, sweep.id).created_at
    with database.write() as session:
        sweeps.apply(session, sweep.id, "pause")
        sweeps.apply(session, sweep.id, "resume")
        assert sweeps.get(session, sweep.id).queued_at > kept[sweep.id].queued_at, "it waits since then"

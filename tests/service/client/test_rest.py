"""The client: it repeats calls with the same key, reopens broken streams, and raises refusals."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from service.client import ApiError, RestClient, ServiceUnreachable
from service.settings import ApiSettings
from service.store import checkpoints, events, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial, TrialCheckpoint, TrialReport
from tests.service.client.conftest import Connect, Faults
from tests.service.conftest import serving

NewSweep = Callable[..., Sweep]


@pytest.fixture
def client(base_url: str, connect: Connect) -> Iterator[RestClient]:
    with connect.rest(base_url, patience=10) as client:
        yield client


def finish(database: Database, sweep_id: str) -> None:
    with database.write() as session:
        sweeps.move(session, sweep_id, "failed", "over")


@pytest.mark.parametrize("fault", ["reply lost", "unavailable"])
def test_a_submit_that_got_no_reply_is_repeated_with_its_key(
    base_url: str, connect: Connect, database: Database, document: dict[str, Any], fault: str
) -> None:
    faults = Faults(fault, fault)
    with connect.rest(base_url, faults) as client:
        sweep = client.submit(document)
    assert (faults.left, len(faults.keys), len(set(faults.keys))) == ([], 3, 1)
    with database.read() as session:
        assert [row.id for row in sweeps.page(session)] == [sweep["id"]]


def test_each_submit_has_a_key_of_its_own(client: RestClient, document: dict[str, Any]) -> None:
    assert client.submit(document)["id"] != client.submit(document)["id"]
    assert client.submit(document, key="k")["id"] == client.submit(document, key="k")["id"]


def test_a_refusal_carries_the_problem_and_is_not_repeated(client: RestClient, document: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        client.submit(document | {"task": {"name": "sorting"}})
    assert caught.value.status == 422
    assert caught.value.errors[0]["field"] == "task.name"
    with pytest.raises(ApiError, match="sw0123456789") as missing:
        client.sweep("sw0123456789")
    assert missing.value.status == 404


def test_a_missing_server_raises_service_unreachable(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with connect.rest(f"http://127.0.0.1:{port}", patience=0) as client:
        with pytest.raises(ServiceUnreachable, match=f"no answer from http://127.0.0.1:{port}"):
            client.sweep("sw0123456789")
        with pytest.raises(ServiceUnreachable):
            next(client.events("sw0123456789"))


def test_the_calls(
    client: RestClient, database: Database, document: dict[str, Any], running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, made = running
    with database.write() as session:
        trials.get(session, made[2].id).objective = 0.5
        session.add(TrialReport(trial_id=made[2].id, step=10, values={"val/loss": 0.5, "train/loss": 1.0}))
    assert client.validate(document)["trials"] == 4
    assert [t["number"] for t in client.trials(sweep.id)] == [0, 1, 2, 3]
    assert [t["number"] for t in client.trials(sweep.id, "objective", limit=1)] == [2]
    assert list(client.trials(sweep.id, state=["running"])) == []
    assert client.trial(made[2].id)["objective"] == 0.5
    assert client.metrics(made[2].id, ["val/loss"])[0]["values"] == {"val/loss": 0.5}
    assert client.logs(made[2].id)["attempts"] == []
    assert client.report(sweep.id)["leaderboard"][0]["id"] == made[2].id
    parts = client.report(sweep.id, ["importance", "diagnostics"], trial=2)
    assert (parts["importance"]["trials"], parts["diagnostics"]["number"], parts["pareto"]) == (1, 2, None)
    assert client.report_file(sweep.id, "trials.csv").startswith(b"rank,trial,")
    assert client.report_file(sweep.id, "figures/results.png").startswith(b"\x89PNG")
    with pytest.raises(ApiError, match="Trial 1 has reported no singular values"):
        client.report_file(sweep.id, "figures/spectrum.svg", trial=1)
    assert [client.pause(sweep.id)["state"], client.resume(sweep.id)["state"]] == ["paused", "running"]
    assert client.stop(made[0].id)["wanted"] == "stop"
    assert client.cancel(made[0].id)["wanted"] == "cancel"
    assert client.stop(sweep.id)["state"] == "stopping"
    assert client.cancel(sweep.id)["state"] == "cancelling"


def test_listings_go_through_every_page(client: RestClient, database: Database, new_sweep: NewSweep) -> None:
    made = [new_sweep().id for _ in range(3)]
    sweep = new_sweep(space={"training.seed": {"low": 0, "high": 249}})
    with database.write() as session:
        trials.create(session, sweep, 0, [{"training.seed": n} for n in range(250)])
    assert [t["number"] for t in client.trials(sweep.id)] == list(range(250))
    assert [t["number"] for t in client.trials(sweep.id, limit=130)] == list(range(130))
    assert [s["id"] for s in client.sweeps(limit=2)] == [sweep.id, made[2]]
    assert len(list(client.sweeps(["queued"]))) == 4
    assert list(client.sweeps(["running"])) == []


def test_events_go_on_where_a_restarted_server_left_them(
    settings: ApiSettings, connect: Connect, database: Database, new_sweep: NewSweep
) -> None:
    id = new_sweep().id
    seen: list[int] = []
    half, whole = threading.Event(), threading.Event()

    def read(address: str) -> None:
        with connect.rest(address, patience=30) as client:
            for event in client.events(id):
                seen.append(event["seq"])
                if len(seen) == 6:
                    half.set()
        whole.set()

    def write(count: int) -> None:
        for _ in range(count):
            with database.write() as session:
                events.record(session, id, "trial.metrics", {})

    with serving(settings) as address:
        reader = threading.Thread(target=read, args=(address,), daemon=True)
        reader.start()
        write(5)
        assert half.wait(20)
    write(5)
    with serving(settings, port=int(address.rpartition(":")[2])):
        finish(database, id)
        assert whole.wait(20)
        reader.join()
    assert seen == list(range(1, 13))


def test_wait_returns_what_became_of_the_sweep(client: RestClient, database: Database, new_sweep: NewSweep) -> None:
    id = new_sweep().id
    ending = threading.Timer(0.05, finish, (database, id))
    ending.start()
    assert (client.wait(id)["state"], client.wait(id)["reason"]) == ("failed", "over")
    ending.join()


def test_events_after_the_end_are_none(client: RestClient, database: Database, new_sweep: NewSweep) -> None:
    id = new_sweep().id
    finish(database, id)
    assert [event["seq"] for event in client.events(id)] == [1, 2]
    assert list(client.events(id, after=2)) == []


def end_with_a_failure(database: Database, sweep: Sweep, made: list[Trial]) -> None:
    with database.write() as session:
        for trial in made:
            row = trials.get(session, trial.id)
            trials.move(session, row, "failed" if row.number == 0 else "cancelled")
        sweeps.move(session, sweep.id, "failed", "over")


def test_a_sweep_goes_on_and_ends_again_and_is_deleted(
    client: RestClient, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, made = running
    end_with_a_failure(database, sweep, made)
    assert client.rerun(made[0].id)["state"] == "waiting"
    with pytest.raises(ApiError, match="none of its trials has failed"):
        client.rerun(sweep.id)
    grown = client.extend(sweep.id, space={"model.margin": (0.3,)})
    assert (grown["state"], grown["trials"]["total"]) == ("running", 6)
    with pytest.raises(ApiError, match="decides the number of trials itself"):
        client.extend(sweep.id, trials=3)
    with pytest.raises(ApiError, match="cannot delete a sweep that is running"):
        client.delete(sweep.id)
    finish(database, sweep.id)
    seen = [event["kind"] for event in client.events(sweep.id)]
    assert [kind for kind in seen if kind.startswith("sweep.")] == [
        "sweep.queued",
        "sweep.running",
        "sweep.failed",
        "sweep.running",
        "sweep.extended",
        "sweep.failed",
    ]
    client.delete(sweep.id)
    with pytest.raises(ApiError) as gone:
        client.sweep(sweep.id)
    assert gone.value.status == 404
    with pytest.raises(ApiError) as again:
        client.delete(sweep.id)
    assert again.value.status == 404


def test_a_trial_gets_more_steps_and_is_replayed_and_compared(
    client: RestClient, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, (trial, *others) = running
    with database.write() as session:
        row = trials.get(session, trial.id)
        trials.move(session, row, "running")
        row.step = 100
        checkpoints.add(session, TrialCheckpoint(trial_id=trial.id, step=100, path="/c", best=True))
        trials.move(session, row, "succeeded")
        for other in others:
            trials.move(session, trials.get(session, other.id), "cancelled")
        sweeps.move(session, sweep.id, "succeeded")
    replay = client.replay(trial.id, "once")
    assert client.replay(trial.id, "once")["id"] == replay["id"]
    assert client.compare_trials(trial.id, others[0].id)["likeness"] == "nothing in common"
    with pytest.raises(ApiError, match="is no replay"):
        client.compare_trials(trial.id)
    longer = client.extend(trial.id, steps=300)
    assert (longer["state"], longer["added_steps"]) == ("waiting", 200)


def test_what_got_no_reply_after_the_end_is_repeated_and_has_one_effect(
    base_url: str, connect: Connect, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, made = running
    end_with_a_failure(database, sweep, made)

    def lossy() -> AbstractContextManager[RestClient]:
        return connect.rest(base_url, Faults("reply lost"), patience=20)

    with lossy() as client:
        assert client.rerun(sweep.id)["state"] == "running"
    with lossy() as client:
        assert client.extend(sweep.id, space={"model.margin": [0.3]})["trials"]["total"] == 6
    finish(database, sweep.id)
    with lossy() as client:
        client.delete(sweep.id)
    with database.read() as session:
        assert sweeps.page(session) == []

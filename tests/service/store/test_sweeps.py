"""Sweeps and trials in the store: what each move writes, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, get_args

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from service.states import SWEEP_ENDED, SWEEP_MOVES, IllegalMove, SweepState
from service.store import events, outbox, sweeps, trials
from service.store.database import Database
from service.store.errors import NotFound
from service.store.tables import Event, OutboxEntry, Sweep, Trial

BACKENDS = ["sqlite", "postgresql"]
STATES: tuple[SweepState, ...] = get_args(SweepState)
NewSweep = Callable[..., Sweep]


def kinds(database: Database, sweep_id: str) -> list[str]:
    with database.read() as session:
        found = events.after(session, sweep_id, 0)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    return [event.kind for event in found]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_new_sweep_has_its_event_and_its_outbox_entry(backend: str, database: Database, new_sweep: NewSweep) -> None:
    sweep = new_sweep()
    with database.read() as session:
        row = sweeps.get(session, sweep.id)
        entry = session.scalars(select(OutboxEntry)).one()
    assert (row.state, row.trial_count, row.event_seq) == ("queued", 4, 1)
    assert kinds(database, sweep.id) == ["sweep.queued"]
    assert (entry.kind, entry.sweep_id, entry.trial_id) == ("sweep", sweep.id, None)


@pytest.mark.parametrize("id", ["sw0000000000", "nothing", "", "sw00000000\x00", "sw' OR 1=1", "é" * 500])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unknown_sweep_is_named(backend: str, database: Database, id: str) -> None:
    with database.read() as session, pytest.raises(NotFound) as caught:
        sweeps.get(session, id)
    assert caught.value.id == id
    with database.write() as session, pytest.raises(NotFound):
        sweeps.lock(session, "sw0000000000")


@pytest.mark.parametrize(("before", "to"), list(product(STATES, STATES)))
def test_move_of_every_pair(database: Database, new_sweep: NewSweep, before: SweepState, to: SweepState) -> None:
    id = new_sweep().id
    with database.write() as session:
        session.execute(update(Sweep).where(Sweep.id == id).values(state=before))
        outbox.remove(session, [entry.id for entry in outbox.oldest(session, 10)])
    if to not in SWEEP_MOVES[before]:
        with pytest.raises(IllegalMove), database.write() as session:
            sweeps.move(session, id, to)
        assert kinds(database, id) == ["sweep.queued"]
        return
    with database.write() as session:
        sweeps.move(session, id, to, "because")
    with database.read() as session:
        row, entries = sweeps.get(session, id), outbox.oldest(session, 10)
    assert (row.state, row.reason) == (to, "because")
    assert (row.started_at is not None) == (to == "running")
    assert (row.ended_at is not None) == (to in SWEEP_ENDED)
    assert kinds(database, id) == ["sweep.queued", f"sweep.{to}"]
    expected = [("ended", {"state": to, "reason": "because", "at": row.ended_at})] if to in SWEEP_ENDED else []
    expected += [("reopened", {})] if before in SWEEP_ENDED else []
    assert [(entry.kind, entry.payload) for entry in entries] == expected


def test_a_move_that_is_rolled_back_leaves_nothing(database: Database, new_sweep: NewSweep) -> None:
    id = new_sweep().id
    with pytest.raises(IllegalMove), database.write() as session:
        [sweeps.move(session, id, to) for to in ("running", "stopped")]
    with database.read() as session:
        assert sweeps.get(session, id).state == "queued"
    assert kinds(database, id) == ["sweep.queued"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_state_in_the_database_counts(backend: str, database: Database, new_sweep: NewSweep) -> None:
    id = new_sweep().id
    with database.read() as stale:
        sweeps.get(stale, id)
        stale.rollback()
        with database.write() as session:
            sweeps.apply(session, id, "cancel")
        with pytest.raises(IllegalMove):
            sweeps.move(stale, id, "running")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_verb_repeated_changes_nothing(backend: str, database: Database, new_sweep: NewSweep) -> None:
    id = new_sweep().id
    for _ in range(3):
        with database.write() as session:
            assert sweeps.apply(session, id, "pause").state == "paused"
    assert kinds(database, id) == ["sweep.queued", "sweep.paused"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_trials_are_numbered_after_those_that_exist(
    backend: str, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, made = running
    assert [t.id for t in made] == [f"{sweep.id}-{n:04d}" for n in range(4)]
    assert made[1].params == {"model.reflectors": 2, "model.margin": 0.1}
    with database.write() as session:
        (more,) = trials.create(session, sweep, 4, [{"model.margin": 0.5}])
        trials.move(session, more, "cancelled")
    with database.read() as session:
        found = trials.observations(session, sweep.id)
        assert [(o.number, o.ended) for o in found] == [(0, False), (1, False), (2, False), (3, False), (4, True)]
        assert found[4].params == {"model.margin": 0.5}
        assert trials.count(session, sweep.id) == 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trial_is_never_created_twice(backend: str, database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, _ = running
    with pytest.raises(IntegrityError), database.write() as session:
        trials.create(session, sweep, 3, [{"other": 1}])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trial_moves_through_its_states(backend: str, database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, (first, *_) = running
    for to in ("running", "waiting", "running", "succeeded"):
        with database.write() as session:
            trial = trials.get(session, first.id)
            trial.step += 10
            trials.move(session, trial, to)
    with database.read() as session:
        row, entry = trials.get(session, first.id), outbox.oldest(session, 10)[-1]
        happened = events.of_trial(session, sweep.id, first.id)
    assert row.step == 40
    assert row.started_at is not None
    assert row.ended_at is not None
    assert (entry.kind, entry.trial_id, entry.payload["state"]) == ("ended", first.id, "succeeded")
    assert [e.kind for e in happened] == ["trial.running", "trial.waiting", "trial.running", "trial.succeeded"]
    assert [e.data["step"] for e in happened] == [10, 20, 30, 40]
    with pytest.raises(IllegalMove), database.write() as session:
        trials.move(session, trials.get(session, first.id), "running")


def test_a_users_verb_is_kept_until_the_trial_ends(database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, (first, *_) = running

    def want(verb: Any) -> str | None:
        with database.write() as session:
            return trials.want(session, first.id, verb).wanted

    assert [want("stop"), want("stop"), want("cancel"), want("stop")] == ["stop", "stop", "cancel", "cancel"]
    assert kinds(database, sweep.id).count("trial.wanted") == 2
    with database.write() as session:
        assert trials.move(session, trials.get(session, first.id), "cancelled").wanted is None
    with pytest.raises(IllegalMove, match="cannot stop a trial that is cancelled"):
        want("stop")


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ranking_pages_through_every_trial_once(
    backend: str, database: Database, new_sweep: NewSweep, direction: Any
) -> None:
    sweep = new_sweep()
    values = [0.5, None, 0.1, 0.5, None, 0.9, -2.0]
    with database.write() as session:
        for trial, value in zip(trials.create(session, sweep, 0, [{}] * 7), values, strict=True):
            trial.objective = value
    sign = 1 if direction == "minimize" else -1
    expected = sorted(range(7), key=lambda n: (values[n] is None, sign * (values[n] or 0), n))
    seen: list[int] = []
    place = None
    with database.read() as session:
        while page := trials.ranked(session, sweep.id, direction, limit=2, after=place):
            seen += [trial.number for trial in page]
            place = (page[-1].objective, page[-1].number)
        best = trials.best(session, sweep.id, direction)
    assert seen == expected
    assert best is not None
    assert best.number == expected[0]


def test_a_failed_trial_is_never_the_best(database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, made = running
    with database.write() as session:
        for trial, value in zip(made[:2], (0.1, 0.2), strict=True):
            row = trials.get(session, trial.id)
            row.objective = value
            trials.move(session, row, "running")
        trials.move(session, trials.get(session, made[0].id), "failed", "NaN")
    with database.read() as session:
        best = trials.best(session, sweep.id, "minimize")
    assert best is not None
    assert best.number == 1


def test_events_of_one_sweep_leave_out_the_others(database: Database, new_sweep: NewSweep) -> None:
    one, two = new_sweep(), new_sweep()
    with database.write() as session:
        sweeps.move(session, two.id, "running")
    assert kinds(database, one.id) == ["sweep.queued"]
    with database.read() as session:
        assert len(session.scalars(select(Event)).all()) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_controller_and_api_never_lock_each_other_out(
    backend: str, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, made = running
    gate = threading.Barrier(2)

    def controller() -> None:
        gate.wait()
        for number in range(30):
            with database.write() as session:
                for trial in session.scalars(select(Trial).where(Trial.sweep_id == sweep.id).order_by(Trial.number)):
                    trial.step += 1
                    trials.move(session, trial, "waiting" if number % 2 else "running")

    def api() -> None:
        gate.wait()
        for number in range(60):
            with database.write() as session:
                for trial in reversed(made):
                    trials.want(session, trial.id, "cancel" if number % 2 else "stop")

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(controller), pool.submit(api)]:
            done.result(60)
    assert kinds(database, sweep.id).count("trial.running") == 60

"""Who comes first: priorities, packs that are paused for them, limits, and what waiting sweeps wait for."""

from __future__ import annotations

from collections.abc import Callable

from service.controller import commands, ingest, launching, sweep_lifecycle
from service.store import attempts, events, owners, packs, sweeps, trials
from service.store.database import Database
from service.store.queue import QueuePlace
from service.store.tables import Pack, Sweep
from tests.service.controller.conftest import Expanded
from tests.service.controller.launches import ALONE, RETRIES, Launches, open_packs
from workers.protocol import Ended, Poll
from workers.spec.trial import Objective


def change(database: Database, sweep: Sweep, **changes: int | None) -> None:
    with database.write() as session:
        sweeps.change(session, sweep.id, changes)


def waits(launch: Launches, sweep: Sweep) -> QueuePlace | None:
    return launch.launcher.notes.of_sweep(sweep.id)


def pause(database: Database, term: int, pack: Pack) -> None:
    """Let a runner obey the pause that its pack was told."""
    with database.write(term) as session:
        row = packs.get(session, pack.id)
        assert row.preempted is not None
        ends = [
            Ended(seq=seq, trial_id=trial_id, step=40, outcome="paused", reason=row.preempted)
            for seq, trial_id in enumerate(row.trial_ids, 1)
        ]
        poll = Poll(state="ended", reports=list(ends), progress={})
        ingest.ingest(session, row, poll, Objective(metric="val/loss", direction="minimize"), RETRIES)
        packs.end(row)


def test_a_higher_priority_has_a_pack_paused_which_is_charged_nothing_and_goes_on_as_it_was(
    database: Database, term: int, expanded: Expanded, launch: Launches, cpus: Callable[[float], None]
) -> None:
    cpus(1)
    low, _ = expanded(resources={"pack_size": 4}, retries={"user": 0, "infrastructure": 0, "preemption": 0})
    launch()
    launch()
    high, _ = expanded(**ALONE, priority=5, max_parallel=1)
    launch(59.0)
    (first,) = open_packs(database)
    assert first.preempted is None, "it has not run for a minute"
    launch(2.0)
    (first,) = open_packs(database)
    assert first.preempted == "preempted by a sweep of priority 5"
    assert waits(launch, high) == ("room for 1 CPU: packs pause to make it", 1)
    launch()
    with database.read() as session:
        told = [event for event in events.after(session, low.id, 0) if event.kind == "pack.preempted"]
        assert [event.data for event in told] == [
            {"pack": first.id, "trials": first.trial_ids, "reason": "preempted by a sweep of priority 5"}
        ], "once, however often it is decided"
        trial = trials.get(session, first.trial_ids[0])
        assert commands.instruction(low, trial, {}, first.preempted) == commands.Instruction("pause", first.preempted)
        assert commands.instruction(low, trial, {trial.number: "poor"}, first.preempted) == commands.Instruction(
            "prune", "poor"
        )
    pause(database, term, first)
    launch()
    (second,) = open_packs(database)
    assert second.sweep_id == high.id
    with database.read() as session:
        made_room = trials.page(session, low.id)
        assert {(t.state, t.reason) for t in made_room} == {("waiting", "preempted by a sweep of priority 5")}
        assert {(t.user_failures, t.infrastructure_failures, t.preemptions) for t in made_room} == {(0, 0, 0)}
        assert {a.cause for t in made_room for a in attempts.of_trial(session, t.id)} == {"preemption"}
    change(database, high, max_parallel=None)
    change(database, low, priority=6)
    launch()
    launch(61.0)
    pause(database, term, second)
    launch()
    (third,) = open_packs(database)
    assert third.trial_ids == first.trial_ids, "the same pack, so that its bits are the same"


def test_trials_that_made_room_finish_when_their_sweep_is_stopped(
    database: Database, term: int, expanded: Expanded, launch: Launches, cpus: Callable[[float], None]
) -> None:
    cpus(1)
    low, _ = expanded(resources={"pack_size": 2})
    launch()
    launch()
    high, _ = expanded(**ALONE, priority=5, max_parallel=1)
    launch(61.0)
    (first,) = open_packs(database)
    pause(database, term, first)
    with database.write() as session:
        sweeps.apply(session, low.id, "stop")
        sweep_lifecycle.settle(session, low.id)
        found = {trial.id: trial.state for trial in trials.page(session, low.id)}
    assert {found[trial_id] for trial_id in first.trial_ids} == {"waiting"}
    assert sorted(found.values()) == ["cancelled", "cancelled", "waiting", "waiting"]
    with database.write() as session:
        sweeps.apply(session, high.id, "cancel")
        sweep_lifecycle.settle(session, high.id)
        sweep_lifecycle.fail(session, high.id, "")
    launch()
    assert [pack.trial_ids for pack in open_packs(database)] == [first.trial_ids]


def test_max_parallel_bounds_the_trials_of_a_sweep_and_can_be_changed_while_it_runs(
    database: Database, expanded: Expanded, launch: Launches
) -> None:
    sweep, _ = expanded(resources={"pack_size": 2}, max_parallel=3)
    launch()
    assert [len(pack.trial_ids) for pack in open_packs(database)] == [1, 2]
    assert waits(launch, sweep) == ("a trial of its own sweep to end: max_parallel is 3, and 3 run", None)
    change(database, sweep, max_parallel=1)
    launch()
    assert [len(pack.trial_ids) for pack in open_packs(database)] == [1, 2], "those that run go on"
    change(database, sweep, max_parallel=None)
    launch()
    assert sum(len(pack.trial_ids) for pack in open_packs(database)) == 4
    assert waits(launch, sweep) is None


def test_limits_of_an_owner_on_cpus_hold_over_all_of_their_sweeps(
    database: Database, term: int, expanded: Expanded, launch: Launches
) -> None:
    found = [expanded(resources={"pack_size": 1, "cpus": 2.0})[0] for _ in range(2)]
    with database.write(term) as session:
        owners.ensure(session, "ada")
        owners.limit(session, "ada", {"running_cpus": 4.5})
        for sweep in found:
            sweeps.get(session, sweep.id).owner = "ada"
    launch()
    assert [pack.sweep_id for pack in open_packs(database)] == [sweep.id for sweep in found]
    words = "2 of the 4.5 CPUs that its owner may have, of which 4 are taken"
    assert [waits(launch, sweep) for sweep in found] == [(words, None)] * 2


def test_what_waiting_sweeps_wait_for_is_noted(
    database: Database, term: int, expanded: Expanded, launch: Launches, cpus: Callable[[float], None]
) -> None:
    cpus(1)
    first, _ = expanded(**ALONE)
    launch()
    second, _ = expanded(**ALONE)
    large, _ = expanded(resources={"cpus": 5.0})
    launch()
    in_use = "room for 1 CPU: 1 of 1 CPU are in use"
    assert [waits(launch, sweep) for sweep in (second, first)] == [(in_use, 1), (in_use, 2)]
    assert waits(launch, large) == ("room for 5 CPUs: no node of the cluster is large enough", None)
    notes = launch.launcher.notes
    launch()
    assert launch.launcher.notes == notes, "what has not changed is not written again"
    launch.launcher._context.checkpoint_store.fail("it is full")
    launch()
    assert waits(launch, first) == (launching.NO_STORE, None)

"""Which sweeps a round of launching asks for trials, and what it launches of them. Ray always obeys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.controller import (
    commands,
    demand,
    ingest,
    launching,
    lost_packs,
    retry_pauses,
    scheduling,
    sweep_lifecycle,
)
from service.controller.advancing import SweepAdvancer
from service.controller.cluster import Cluster
from service.controller.context import InvalidDocument, ReconcileContext
from service.controller.etas import EtaKeeper
from service.controller.guard import SweepGuard
from service.controller.launching import PackLauncher
from service.controller.node import Node
from service.controller.polling import RunnerPoller
from service.controller.runner_requests import PollResult
from service.settings import ControllerSettings
from service.store import attempts, events, owners, packs, reopening, sweeps, trials
from service.store.database import Database
from service.store.queue import QueuePlace
from service.store.sweep_summary import facts_of
from service.store.tables import Pack, Sweep
from workers.protocol import Assignment, Ended, Poll
from workers.spec.sweep import RetriesSpec, SweepSpec
from workers.spec.trial import Objective

Expanded = Callable[..., tuple[Sweep, SweepSpec]]
RETRIES = RetriesSpec()


class ObedientCluster(Cluster):
    """A cluster of one node with 8 CPUs, on which every runner starts."""

    cpus = 8.0

    def nodes(self) -> list[Node]:
        return [Node("here", cpus=self.cpus, gpus=0)]

    def start(self, assignment: Any, _name: str) -> Any:
        return object()


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        """The wall clock goes on as this one does."""
        return _BEGAN + self.now - 1000.0


_BEGAN = time.time()


class Launches:
    """Rounds of launching, each of which tells which sweeps it has asked for trials."""

    def __init__(self, database: Database, url: str, term: int, clock: Clock, asked: list[str]) -> None:
        settings = ControllerSettings(database_url=url)
        context = ReconcileContext(database, ObedientCluster("127.0.0.1:1", "test"), settings, term)
        self.launcher = PackLauncher(context, SweepGuard(context))
        self._database, self._clock, self._asked = database, clock, asked

    def __call__(self, seconds: float = 0.5) -> list[str]:
        self._clock.now += seconds
        self._asked.clear()
        with self._database.read() as session:
            open_sweeps = sweeps.open_sweeps(session)
        self.launcher.launch(open_sweeps)
        return sorted(self._asked)


@pytest.fixture
def launch(database: Database, url: str, term: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    clock, asked = Clock(), []
    asking = scheduling.trials_to_run

    def note(session: Any, sweep_id: str) -> Any:
        asked.append(sweep_id)
        return asking(session, sweep_id)

    monkeypatch.setattr(scheduling, "trials_to_run", note)
    monkeypatch.setattr(launching, "time", clock)
    monkeypatch.setattr(demand, "time", clock)
    monkeypatch.setattr(retry_pauses, "time", clock)
    return Launches(database, url, term, clock, asked)


def open_packs(database: Database) -> list[Pack]:
    with database.read() as session:
        return packs.open_packs(session)


def lose(database: Database, term: int, pack: Pack) -> None:
    with database.write(term) as session:
        lost_packs.mark_lost(session, packs.get(session, pack.id), "process", "it crashed", RETRIES)


def test_sweeps_whose_owner_has_reached_a_limit_are_not_asked_until_a_trial_ends(
    database: Database, term: int, expanded: Expanded, launch: Launches
) -> None:
    found = [expanded(resources={"pack_size": 2})[0] for _ in range(3)]
    with database.write(term) as session:
        owners.ensure(session, "ada")
        owners.limit(session, "ada", {"running_trials": 2})
        for sweep in found:
            sweeps.get(session, sweep.id).owner = "ada"
    assert launch() == [found[0].id], "once the first has launched two, nobody of the same owner is asked"
    assert launch() == []
    (pack,) = open_packs(database)
    with database.write(term) as session:
        for attempt in attempts.open_of_pack(session, pack.id).values():
            attempts.end(attempt, "succeeded", None, None)
            trials.move(session, trials.get(session, attempt.trial_id), "succeeded")
        packs.end(packs.get(session, pack.id))
    assert launch() == [found[1].id], "sweeps of one owner take turns"
    assert len(open_packs(database)) == 1


def test_a_sweep_whose_trials_all_pause_is_asked_again_when_the_first_pause_is_over(
    database: Database, term: int, expanded: Expanded, launch: Launches
) -> None:
    sweep, _ = expanded(resources={"pack_size": 2})
    with database.read() as session:
        number = sweeps.get(session, sweep.id).trial_count
    with database.write(term) as session:
        for other in range(2, number):
            trials.move(session, trials.get(session, trials.id_of(sweep.id, other)), "failed")
    for _ in range(2):
        assert launch() == [sweep.id]
        lose(database, term, open_packs(database)[0])
    assert launch() == [sweep.id], "the pause after the second loss begins"
    assert launch(retry_pauses.LOST_PAUSE / 3) == []
    assert launch(retry_pauses.LOST_PAUSE / 3) == []
    assert launch(retry_pauses.LOST_PAUSE / 2) == [sweep.id]
    assert len(open_packs(database)) == 2, "the pack was halved"


def test_a_lost_pack_is_tried_again_as_it_was_also_below_a_limit_of_its_owner(
    database: Database, term: int, expanded: Expanded, launched: Any, launch: Launches
) -> None:
    sweep, spec = expanded(resources={"pack_size": 2})
    with database.write(term) as session:
        owners.ensure(session, "ada")
        sweeps.get(session, sweep.id).owner = "ada"
        owners.limit(session, "ada", {"running_trials": 2})
    lost = launched(sweep, spec, 1, 3)
    lose(database, term, lost)
    launch()
    assert [pack.trial_ids for pack in open_packs(database)] == [lost.trial_ids]


def test_what_is_kept_of_pauses_is_dropped_with_the_sweep(
    database: Database, term: int, expanded: Expanded, launched: Any, launch: Launches
) -> None:
    sweep, spec = expanded()
    for _ in range(2):
        lose(database, term, launched(sweep, spec, 0))
    launch()
    assert launch.launcher._pauses._since
    launch.launcher.forget(sweep.id)
    assert not launch.launcher._pauses._since


def test_no_runner_is_started_for_a_sweep_that_has_just_failed(
    database: Database, term: int, expanded: Expanded, launched: Any, launch: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, spec = expanded()
    first, second = launched(sweep, spec, 0), launched(sweep, spec, 1)
    started: list[str] = []

    def start(_self: Cluster, work: Any, _name: str) -> Any:
        started.append(work.pack_id)
        if work.pack_id == first.id:
            raise InvalidDocument("it is not valid")
        return object()

    monkeypatch.setattr(ObedientCluster, "start", start)
    launch.launcher.start_planned()
    assert started == [first.id]
    assert not open_packs(database)
    launch.launcher.start_runner(second)
    assert not open_packs(database)


def test_an_answer_does_not_bring_back_a_pack_whose_sweep_has_failed(
    database: Database, term: int, expanded: Expanded, launched: Any, launch: Launches
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    context = launch.launcher._context
    with database.write(term) as session:
        sweep_lifecycle.fail(session, sweep.id, "it cannot go on")
    answer = Poll(state="running", reports=[], progress={})
    RunnerPoller(context, SweepGuard(context), EtaKeeper(context))._handle(
        PollResult(pack.id, answer), pack, "its-runner"
    )
    assert not open_packs(database)


def test_a_trial_that_is_run_again_waits_for_no_pause_and_for_no_former_pack_mate(
    database: Database, expanded: Expanded, launch: Launches
) -> None:
    """Three failures of the infrastructure in a row are followed by a pause of 45 seconds, but not after a rerun."""
    sweep, _ = expanded(resources={"pack_size": 2})
    assert launch() == [sweep.id]
    with database.write() as session:
        for pack in packs.open_packs(session):
            for attempt in attempts.open_of_pack(session, pack.id).values():
                attempts.end(attempt, "failed", "infrastructure", "no data")
                trials.move(session, trials.get(session, attempt.trial_id), "failed", "no data")
            packs.end(pack)
        sweep_lifecycle.settle(session, sweep.id)
    with database.write() as session:
        reopening.rerun(session, sweep.id)
    launch()
    with database.read() as session:
        assert {trial.state for trial in trials.page(session, sweep.id)} == {"running"}
        numbers = [attempt.number for attempt in attempts.of_trial(session, f"{sweep.id}-0000")]
        assert numbers == [1, 2]
        assert [
            attempt.number for attempt in attempts.histories(session, [f"{sweep.id}-0000"])[f"{sweep.id}-0000"]
        ] == [2]
        assert attempts.with_first_cause(session, f"{sweep.id}-0000", "now") == "now"


def test_a_sweep_that_is_extended_while_it_runs_gets_its_trials(
    database: Database, url: str, term: int, expanded: Expanded
) -> None:
    """The controller has parsed the document before, and must not go on with that."""
    sweep, spec = expanded(
        search={"sampler": "random", "trials": 2}, space={"model.margin": {"low": 0.01, "high": 0.1}}
    )
    context = ReconcileContext(
        database, ObedientCluster("127.0.0.1:1", "test"), ControllerSettings(database_url=url), term
    )
    advancer = SweepAdvancer(context)
    advancer.advance(sweep.id)
    larger = spec.model_copy(update={"search": spec.search.model_copy(update={"trials": 5})})
    with database.write() as session:
        row = sweeps.get_locked(session, sweep.id)
        reopening.extend(session, row, larger.model_dump(mode="json"), 5, facts_of(larger), 1000)
    advancer.advance(sweep.id)
    with database.read() as session:
        assert trials.count(session, sweep.id) == 5
        assert context.spec(session, sweep.id).search.trials == 5


ALONE = {"resources": {"pack_size": 1}}


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A function that gives the node another number of CPUs."""
    return lambda number: monkeypatch.setattr(ObedientCluster, "cpus", number)


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


def test_a_pack_is_planned_for_a_node_with_memory_and_labels_for_its_runner(
    database: Database, term: int, expanded: Expanded, launch: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [Node("a", 4, 0, 2**34, {"zone": "a"}, "id-a"), Node("b", 4, 0, 2**34, {"zone": "b"}, "id-b")]
    started: list[Assignment] = []
    monkeypatch.setattr(ObedientCluster, "nodes", lambda _self: nodes)
    monkeypatch.setattr(ObedientCluster, "start", lambda _self, work, _name: started.append(work))
    expanded(resources={"pack_size": 4, "memory": "8 GiB", "labels": {"zone": "b"}})
    launch()
    assert [(work.node, work.memory, work.labels) for work in started] == [("id-b", 2**33, {"zone": "b"})]
    (pack,) = open_packs(database)
    assert (pack.node, pack.memory) == ("id-b", 2**33)
    answer = Poll(state="running", reports=[], progress={}, node="id-a")
    with database.write(term) as session:
        row = packs.get(session, pack.id)
        ingest.ingest(session, row, answer, Objective(metric="val/loss", direction="minimize"), RETRIES)
        assert row.node == "id-a", "where it really is"


def test_a_round_starts_no_more_packs_than_it_may_and_the_next_one_goes_on(
    database: Database, expanded: Expanded, launch: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "MOST_STARTS", 3)
    expanded(**ALONE)
    launch()
    assert (len(open_packs(database)), launch.launcher.behind) == (3, True)
    launch()
    assert (len(open_packs(database)), launch.launcher.behind) == (4, False)

"""Which sweeps a round of launching asks for trials, and what it launches of them. Ray always obeys."""

from __future__ import annotations

from typing import Any

import pytest

from service.controller import ingest, launching, retry_pauses, sweep_lifecycle
from service.controller.advancing import SweepAdvancer
from service.controller.cluster import Cluster
from service.controller.context import InvalidDocument, ReconcileContext
from service.controller.etas import EtaKeeper
from service.controller.guard import SweepGuard
from service.controller.node import Node
from service.controller.polling import RunnerPoller
from service.controller.runner_requests import PollResult
from service.settings import ControllerSettings
from service.store import attempts, owners, packs, reopening, sweeps, trials
from service.store.database import Database
from service.store.sweep_summary import facts_of
from tests.service.controller.conftest import Expanded
from tests.service.controller.launches import ALONE, RETRIES, Launches, ObedientCluster, lose, open_packs
from workers.protocol import Assignment, Poll
from workers.spec.trial import Objective


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
    RunnerPoller(context, SweepGuard(context), launch.launcher.refiller, EtaKeeper(context))._handle(
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

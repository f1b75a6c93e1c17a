"""Which sweeps a round of launching asks for trials, and what it launches of them. Ray always obeys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.controller import launching, lost_packs, retry_pauses, scheduling, sweep_lifecycle
from service.controller.advancing import SweepAdvancer
from service.controller.cluster import Cluster, Node
from service.controller.context import InvalidDocument, ReconcileContext
from service.controller.guard import SweepGuard
from service.controller.launching import PackLauncher
from service.controller.polling import RunnerPoller
from service.controller.runner_requests import PollResult
from service.settings import ControllerSettings
from service.store import attempts, owners, packs, reopening, sweeps, trials
from service.store.database import Database
from service.store.sweep_summary import facts_of
from service.store.tables import Pack, Sweep
from workers.protocol import Poll
from workers.spec.sweep import RetriesSpec, SweepSpec

Expanded = Callable[..., tuple[Sweep, SweepSpec]]
RETRIES = RetriesSpec()


class ObedientCluster(Cluster):
    """A cluster of one node with 8 CPUs, on which every runner starts."""

    def nodes(self) -> list[Node]:
        return [Node("here", cpus=8, gpus=0)]

    def start(self, assignment: Any, _name: str) -> Any:
        return object()


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


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
    assert launch() == [found[0].id]
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
    RunnerPoller(context, SweepGuard(context), launch.launcher.refiller)._handle(
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

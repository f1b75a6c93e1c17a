"""Packs that train get waiting trials: which, in what order, how they are sent, and what ends idle runners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.controller import commands, ingest, launching, lost_packs, retry_pauses, scheduling, sweep_lifecycle
from service.controller.cluster import Node
from service.controller.context import ReconcileContext
from service.controller.guard import SweepGuard
from service.controller.launching import PackLauncher
from service.controller.runners import find_runner_name
from service.settings import ControllerSettings
from service.store import attempts, owners, packs, sweeps, trials
from service.store.database import Database
from service.store.tables import Pack, Sweep
from tests.service.controller.launches import Clock, ObedientCluster
from workers.protocol import Command, Ended, Poll
from workers.spec.expand import objective
from workers.spec.sweep import RetriesSpec, SweepSpec

EIGHT = {
    "search": {"sampler": "random", "trials": 8},
    "space": {"model.margin": {"low": 0.01, "high": 0.1}},
    "resources": {"pack_size": 4},
}


class OneCpu(ObedientCluster):
    """A cluster that has room for ``cpus`` packs, and notes which runners were killed."""

    cpus = 1.0

    def nodes(self) -> list[Node]:
        return [Node("here", cpus=self.cpus, gpus=0)]

    def kill(self, name: str) -> None:
        self.killed.append(name)

    killed: list[str]


class Rounds:
    """Rounds of launching, with runners that answer what the test says."""

    def __init__(self, database: Database, url: str, term: int, clock: Clock) -> None:
        self.cluster = OneCpu("127.0.0.1:1", "test")
        self.cluster.killed = []
        self._database, self._term, self._clock, self._url = database, term, clock, url
        self.begin()

    def begin(self) -> None:
        """Begin as a new controller does: with nothing in mind."""
        self.context = ReconcileContext(
            self._database, self.cluster, ControllerSettings(database_url=self._url), self._term
        )
        self.sent: list[tuple[str, Command]] = []
        self.context.runners.command = lambda pack, command: self.sent.append((pack.id, command))  # type: ignore[method-assign]
        self.launcher = PackLauncher(self.context, SweepGuard(self.context))

    def __call__(self, seconds: float = 0.5) -> list[tuple[str, str, list[str]]]:
        """Do a round, and return what was sent: the pack, the verb and the trials of each command."""
        self._clock.now += seconds
        self.sent.clear()
        with self._database.read() as session:
            open_sweeps = sweeps.open_sweeps(session)
        self.launcher.launch(open_sweeps)
        return [(pack_id, command.verb, command.trial_ids) for pack_id, command in self.sent]

    def answers(self, pack: Pack, state: Any = "running", *, knows: list[str] | None = None) -> Poll:
        """Let a runner answer that it trains, or that it has, some trials: by default those that are its own."""
        with self._database.read() as session:
            own = attempts.open_of_pack(session, pack.id)
        poll = Poll(state=state, reports=[], progress=dict.fromkeys(own if knows is None else knows, 0))
        self.launcher.refiller.note(pack.id, poll)
        return poll


@pytest.fixture
def rounds(database: Database, url: str, term: int, monkeypatch: pytest.MonkeyPatch) -> Rounds:
    clock = Clock()
    for module in (launching, retry_pauses, commands):
        monkeypatch.setattr(module, "time", clock)
    return Rounds(database, url, term, clock)


@pytest.fixture
def end(database: Database, term: int) -> Callable[..., None]:
    """A function that ends trials of a sweep by their numbers."""

    def act(sweep: Sweep, *numbers: int, outcome: str = "pruned") -> None:
        with database.write(term) as session:
            for number in numbers:
                trial = trials.get(session, trials.id_of(sweep.id, number))
                attempt = attempts.open_of_pack(session, str(trial.pack_id))[trial.id]
                attempts.end(attempt, outcome, None, None)
                trials.move(session, trial, "waiting" if outcome in ("moved", "paused") else outcome)  # type: ignore[arg-type]

    return act


def names(sweep: Sweep, *numbers: int) -> list[str]:
    return [trials.id_of(sweep.id, number) for number in numbers]


def only_pack(database: Database) -> Pack:
    with database.read() as session:
        (pack,) = packs.open_packs(session)
    return pack


def running(database: Database, pack: Pack) -> list[str]:
    with database.read() as session:
        return sorted(attempts.open_of_pack(session, pack.id))


def test_places_of_trials_that_have_ended_are_taken_at_once(
    database: Database, expanded: Any, rounds: Rounds, end: Any
) -> None:
    sweep, _ = expanded(**EIGHT)
    assert rounds() == []
    pack = only_pack(database)
    assert rounds() == [], "a runner that has not answered yet gets nothing"
    rounds.answers(pack)
    assert rounds() == [], "it is full"
    end(sweep, 1, 3)
    assert rounds() == [(pack.id, "refill", names(sweep, 4, 5))]
    (_, command), *_ = rounds.sent
    assert [trial.spec.number for trial in command.trials] == [4, 5]
    assert command.trials[0].checkpoint_dir.endswith(f"{sweep.id}/{sweep.id}-0004")
    assert running(database, pack) == names(sweep, 0, 2, 4, 5)
    with database.read() as session:
        assert trials.get(session, names(sweep, 4)[0]).state == "running"
        assert packs.get(session, pack.id).trial_ids == names(sweep, 0, 1, 2, 3)


def test_what_a_runner_does_not_have_is_sent_again_also_by_a_successor(
    database: Database, expanded: Any, rounds: Rounds, end: Any
) -> None:
    sweep, _ = expanded(**EIGHT)
    rounds()
    pack = only_pack(database)
    rounds.answers(pack)
    end(sweep, 0)
    (_, _, given) = rounds()[0]
    first = rounds.sent[0][1].seq
    rounds.answers(pack, knows=names(sweep, 1, 2, 3))
    assert rounds() == [], "it may be on its way"
    assert rounds(commands.RESEND_SECONDS) == [(pack.id, "refill", given)]
    assert rounds.sent[0][1].seq > first
    rounds.begin()
    assert rounds() == [], "the runner has not told a successor what it has"
    rounds.answers(pack, knows=names(sweep, 1, 2, 3))
    assert rounds() == [(pack.id, "refill", given)]
    rounds.answers(pack)
    assert rounds(60.0) == []


def test_the_name_of_a_runner_stays_when_it_gets_a_trial_that_had_more_attempts(
    database: Database, term: int, expanded: Any, rounds: Rounds, end: Any, launched: Any
) -> None:
    sweep, spec = expanded(**EIGHT)
    pack = launched(sweep, spec, 0, 1)
    other = launched(sweep, spec, 2)
    with database.read() as session:
        name = find_runner_name(session, pack)
    for found in (pack, other):
        rounds.launcher.start_runner(found)
    end(sweep, 2, outcome="moved")
    rounds.answers(pack)
    assert rounds()[0] == (pack.id, "refill", names(sweep, 2, 3))
    with database.read() as session:
        assert attempts.open_of_pack(session, pack.id)[names(sweep, 2)[0]].number == 2
        assert find_runner_name(session, packs.get(session, pack.id)) == name


def test_an_idle_runner_gets_trials_or_is_ended(database: Database, expanded: Any, rounds: Rounds, end: Any) -> None:
    sweep, _ = expanded(**(EIGHT | {"search": {"sampler": "random", "trials": 6}}))
    rounds()
    pack = only_pack(database)
    end(sweep, 0, 1, 2)
    rounds.answers(pack, "idle")
    assert rounds() == [(pack.id, "refill", names(sweep, 3, 4, 5))]
    assert rounds.cluster.killed == []
    end(sweep, 3, 4, 5)
    rounds.answers(pack, "idle")
    assert rounds() == []
    assert rounds.cluster.killed == [f"pack-{pack.id}-a1"]
    with database.read() as session:
        assert packs.get(session, pack.id).state == "ended"
    assert rounds.context.ended


def test_the_trials_that_a_runner_never_took_wait_again_uncharged(
    database: Database, term: int, expanded: Any, rounds: Rounds, end: Any
) -> None:
    sweep, spec = expanded(**EIGHT)
    rounds()
    pack = only_pack(database)
    rounds.answers(pack)
    end(sweep, 0, 1, 2)
    rounds()
    last = names(sweep, 3)[0]
    with database.write(term) as session:
        reports = [Ended(seq=1, trial_id=last, step=100, outcome="succeeded")]
        for state in ("running", "idle"):
            poll = Poll(state=state, reports=[], progress={last: 99})  # type: ignore[arg-type]
            ingest.ingest(session, packs.get(session, pack.id), poll, objective(spec), spec.retries)
            assert len(attempts.open_of_pack(session, pack.id)) == 4, "they may be on their way"
        poll = Poll(state="ended", reports=list(reports), progress={last: 100})
        ingest.ingest(session, packs.get(session, pack.id), poll, objective(spec), spec.retries)
    with database.read() as session:
        for trial_id in names(sweep, 4, 5, 6):
            trial = trials.get(session, trial_id)
            assert trial.state == "waiting"
            assert trial.infrastructure_failures == trial.preemptions == trial.user_failures == 0
            assert attempts.of_trial(session, trial_id)[-1].outcome == "moved"
        assert trials.get(session, last).state == "succeeded"
        assert not attempts.open_of_pack(session, pack.id)


def test_a_sweep_that_waits_for_room_gets_the_places_of_those_after_it(
    database: Database, expanded: Any, rounds: Rounds, end: Any, launched: Any
) -> None:
    first, _ = expanded(**EIGHT)
    second, spec = expanded(**EIGHT)
    pack = launched(second, spec, 0, 1, 2, 3)
    rounds.launcher.start_runner(pack)
    end(second, 0, 1)
    rounds.answers(pack)
    assert rounds() == [], "the older sweep has no pack yet, and waits for room"
    end(second, 2, 3)
    rounds.answers(pack, "idle")
    rounds()
    with database.read() as session:
        assert [found.sweep_id for found in packs.open_packs(session)] == [first.id]


def test_while_there_is_room_a_younger_sweep_gets_its_places(
    database: Database, expanded: Any, rounds: Rounds, end: Any, launched: Any
) -> None:
    expanded(**EIGHT)
    second, spec = expanded(**EIGHT)
    rounds.cluster.cpus = 2.0
    pack = launched(second, spec, 0, 1, 2, 3)
    rounds.launcher.start_runner(pack)
    end(second, 0, 1)
    rounds.answers(pack)
    assert rounds() == [], "who waits is known after the first decision"
    assert rounds() == [(pack.id, "refill", names(second, 4, 5))]


@pytest.mark.parametrize("verb", ["pause", "stop", "cancel"])
def test_a_sweep_that_must_not_go_on_gets_nothing(
    verb: Any, database: Database, expanded: Any, rounds: Rounds, end: Any
) -> None:
    sweep, _ = expanded(**EIGHT)
    rounds()
    pack = only_pack(database)
    end(sweep, 0, 1)
    with database.write() as session:
        sweeps.apply(session, sweep.id, verb)
    rounds.answers(pack)
    assert rounds() == []


def test_a_trial_that_was_moved_goes_on_although_its_sweep_stops(
    database: Database, term: int, expanded: Any, rounds: Rounds, end: Any, launched: Any
) -> None:
    sweep, spec = expanded(**EIGHT)
    pack, other = launched(sweep, spec, 0, 1), launched(sweep, spec, 2)
    for found in (pack, other):
        rounds.launcher.start_runner(found)
    end(sweep, 2, outcome="moved")
    with database.write() as session:
        sweeps.apply(session, sweep.id, "stop")
    with database.write(term) as session:
        sweep_lifecycle.settle(session, sweep.id)
    rounds.answers(pack)
    rounds.answers(other, "idle")
    assert rounds() == [(pack.id, "refill", names(sweep, 2))], "not to the pack in which it was"
    assert rounds.cluster.killed == [f"pack-{other.id}-a1"]


def test_a_limit_of_the_owner_holds_for_places_too(database: Database, expanded: Any, rounds: Rounds, end: Any) -> None:
    sweep, _ = expanded(**EIGHT)
    with database.write() as session:
        owners.ensure(session, "ada")
        owners.limit(session, "ada", {"running_trials": 3})
        sweeps.get(session, sweep.id).owner = "ada"
    rounds()
    pack = only_pack(database)
    rounds.answers(pack)
    assert rounds() == [], "a fourth one is too many"
    end(sweep, 0)
    assert rounds() == [(pack.id, "refill", names(sweep, 3))]


def test_a_pack_that_was_lost_before_gets_no_company(
    database: Database, term: int, expanded: Any, rounds: Rounds, end: Any
) -> None:
    sweep, _ = expanded(**EIGHT)
    rounds()
    lost = only_pack(database)
    with database.write(term) as session:
        lost_packs.mark_lost(session, packs.get(session, lost.id), "process", "it crashed", RetriesSpec())
    rounds()
    pack = only_pack(database)
    assert running(database, pack) == names(sweep, 0, 1, 2, 3)
    end(sweep, 0, 1)
    rounds.answers(pack)
    assert rounds() == []


def test_trials_that_had_begun_do_not_wait_for_those_that_have_not(
    database: Database, term: int, expanded: Any, rounds: Rounds, end: Any, launched: Any
) -> None:
    """A lost pack gets the place of another pack of its sweep, which is therefore not filled any more."""
    sweep, spec = expanded(**EIGHT)
    pack, lost = launched(sweep, spec, 0, 1), launched(sweep, spec, 2, 3)
    for found in (pack, lost):
        rounds.launcher.start_runner(found)
    with database.write(term) as session:
        lost_packs.mark_lost(session, packs.get(session, lost.id), "process", "it crashed", RetriesSpec())
    end(sweep, 0)
    rounds.answers(pack)
    assert rounds() == []
    rounds.cluster.cpus = 3.0
    assert (pack.id, "refill", names(sweep, 4, 5, 6)) in rounds()


def test_while_checkpoints_cannot_be_written_no_trial_is_given(
    database: Database, expanded: Any, rounds: Rounds, end: Any
) -> None:
    sweep, _ = expanded(**EIGHT)
    rounds()
    pack = only_pack(database)
    end(sweep, 0)
    rounds.answers(pack)
    rounds.context.checkpoint_store.fail("the disk is full")
    assert rounds() == []


@pytest.mark.parametrize("successor", [False, True])
def test_half_empty_packs_are_merged_while_another_sweep_waits_and_the_moved_trials_get_their_places(
    database: Database, expanded: Any, rounds: Rounds, end: Any, launched: Any, successor: bool
) -> None:
    rounds.cluster.cpus = 2.0
    four = EIGHT | {"search": {"sampler": "random", "trials": 4}}
    sweep, spec = expanded(**four)
    packs_of_it = [launched(sweep, spec, 0, 1), launched(sweep, spec, 2, 3)]
    for found in packs_of_it:
        rounds.launcher.start_runner(found)
        rounds.answers(found)
    assert rounds() == [], "nobody waits"
    waiting, _ = expanded(**EIGHT)
    left, kept = packs_of_it
    assert rounds() == [], "the queue's policy notes that the other sweep waits"
    assert rounds() == [(left.id, "move", names(sweep, 0, 1))]
    assert rounds(commands.RESEND_SECONDS / 2) == []
    assert rounds(commands.RESEND_SECONDS / 2) == [(left.id, "move", names(sweep, 0, 1))]
    if successor:
        rounds.begin()  # it finds the trials on their way
    end(sweep, 0, 1, outcome="moved")
    rounds.answers(left, "idle")
    rounds.answers(kept)
    if successor:
        assert rounds() == [], "its first decision"
    assert rounds() == [(kept.id, "refill", names(sweep, 0, 1))]
    with database.read() as session:
        now = packs.open_packs(session)
        assert {pack.sweep_id for pack in now} == {sweep.id, waiting.id}
        assert left.id not in {pack.id for pack in now}


def test_packs_are_not_merged_for_a_sweep_that_needs_a_larger_place(
    database: Database, expanded: Any, rounds: Rounds, launched: Any
) -> None:
    rounds.cluster.cpus = 2.0
    sweep, spec = expanded(**(EIGHT | {"search": {"sampler": "random", "trials": 4}}))
    for numbers in ((0, 1), (2, 3)):
        pack = launched(sweep, spec, *numbers)
        rounds.launcher.start_runner(pack)
        rounds.answers(pack)
    expanded(**(EIGHT | {"resources": {"cpus": 2.0}}))
    assert rounds() == []


def test_a_refill_is_stored_before_it_is_sent_and_never_twice(
    database: Database, term: int, expanded: Any, rounds: Rounds, end: Any
) -> None:
    sweep, spec = expanded(**EIGHT)
    rounds()
    pack = only_pack(database)
    with database.write(term) as session:
        row = packs.get(session, pack.id)
        given = scheduling.refill_pack(session, row, names(sweep, 4, 5))
        assert [trial.id for trial in given] == names(sweep, 4, 5)
        assert scheduling.refill_pack(session, row, names(sweep, 4, 5)) == []
        packs.end(row)
        assert scheduling.refill_pack(session, row, names(sweep, 6)) == []
    assert isinstance(spec, SweepSpec)

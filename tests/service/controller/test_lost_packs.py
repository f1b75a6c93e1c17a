"""Lost packs: which trials are charged, which go on, and how the trial at fault is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.controller import lost_packs, scheduling, sweep_lifecycle
from service.controller.node import Node
from service.controller.placement import Capacity
from service.store import attempts, packs, sweeps, trials
from service.store.database import Database
from service.store.tables import Pack, Sweep, Trial
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec

TrialsOf = Callable[[Sweep], list[Trial]]


@pytest.fixture
def mark_lost(database: Database, term: int) -> Callable[..., None]:
    def store(pack: Pack, spec: SweepSpec, domain: attempts.FailureDomain = "process") -> None:
        with database.write(term) as session:
            lost_packs.mark_lost(session, session.get_one(Pack, pack.id), domain, "it is gone", spec.retries)

    return store


def test_a_pack_lost_with_several_trials_is_charged_to_none(
    expanded: Any, launched: Any, mark_lost: Any, trials_of: TrialsOf
) -> None:
    sweep, spec = expanded(retries={"infrastructure": 0})
    mark_lost(launched(sweep, spec, 0, 1), spec)
    assert [(t.state, t.infrastructure_failures) for t in trials_of(sweep)[:2]] == [("waiting", 0)] * 2


def test_a_trial_lost_alone_is_charged_until_its_retries_are_used_up(
    expanded: Any, launched: Any, mark_lost: Any, trials_of: TrialsOf
) -> None:
    sweep, spec = expanded(retries={"infrastructure": 2})
    for _ in range(2):
        mark_lost(launched(sweep, spec, 0), spec)
        assert trials_of(sweep)[0].state == "waiting"
    mark_lost(launched(sweep, spec, 0), spec)
    trial = trials_of(sweep)[0]
    assert trial.state == "failed"
    assert "failed 3 times, and retries.infrastructure allows 2" in str(trial.reason)


def test_a_lost_cluster_is_charged_to_no_trial(
    expanded: Any, launched: Any, mark_lost: Any, trials_of: TrialsOf
) -> None:
    sweep, spec = expanded(retries={"infrastructure": 0})
    mark_lost(launched(sweep, spec, 0), spec, "cluster")
    assert (trials_of(sweep)[0].state, trials_of(sweep)[0].infrastructure_failures) == ("waiting", 0)


@pytest.mark.parametrize("numbers", [(0,), (0, 1)])
def test_preemptions_have_a_budget_of_their_own(
    expanded: Any, launched: Any, mark_lost: Any, trials_of: TrialsOf, numbers: tuple[int, ...]
) -> None:
    sweep, spec = expanded(retries={"infrastructure": 0, "preemption": 2})
    for times in (1, 2):
        mark_lost(launched(sweep, spec, *numbers), spec, "preemption")
        found = [trials_of(sweep)[number] for number in numbers]
        assert {(t.state, t.preemptions, t.infrastructure_failures) for t in found} == {("waiting", times, 0)}
    mark_lost(launched(sweep, spec, *numbers), spec, "preemption")
    for number in numbers:
        trial = trials_of(sweep)[number]
        assert trial.state == "failed"
        assert "ended from outside 3 times, and retries.preemption allows 2" in str(trial.reason)


@pytest.mark.parametrize(("numbers", "charged"), [((0,), 1), ((0, 1), 0)])
def test_a_machine_without_memory_charges_only_a_trial_that_was_alone(
    expanded: Any, launched: Any, mark_lost: Any, trials_of: TrialsOf, numbers: tuple[int, ...], charged: int
) -> None:
    sweep, spec = expanded()
    mark_lost(launched(sweep, spec, *numbers), spec, "memory")
    assert [trials_of(sweep)[number].infrastructure_failures for number in numbers] == [charged] * len(numbers)


def test_the_first_cause_is_named_with_the_last_and_the_log_is_kept(
    database: Database, term: int, expanded: Any, launched: Any, trials_of: TrialsOf
) -> None:
    sweep, spec = expanded(retries={"infrastructure": 1})
    for reason in ("a spark in the power supply", "nobody\nknows: /srv/secret/place/run.py postgresql://me:pw@db/x"):
        pack = launched(sweep, spec, 0)
        with database.write(term) as session:
            lost_packs.mark_lost(session, session.get_one(Pack, pack.id), "process", reason, spec.retries)
    trial = trials_of(sweep)[0]
    assert "the last time its process was lost: nobody knows" in str(trial.reason)
    assert "attempt 1 was the first to go wrong: a spark in the power supply" in str(trial.reason)
    with database.read() as session:
        logs = [attempt.log for attempt in attempts.of_trial(session, trial.id)]
    assert logs == ["a spark in the power supply", "nobody\nknows: .../run.py postgresql://db/x"]


def test_a_lost_trial_of_a_cancelled_sweep_is_cancelled(
    database: Database, expanded: Any, launched: Any, mark_lost: Any, trials_of: TrialsOf
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    with database.write() as session:
        sweeps.apply(session, sweep.id, "cancel")
    mark_lost(pack, spec)
    assert trials_of(sweep)[0].state == "cancelled"


@pytest.fixture
def next_packs(database: Database, term: int) -> Callable[[Sweep, SweepSpec], list[list[int]]]:
    """A function that returns the packs that would be planned next, by the numbers of their trials."""

    def choose(sweep: Sweep, spec: SweepSpec) -> list[list[int]]:
        nodes = [Node("here", cpus=8, gpus=0)]
        with database.write(term) as session:
            waiting = scheduling.trials_to_run(session, sweep.id)
            trainable, _ = scheduling.split_trainable(waiting, lambda t: plan_trial(spec, t.number, t.params))
            groups = scheduling.next_packs(session, spec, trainable, Capacity(nodes))
            return [[trial.number for trial in group] for group in groups]

    return choose


EIGHT = {"space": {"training.seed": {"values": list(range(8))}}, "resources": {"pack_size": 8}}
DOMAINS: tuple[attempts.FailureDomain, ...] = ("process", "cluster", "preemption")


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_pack_that_is_lost_for_the_first_time_is_made_again_as_it_was(
    expanded: Any, launched: Any, mark_lost: Any, next_packs: Any, domain: attempts.FailureDomain
) -> None:
    sweep, spec = expanded(**EIGHT)
    mark_lost(launched(sweep, spec, 1, 4, 6), spec, domain)
    assert next_packs(sweep, spec) == [[1, 4, 6], [0, 2, 3, 5, 7]]


def test_packs_are_halved_from_the_second_loss_of_the_process_in_a_row_on(
    expanded: Any, launched: Any, mark_lost: Any, next_packs: Any
) -> None:
    sweep, spec = expanded(**EIGHT)
    mark_lost(launched(sweep, spec, *range(8)), spec)
    mark_lost(launched(sweep, spec, *range(8)), spec, "cluster")
    mark_lost(launched(sweep, spec, *range(8)), spec)
    assert next_packs(sweep, spec) == [list(range(8))], "the losses of the process were not in a row"
    mark_lost(launched(sweep, spec, *range(8)), spec)
    assert next_packs(sweep, spec) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    mark_lost(launched(sweep, spec, 0, 1, 2, 3), spec)
    assert next_packs(sweep, spec)[:2] == [[0, 1], [2, 3]]


def test_a_pack_for_which_memory_was_too_short_is_halved_at_once(
    expanded: Any, launched: Any, mark_lost: Any, next_packs: Any
) -> None:
    sweep, spec = expanded(**EIGHT)
    mark_lost(launched(sweep, spec, *range(8)), spec, "memory")
    assert next_packs(sweep, spec) == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("poison", range(8))
def test_a_poison_trial_is_found_by_halving_and_the_others_finish(
    database: Database, term: int, expanded: Any, mark_lost: Any, trials_of: TrialsOf, poison: int
) -> None:
    space = {"training.seed": {"values": list(range(8))}}
    sweep, spec = expanded(space=space, resources={"pack_size": 8}, retries={"infrastructure": 1})
    nodes = [Node("here", cpus=2, gpus=0)]
    rounds = 0
    while any(trial.state == "waiting" for trial in trials_of(sweep)):
        rounds += 1
        assert rounds < 10
        with database.write(term) as session:
            waiting = scheduling.trials_to_run(session, sweep.id)
            trainable, _ = scheduling.split_trainable(waiting, lambda t: plan_trial(spec, t.number, t.params))
            groups = scheduling.next_packs(session, spec, trainable, Capacity(nodes))
            ids = [[trial.id for trial in group] for group in groups[:2]]
            started = [scheduling.plan_pack(session, sweep.id, group, spec, term) for group in ids]
        for pack in started:
            assert pack is not None
            if f"{sweep.id}-{poison:04d}" in pack.trial_ids:
                mark_lost(pack, spec)
                continue
            with database.write(term) as session:
                for trial_id, attempt in attempts.open_of_pack(session, pack.id).items():
                    attempts.end(attempt, "succeeded", None, None)
                    trials.move(session, session.get_one(Trial, trial_id), "succeeded")
                packs.end(session.get_one(Pack, pack.id))
    ended = {trial.number: trial.state for trial in trials_of(sweep)}
    assert ended == {number: "failed" if number == poison else "succeeded" for number in range(8)}
    with database.write(term) as session:
        sweep_lifecycle.settle(session, sweep.id)
        assert sweeps.get(session, sweep.id).state == "succeeded"


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ("Worker unexpectedly exits with a connection error code 2. End of file.", "its process was killed or crashed"),
        ("Task was killed due to the node running low on memory.", "its machine was running out of memory"),
        ("Owner's node has crashed", "its process ended: Owner's node has crashed"),
    ],
)
def test_what_ray_says_of_a_worker_s_end_is_put_in_words(detail: str, words: str) -> None:
    message = f"The actor died.\n Worker exit type: SYSTEM_ERROR Worker exit detail: {detail}"
    assert words in lost_packs.one_line(message)
    assert "End of file" not in lost_packs.one_line(message)

"""Lost packs: which trials are charged, which go on, and how the trial at fault is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.controller import lost_packs, scheduling, sweep_lifecycle
from service.controller.cluster import Node
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


def test_a_lost_trial_of_a_cancelled_sweep_is_cancelled(
    database: Database, expanded: Any, launched: Any, mark_lost: Any, trials_of: TrialsOf
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    with database.write() as session:
        sweeps.apply(session, sweep.id, "cancel")
    mark_lost(pack, spec)
    assert trials_of(sweep)[0].state == "cancelled"


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
        assert rounds < 20
        with database.write(term) as session:
            waiting = scheduling.trials_to_run(session, sweep.id)
            trainable, _ = scheduling.split_trainable(waiting, lambda t: plan_trial(spec, t.number, t.params))
            groups = scheduling.next_packs(session, spec, trainable, scheduling.free_capacity(session, nodes))
            started = [scheduling.plan_pack(session, sweep.id, [t.id for t in group], spec, term) for group in groups]
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

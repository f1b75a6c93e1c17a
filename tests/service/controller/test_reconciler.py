"""The reconciler with a real Ray: what one controller has begun is finished by the next one, and never done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from sqlalchemy import func, select, update

from service.api import presenters
from service.controller import scheduling, sweep_lifecycle
from service.controller.cluster import Cluster
from service.controller.reconciler import Reconciler
from service.settings import ApiSettings, ControllerSettings
from service.states import SWEEP_ENDED
from service.store import leases, owners, packs, reports, sweeps
from service.store.database import Database
from service.store.tables import Attempt, Pack, Sweep, Trial
from tests.service.controller.ray_head import connect, ray_head

# Ray leaves sockets and pipes to the garbage collector
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::FutureWarning"
)
QUICK = {"training": {"steps": 20, "report_every": 5}, "resources": {"pack_size": 2}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A connection to a Ray head for these tests."""
    with ray_head(tmp_path_factory.mktemp("ray") / "home") as (head, address):
        found = Cluster(address, "test")
        try:
            connect(found, head)
            yield found
        finally:
            found.close()


@pytest.fixture
def settings(url: str, tmp_path: Path) -> ControllerSettings:
    return ControllerSettings(database_url=url, checkpoint_dir=tmp_path / "checkpoints")


@pytest.fixture
def reconciler(database: Database, cluster: Cluster, settings: ControllerSettings, term: int) -> Reconciler:
    return Reconciler(database, cluster, settings, term)


def tick_until(reconciler: Reconciler, done: Callable[[], bool], seconds: float = 90.0) -> bool:
    """Tick until ``done``, and return whether a pack or a sweep has ended in the last tick."""
    deadline, ended = time.monotonic() + seconds, False
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        ended = reconciler.tick(0.1)
    return ended


def state(database: Database, sweep: Sweep) -> str:
    with database.read() as session:
        return sweeps.get(session, sweep.id).state


def outcomes(database: Database) -> list[str | None]:
    with database.read() as session:
        return list(session.scalars(select(Attempt.outcome)))


def test_a_pack_planned_by_a_controller_that_died_gets_its_runner(
    database: Database, reconciler: Reconciler, expanded: Any, launched: Any
) -> None:
    sweep, spec = expanded(**QUICK)
    launched(sweep, spec, 0, 1)
    assert tick_until(reconciler, lambda: state(database, sweep) == "succeeded")
    assert not reconciler.tick(0.1)
    assert outcomes(database) == ["succeeded"] * 4


def test_a_runner_made_by_a_controller_that_died_is_adopted(
    database: Database,
    cluster: Cluster,
    settings: ControllerSettings,
    reconciler: Reconciler,
    expanded: Any,
    launched: Any,
) -> None:
    sweep, spec = expanded(**QUICK)
    pack = launched(sweep, spec, 0, 1)
    reconciler.launcher.start_runner(pack)
    with database.write() as session:  # as if it had died before it stored this
        session.execute(update(Pack).values(state="planned"))
        term = leases.acquire(session, "test", 600)
    assert term is not None
    assert cluster.runners().count(f"pack-{pack.id}-a1") == 1
    successor = Reconciler(database, cluster, settings, term)
    tick_until(successor, lambda: state(database, sweep) == "succeeded")
    assert outcomes(database) == ["succeeded"] * 4
    reconciler.launcher.start_runner(pack)  # by the first one, which was stopped and goes on where it was
    assert cluster.find(f"pack-{pack.id}-a1") is None


def test_runners_that_somebody_ends_in_ray_count_as_preempted(
    database: Database, cluster: Cluster, settings: ControllerSettings, reconciler: Reconciler, expanded: Any
) -> None:
    """The namespace is emptied twice: while this controller looks on, and before the next one looks."""
    training = {"steps": 100_000, "report_every": 10, "checkpoint_every": 1000}  # it is cancelled in the end
    sweep, _ = expanded(training=training, resources={"pack_size": 2}, retries={"infrastructure": 0})
    for times in (1, 2):
        tick_until(reconciler, lambda: trains(database, sweep) and len(of_sweep(cluster, sweep)) == 2)
        for name in of_sweep(cluster, sweep):
            ray.kill(cluster.find(name))
        if times == 2:
            with database.write() as session:
                term = leases.acquire(session, "test", 600)
            assert term is not None
            reconciler = Reconciler(database, cluster, settings, term)
        tick_until(reconciler, lambda times=times: outcomes(database).count("lost") == 4 * times)  # type: ignore[misc]
    with database.read() as session:
        lost_ones = list(session.scalars(select(Attempt).where(Attempt.outcome == "lost")))
        assert {attempt.cause for attempt in lost_ones} == {"preemption"}
        assert {attempt.reason for attempt in lost_ones} == {"its runner was ended from outside, by an order to Ray"}
        assert set(session.scalars(select(Trial.infrastructure_failures))) == {0}
        assert set(session.scalars(select(Trial.preemptions))) == {2}
    with database.write() as session:
        sweeps.apply(session, sweep.id, "cancel")
    tick_until(reconciler, lambda: state(database, sweep) == "cancelled")


def test_a_connection_that_is_made_again_finds_the_runners_of_the_same_cluster(
    database: Database, cluster: Cluster, reconciler: Reconciler, expanded: Any
) -> None:
    training = {"steps": 100_000, "report_every": 5, "checkpoint_every": 1000}  # it is cancelled in the end
    sweep, _ = expanded(training=training, resources={"pack_size": 4})
    tick_until(reconciler, lambda: trains(database, sweep))
    before = cluster.identity
    cluster.close()
    reconciler.tick(0.1)
    cluster.connect()
    assert cluster.identity == before
    reached = steps(database, sweep)
    tick_until(reconciler, lambda: steps(database, sweep) > reached)
    assert outcomes(database) == [None] * 4
    with database.write() as session:
        sweeps.apply(session, sweep.id, "cancel")
    tick_until(reconciler, lambda: state(database, sweep) == "cancelled")


def steps(database: Database, sweep: Sweep) -> int:
    """Return how many steps the trials of a sweep have reported, all together."""
    with database.read() as session:
        return sum(session.scalars(select(Trial.step).where(Trial.sweep_id == sweep.id)))


class RunnerOfAnotherVersion:
    """A runner whose answers have a field that this version does not know."""

    def poll(self, _after_seq: int, _term: int) -> dict[str, Any]:
        return {"state": "running", "reports": [], "progress": {}, "mood": "fine"}


def test_a_runner_of_another_version_is_replaced_and_ends_no_term(
    database: Database, cluster: Cluster, reconciler: Reconciler, expanded: Any, launched: Any
) -> None:
    sweep, spec = expanded(**(QUICK | {"retries": {"infrastructure": 0, "user": 0}}))
    pack = launched(sweep, spec, 0, 1)
    name = f"pack-{pack.id}-a1"
    other = ray.remote(RunnerOfAnotherVersion)
    handle = other.options(name=name, namespace="test", lifetime="detached", num_cpus=0).remote()
    ray.get(handle.poll.remote(0, 1))
    tick_until(reconciler, lambda: state(database, sweep) == "succeeded")
    assert cluster.find(name) is None
    with database.read() as session:
        first = session.get_one(Attempt, (pack.trial_ids[0], 1))
        assert (first.outcome, first.cause) == ("lost", "preemption")
        assert "of another version, whose answers this one cannot read: mood" in str(first.reason)


def trains(database: Database, sweep: Sweep) -> bool:
    """Return whether a trial of a sweep runs and has reported metrics."""
    with database.read() as session:
        rows = list(session.scalars(select(Trial).where(Trial.sweep_id == sweep.id)))
    return any(row.state == "running" and row.step > 0 for row in rows)


def of_sweep(cluster: Cluster, sweep: Sweep) -> list[str]:
    """Return the names of the runners of a sweep."""
    return [name for name in cluster.runners() if sweep.id in name]


def test_a_sweep_whose_spec_is_broken_fails_alone(
    database: Database, reconciler: Reconciler, new_sweep: Callable[..., Sweep]
) -> None:
    broken, sound = new_sweep(), new_sweep(**QUICK)
    with database.write() as session:
        row = session.get_one(Sweep, broken.id)
        row.spec = row.spec | {"model": {"kind": "abacus"}}
    tick_until(reconciler, lambda: state(database, sound) == "succeeded")
    with database.read() as session:
        ended = sweeps.get(session, broken.id)
        assert ended.state == "failed"
        assert "model.kind" in str(ended.reason)


def test_trials_whose_values_do_not_go_together_fail_alone(
    database: Database, reconciler: Reconciler, new_sweep: Callable[..., Sweep]
) -> None:
    values = {"model.reflectors": {"values": [2, 8]}, "model.hidden_size": {"values": [4, 64]}}
    mixed, hopeless, sound = new_sweep(**QUICK), new_sweep(**QUICK), new_sweep(**QUICK)
    with database.write() as session:
        for sweep, space in ((mixed, values), (hopeless, values | {"model.hidden_size": {"values": [4]}})):
            row = session.get_one(Sweep, sweep.id)
            if sweep is hopeless:
                space["model.reflectors"] = {"values": [8]}
            row.spec = row.spec | {"space": space, "search": {"sampler": "random", "trials": 8, "seed": 0}}
            row.trial_count = 8
    open_ones = (mixed, hopeless, sound)
    tick_until(reconciler, lambda: all(state(database, sweep) in SWEEP_ENDED for sweep in open_ones))
    assert [state(database, sweep) for sweep in open_ones] == ["succeeded", "failed", "succeeded"]
    with database.read() as session:
        for trial in session.scalars(select(Trial).where(Trial.sweep_id == mixed.id)):
            wrong = trial.params == {"model.reflectors": 8, "model.hidden_size": 4}
            assert trial.state == ("failed" if wrong else "succeeded")
            assert ("8 reflectors exceed hidden_size" in (trial.reason or "")) == wrong
        reason = sweeps.get(session, hopeless.id).reason or ""
    assert reason.startswith("no trial gave a result (8 failed); trial 0: space.model.reflectors: 8 reflectors exceed ")


def test_an_action_that_always_fails_ends_its_sweep_alone(
    database: Database, reconciler: Reconciler, new_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, sound = new_sweep(), new_sweep(**QUICK)
    sort = scheduling.split_trainable

    def slip(candidates: Any, plan: Any) -> Any:
        if candidates[0].sweep_id == bad.id:
            raise KeyError("an unexpected error")
        return sort(candidates, plan)

    monkeypatch.setattr(scheduling, "split_trainable", slip)
    tick_until(reconciler, lambda: state(database, sound) == "succeeded" and state(database, bad) == "failed")
    with database.read() as session:
        assert "an unexpected error" in (sweeps.get(session, bad.id).reason or "")


def test_early_stopping_prunes_the_worse_and_the_sweep_succeeds(
    database: Database, reconciler: Reconciler, new_sweep: Callable[..., Sweep]
) -> None:
    sweep = new_sweep(
        training={"steps": 800, "report_every": 20},
        early_stopping={"kind": "asha", "reduction": 2, "min_steps": 20},
        resources={"pack_size": 4},
    )
    tick_until(reconciler, lambda: state(database, sweep) == "succeeded")
    with database.read() as session:
        ended = list(session.scalars(select(Trial).where(Trial.sweep_id == sweep.id)))
    pruned = [trial for trial in ended if trial.state == "pruned"]
    assert pruned
    assert all(trial.step < 800 and "asha" in str(trial.reason) for trial in pruned)
    best = min(trial.objective for trial in ended if trial.objective is not None)
    assert best == min(trial.objective for trial in ended if trial.state == "succeeded" and trial.objective is not None)


def test_trials_at_their_target_have_succeeded_before_their_last_step(
    database: Database, reconciler: Reconciler, new_sweep: Callable[..., Sweep]
) -> None:
    training = QUICK["training"] | {"target": 1e6}
    sweep = new_sweep(**(QUICK | {"training": training, "early_stopping": {"kind": "asha", "min_steps": 5}}))
    tick_until(reconciler, lambda: state(database, sweep) == "succeeded")
    with database.read() as session:
        ended = list(session.scalars(select(Trial).where(Trial.sweep_id == sweep.id)))
        shown = presenters.sweep(session, sweeps.get(session, sweep.id), ApiSettings(database_url="sqlite://"))
        assert all("test/loss" in reports.of_trial(session, trial.id)[-1].values for trial in ended)
    assert {(trial.state, trial.step, trial.best_step) for trial in ended} == {("succeeded", 5, 5)}
    assert all("reached training.target 1e+06 at step 5 of 20" in str(trial.reason) for trial in ended)
    assert shown["progress"] == {"done": 20, "total": 20}


def test_a_sweep_that_no_node_can_hold_waits_with_a_message_while_others_run(
    database: Database, cluster: Cluster, reconciler: Reconciler, new_sweep: Callable[..., Sweep]
) -> None:
    large, small = new_sweep(resources={"cpus": 64.0}), new_sweep(**QUICK)
    tick_until(reconciler, lambda: state(database, small) == "succeeded")
    assert state(database, large) == "running"
    with database.read() as session:
        assert scheduling.stalled_sweeps(session, cluster.nodes()) == [
            f"no node is large enough for {large.id}, which needs 64 CPUs"
        ]
        assert [p for p in packs.open_packs(session) if p.sweep_id == large.id] == []


def test_a_pack_runs_with_memory_on_the_node_with_its_labels(
    database: Database, cluster: Cluster, reconciler: Reconciler, new_sweep: Callable[..., Sweep]
) -> None:
    (node,) = cluster.nodes()
    assert (node.cpus, node.labels["ray.io/node-id"]) == (2.0, node.id)
    assert node.memory > 2**28
    suited = {"memory": "256 MiB", "labels": {"ray.io/node-id": f"in({node.id})", "zone": "!a"}}
    here = new_sweep(**QUICK | {"resources": suited | {"pack_size": 4}})
    elsewhere = new_sweep(**QUICK | {"resources": {"labels": {"zone": "a"}}})
    tick_until(reconciler, lambda: state(database, here) == "succeeded")
    with database.read() as session:
        (pack,) = session.scalars(select(Pack).where(Pack.sweep_id == here.id))
        assert (pack.node, pack.memory) == (node.id, 2**28)
        assert scheduling.stalled_sweeps(session, cluster.nodes()) == [
            f"no node is large enough for {elsewhere.id}, which needs 1 CPU on a node with zone: a"
        ]


def test_a_verb_between_choice_and_launch_wins(database: Database, term: int, expanded: Any) -> None:
    sweep, spec = expanded()
    with database.write() as session:
        sweeps.apply(session, sweep.id, "pause")
    with database.write(term) as session:
        assert scheduling.plan_pack(session, sweep.id, [f"{sweep.id}-0000"], spec, term) is None
        sweep_lifecycle.settle(session, sweep.id)
        assert sweeps.get(session, sweep.id).state == "paused"


def test_a_sweep_stopped_between_settling_and_launch_starts_no_trial_that_never_began(
    database: Database, term: int, expanded: Any
) -> None:
    sweep, spec = expanded(**QUICK)
    with database.write() as session:
        sweeps.apply(session, sweep.id, "stop")
    with database.write(term) as session:
        chosen = scheduling.trials_to_run(session, sweep.id)
        assert chosen, "settle has not run yet, so its trials still wait"
        assert scheduling.plan_pack(session, sweep.id, [trial.id for trial in chosen], spec, term) is None


def test_an_owner_trains_no_more_trials_at_a_time_than_they_may_and_others_do_not_wait(
    database: Database, reconciler: Reconciler, expanded: Any
) -> None:
    one_by_one = QUICK | {"resources": {"pack_size": 1}, "space": {"model.margin": {"values": [0.01, 0.1]}}}
    first, second, other = (expanded(**one_by_one)[0] for _ in range(3))
    with database.write() as session:
        owners.ensure(session, "ada")
        owners.limit(session, "ada", {"running_trials": 1})
        session.execute(update(Sweep).where(Sweep.id.in_([first.id, second.id])).values(owner="ada"))
    seen: list[dict[str, int]] = []

    def ended() -> bool:
        with database.read() as session:
            running = select(Sweep.owner, func.count()).join(Trial, Trial.sweep_id == Sweep.id)
            counted = session.execute(running.where(Trial.state == "running").group_by(Sweep.owner))
            seen.append(dict(counted.all()))
        return {state(database, sweep) for sweep in (first, second, other)} == {"succeeded"}

    tick_until(reconciler, ended, 240)
    assert max(found.get("ada", 0) for found in seen) == 1
    assert any(found.keys() == {"ada", "local"} for found in seen)

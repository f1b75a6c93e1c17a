"""When a running sweep is expected to end, from what its runners measure, and what packs leave for later estimates."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.controller import etas, sweep_lifecycle
from service.controller.cluster import Cluster
from service.controller.context import ReconcileContext
from service.controller.cost_records import FEWEST_STEPS, measured_costs
from service.controller.etas import ETA_SECONDS, EtaKeeper
from service.controller.guard import SweepGuard
from service.controller.launching import PackLauncher
from service.controller.polling import RunnerPoller
from service.controller.runner_requests import PollResult
from service.estimates.pack_schedule import REFILL_SECONDS
from service.settings import ControllerSettings
from service.store import components, cost_samples, packs, sweeps, trials
from service.store.database import Database
from service.store.tables import Event, Pack, Sweep
from tests.service.api.test_sweeps import rows
from tests.service.controller.conftest import Expanded, Launched
from workers.protocol import Ended, PackTimes, Poll, SizeTimes
from workers.spec.expand import plan_trials

SIZES = [SizeTimes(rows=2, steps=40, step_seconds=0.1, evaluations=4, evaluation_seconds=2.0)]


def times(sizes: list[SizeTimes] = SIZES, **changes: Any) -> PackTimes:
    fields: dict[str, Any] = {
        "device": "cpu: test",
        "age_seconds": 10.0,
        "ready_seconds": 2.0,
        "warm_up_seconds": 0.5,
        "sizes": sizes,
        "checkpoints": 4,
        "checkpoint_seconds": 0.2,
        "peak_bytes": 300_000_000,
    }
    return PackTimes(**fields | changes)


class QuietCluster:
    """A connected cluster in which a runner can be ended."""

    connected, connections = True, 1

    def kill(self, name: str) -> None:
        """Do nothing."""


@pytest.fixture
def context(database: Database, term: int, url: str) -> ReconcileContext:
    return ReconcileContext(database, cast(Cluster, QuietCluster()), ControllerSettings(database_url=url), term)


@pytest.fixture
def two_of_four(database: Database, expanded: Expanded, launched: Launched) -> tuple[Sweep, Pack]:
    """A running sweep of four trials, on a node for one pack; its first pack has two of them."""
    # 100 steps, a report and a checkpoint after every 5
    sweep, spec = expanded(resources={"pack_size": 2}, space={"training.seed": [0, 1, 2, 3]})
    pack = launched(sweep, spec, 0, 1)
    with database.write() as session:
        components.note(session, "ray", True, "1 node", {"nodes": [{"name": "a", "cpus": 1.0, "gpus": 0.0}]})
        packs.mark_started(session, pack.id)
    return sweep, pack


def answer(pack: Pack, done: int, **changes: Any) -> Poll:
    return Poll(state="running", reports=[], progress=dict.fromkeys(pack.trial_ids, done), times=times(**changes))


def eta(database: Database, sweep: Sweep) -> float | None:
    with database.read() as session:
        return sweeps.get(session, sweep.id).eta_at


def test_the_end_is_that_of_the_running_pack_and_of_those_that_wait(
    database: Database, context: ReconcileContext, two_of_four: tuple[Sweep, Pack]
) -> None:
    sweep, pack = two_of_four
    keeper, events = EtaKeeper(context), rows(database, Event)
    keeper.update()
    assert eta(database, sweep) is None  # no runner has answered yet
    keeper.note(pack, answer(pack, 40))
    keeper.update()
    # each step takes 0.1 s, and at every fifth step 0.5 s for the report and 0.05 s for each of two checkpoints
    whole = 100 * 0.1 + 20 * (0.5 + 2 * 0.05)
    found = eta(database, sweep)
    assert found is not None
    # those that wait go on in the same process
    assert found - time.time() == pytest.approx(0.6 * whole + REFILL_SECONDS + whole, abs=2.0)
    assert rows(database, Event) == events


def test_packs_that_other_workers_could_train_do_not_wait(
    database: Database, context: ReconcileContext, two_of_four: tuple[Sweep, Pack]
) -> None:
    sweep, pack = two_of_four
    with database.write() as session:
        components.note(session, "ray", True, "1 node", {"nodes": [{"name": "a", "cpus": 2.0, "gpus": 0.0}]})
    keeper = EtaKeeper(context)
    keeper.note(pack, answer(pack, 40))
    keeper.update()
    found = eta(database, sweep)
    assert found is not None
    # both of the waiting trials in one pack beside the running one: pack_size 2; its start is what is assumed of all
    assert found - time.time() == pytest.approx(5.0 + 100 * 0.1 + 20 * 0.6, abs=2.0)


def test_the_own_rate_counts_and_not_that_of_earlier_sweeps(
    database: Database, context: ReconcileContext, two_of_four: tuple[Sweep, Pack]
) -> None:
    sweep, pack = two_of_four
    with database.write() as session:
        specs = [plan.require_spec() for plan in plan_trials(context.spec(session, sweep.id))]
        slow = measured_costs(pack, times([SIZES[0].model_copy(update={"step_seconds": 9.0})]), specs[:2])
        cost_samples.add(session, slow)
    keeper = EtaKeeper(context)
    keeper.note(pack, answer(pack, 100 - FEWEST_STEPS))
    keeper.update()
    found = eta(database, sweep)
    assert found is not None
    assert found - time.time() < 60


def test_a_sweep_that_changes_its_state_has_no_estimate_until_the_next(
    database: Database, context: ReconcileContext, two_of_four: tuple[Sweep, Pack], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, pack = two_of_four
    keeper = EtaKeeper(context)
    keeper.note(pack, answer(pack, 40))
    keeper.update()
    assert eta(database, sweep) is not None
    with database.write() as session:
        sweeps.apply(session, sweep.id, "pause")
    assert eta(database, sweep) is None
    # not even if it was computed before
    with database.write() as session:
        sweeps.note_eta(session, sweep.id, 5.0)
    assert eta(database, sweep) is None
    with database.write() as session:
        sweeps.apply(session, sweep.id, "resume")
    keeper.update()
    assert eta(database, sweep) is None  # it is not its turn again yet
    later = time.monotonic() + ETA_SECONDS
    monkeypatch.setattr(etas.time, "monotonic", lambda: later)
    keeper.update()
    assert eta(database, sweep) is not None


def test_a_stopping_sweep_waits_for_its_running_trials_alone(
    database: Database, context: ReconcileContext, two_of_four: tuple[Sweep, Pack]
) -> None:
    sweep, pack = two_of_four
    with database.write() as session:
        sweeps.apply(session, sweep.id, "stop")
    keeper = EtaKeeper(context)
    keeper.note(pack, answer(pack, 40))
    keeper.update()
    found = eta(database, sweep)
    assert found is not None
    assert found - time.time() == pytest.approx(0.6 * 22, abs=2.0)


def test_a_pack_that_was_ended_without_an_answer_is_forgotten(
    database: Database,
    context: ReconcileContext,
    two_of_four: tuple[Sweep, Pack],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sweep, pack = two_of_four
    keeper = EtaKeeper(context)
    keeper.note(pack, answer(pack, 40))
    with database.write() as session:
        sweep_lifecycle.fail(session, sweep.id, "it cannot go on")
    keeper.update()
    assert keeper._looks == {}
    assert eta(database, sweep) is None
    assert caplog.records == []


def test_an_estimate_that_fails_harms_no_sweep(
    database: Database, context: ReconcileContext, two_of_four: tuple[Sweep, Pack], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, pack = two_of_four

    def fail(*_arguments: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(etas, "seconds_of", fail)
    keeper = EtaKeeper(context)
    keeper.note(pack, answer(pack, 40))
    keeper.update()
    assert eta(database, sweep) is None


def test_a_pack_that_ends_leaves_what_it_cost(
    database: Database,
    context: ReconcileContext,
    two_of_four: tuple[Sweep, Pack],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, pack = two_of_four
    poller = RunnerPoller(
        context, SweepGuard(context), PackLauncher(context, SweepGuard(context)).refiller, EtaKeeper(context)
    )
    with database.write() as session:
        row = packs.get(session, pack.id)
        now = row.created_at
        row.created_at -= 14.0
    monkeypatch.setattr(packs, "time", SimpleNamespace(time=lambda: now))
    ends = [
        Ended(seq=number, trial_id=trial_id, step=100, outcome="succeeded")
        for number, trial_id in enumerate(pack.trial_ids, 1)
    ]
    small = SizeTimes(rows=1, steps=20, step_seconds=0.07, evaluations=0, evaluation_seconds=0.0)
    few = SizeTimes(rows=3, steps=FEWEST_STEPS - 1, step_seconds=0.2, evaluations=0, evaluation_seconds=0.0)
    progress = dict.fromkeys(pack.trial_ids, 100)
    whole = Poll(state="ended", reports=list(ends), progress=progress, times=times([small, *SIZES]))
    for _ in range(2):  # an answer that comes twice counts once
        poller._handle(PollResult(pack.id, whole), row, "its-runner")
    with database.read() as session:
        found = cost_samples.known(session, on_gpu=False)
        specs = [context.plan(session, trial).require_spec() for trial in trials.some(session, pack.trial_ids)]
    assert [(cost.size, cost.trials, cost.steps, cost.step_seconds) for cost in found] == [
        (1, 1, 20, 0.07),
        (2, 2, 40, 0.1),
    ]
    alone, both = found
    assert alone.work == pytest.approx(both.work / 2)
    assert (alone.evaluation_seconds, alone.start_seconds, alone.peak_bytes) == (None, None, None)
    assert (both.evaluation_seconds, both.checkpoint_seconds, both.peak_bytes) == (0.5, 0.05, 300_000_000)
    # 14 s from the plan to the end, of which the runner lived 10; it was ready after 2, and warm half a second later
    assert both.start_seconds == pytest.approx(4.0 + 2.0 + 0.5, abs=1e-3)
    assert measured_costs(row, times([few]), specs) == []

"""Sweeps with repeats in the controller: their trials, crashes between parts of them, and early stopping of points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.controller import commands, sweep_lifecycle
from service.controller.advancing import SweepAdvancer
from service.controller.cluster import Cluster, Node
from service.controller.context import ReconcileContext
from service.controller.placement import Capacity
from service.controller.scheduling import next_packs
from service.settings import ControllerSettings
from service.states import TrialState
from service.store import reports, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from tests.service.controller.test_search import SPACE, run_sweep
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec

Expanded = Callable[..., tuple[Sweep, SweepSpec]]
MARGINS = {"model.margin": [0.01, 0.02, 0.05, 0.1]}
ASHA = {"kind": "asha", "reduction": 2, "min_steps": 10}


@pytest.mark.parametrize("name", ["tpe", "cma_es"])
def test_a_controller_that_dies_between_ask_and_commit_changes_no_point(
    database: Database, term: int, new_sweep: Any, name: str
) -> None:
    for seed in range(20):
        options = {"startup_trials": 2, "concurrent": 2}
        search = {"sampler": name, "trials": 5, "seed": seed, "options": options}
        first, second = (new_sweep(space=SPACE, search=search, repeats=2) for _ in range(2))
        values, order = run_sweep(database, term, first, None, seed)
        assert len(values) == 10
        assert run_sweep(database, term, second, order, seed)[0] == values


def test_all_trials_of_a_point_are_created_in_one_transaction(
    database: Database, term: int, new_sweep: Any, trials_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_lifecycle, "MOST_CREATED", 5)
    sweep = new_sweep(space=MARGINS, repeats=3)
    spec, counts, more = SweepSpec.model_validate(sweep.spec), list[int](), list[bool]()
    for _ in range(5):
        with database.write(term) as session:
            more.append(sweep_lifecycle.expand(session, sweep.id, spec))
        counts.append(len(trials_of(sweep)))
    assert counts == [3, 6, 9, 12, 12]
    assert more == [True, True, True, False, False]
    assert [trial.params["training.seed"] for trial in trials_of(sweep)] == [0, 1, 2] * 4


def test_the_repeats_of_a_point_share_a_pack(database: Database, expanded: Expanded, trials_of: Any) -> None:
    sweep, spec = expanded(space=MARGINS, repeats=3, resources={"pack_size": 8})
    waiting = [(trial, plan_trial(spec, trial.number, trial.params).require_spec()) for trial in trials_of(sweep)]
    capacity = Capacity([Node("here", cpus=8, gpus=0)], 8, 0)
    with database.read() as session:
        packs = next_packs(session, spec, waiting, capacity)
    assert [[trial.number for trial in pack] for pack in packs] == [list(range(6)), list(range(6, 12))]


class Trained:
    """A sweep of four points with two repeats, whose trials run and report. The controller sends nothing."""

    def __init__(self, database: Database, term: int, url: str, expanded: Expanded) -> None:
        self.sweep, _ = expanded(space=MARGINS, repeats=2, training={"steps": 100}, early_stopping=ASHA)
        self._database, self._term, self._url = database, term, url
        self.context = self.controller()
        with database.write(term) as session:
            for trial in trials.page(session, self.sweep.id):
                trials.move(session, trial, "running")

    def controller(self) -> ReconcileContext:
        """Return what a controller has that starts now."""
        settings = ControllerSettings(database_url=self._url)
        self.context = ReconcileContext(self._database, Cluster("127.0.0.1:1", "test"), settings, self._term)
        self.advancer = SweepAdvancer(self.context)
        return self.context

    def report(self, step: int, values: dict[int, float]) -> None:
        """Some trials report losses at a step."""
        with self._database.write(self._term) as session:
            for number, value in values.items():
                trial_id = trials.id_of(self.sweep.id, number)
                reports.add(session, trial_id, [(step, {"val/loss": value})], at=1000.0)
                session.get_one(Trial, trial_id).step = step
        self.context.new_metrics.add(self.sweep.id)

    def move(self, number: int, to: TrialState, reason: str | None = None) -> None:
        """One trial changes its state."""
        with self._database.write(self._term) as session:
            trials.move(session, session.get_one(Trial, trials.id_of(self.sweep.id, number)), to, reason)

    def pruned(self) -> dict[int, str]:
        """Return what the controller has decided to prune."""
        self.advancer.advance(self.sweep.id)
        return self.advancer._to_prune[self.sweep.id]


@pytest.fixture
def trained(database: Database, term: int, url: str, expanded: Expanded) -> Trained:
    return Trained(database, term, url, expanded)


def test_early_stopping_ends_points_and_not_single_seeds(trained: Trained) -> None:
    # the best and the worst trial are in one point
    trained.report(10, {0: 0.1, 1: 0.9, 2: 0.3, 3: 0.3, 4: 0.4, 5: 0.4, 6: 0.6})
    assert trained.pruned().keys() == {0, 1, 4, 5}
    trained.report(10, {7: 0.6})
    assert trained.pruned().keys() == {0, 1, 4, 5, 6, 7}
    assert trained.pruned()[0].startswith("mean of 2 repeats: val/loss 0.5 at step 10")


def test_a_controller_that_starts_later_ends_the_rest_of_a_point(trained: Trained) -> None:
    trained.report(10, {number: [0.5, 0.3, 0.4, 0.6][number // 2] for number in range(8)})
    decided = trained.pruned()
    assert decided.keys() == {0, 1, 6, 7}
    trained.move(0, "pruned", decided[0])
    # trial 1 was lost at this moment and runs again, in a sweep in which its point would be kept now
    trained.controller()
    trained.report(20, {2: 0.3})
    trained.report(10, {})
    trained.move(2, "failed", "no numbers")
    trained.move(3, "failed", "no numbers")
    assert trained.pruned()[1] == decided[0]


def test_a_repeat_that_a_user_stops_ends_no_other(trained: Trained) -> None:
    trained.report(10, {number: 0.1 * (1 + number) for number in range(8)})
    trained.move(0, "pruned", commands.STOPPED)
    assert 1 not in trained.pruned()

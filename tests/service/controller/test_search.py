"""How the controller creates trials as samplers propose them, and what a sampler that fails does to its sweep."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select

from service.controller import sweep_lifecycle
from service.controller.context import ReconcileContext
from service.controller.guard import SweepGuard
from service.store import sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from workers.spec.samplers import SAMPLERS, Observation, Sampler, learning
from workers.spec.search_space import Params
from workers.spec.sweep import SweepSpec

SPACE = {"model.margin": {"low": 0.001, "high": 0.1, "log": True}, "model.reflectors": {"low": 1, "high": 8}}


class Crash(Exception):
    """The end of a controller in the middle of a transaction."""


def run_sweep(
    database: Database, term: int, sweep: Sweep, order: Sequence[int] | None, seed: int
) -> tuple[list[Params], list[int]]:
    """Let the trials of a sweep succeed in an order, or in one that the seed decides; return the points and the order.

    If an order is given, the controller crashes at random between asking the sampler and the commit.
    """
    rng, spec, done = random.Random(seed), SweepSpec.model_validate(sweep.spec), list[int]()
    while len(done) < sweep.trial_count:
        if order is not None and rng.random() < 0.6:
            with suppress(Crash), database.write(term) as session:
                sweep_lifecycle.expand(session, sweep.id, spec)
                raise Crash
            learning._studies.clear()
        with database.write(term) as session:
            sweep_lifecycle.expand(session, sweep.id, spec)
            waiting = list(session.scalars(select(Trial).where(Trial.sweep_id == sweep.id, Trial.state == "waiting")))
            numbers = sorted(trial.number for trial in waiting)
            number = rng.choice(numbers) if order is None else order[len(done)]
            (trial,) = (trial for trial in waiting if trial.number == number)
            trials.move(session, trial, "running")
            trial.objective = abs(float(trial.params["model.margin"]) - 0.02) * int(trial.params["model.reflectors"])
            trials.move(session, trial, "succeeded")
            trial.ended_at = 1000.0 + len(done)
        done.append(number)
    with database.read() as session:
        return [trial.params for trial in trials.observations(session, sweep.id)], done


@pytest.mark.parametrize("name", ["tpe", "cma_es"])
def test_a_controller_that_dies_between_ask_and_commit_changes_no_trial(
    database: Database, term: int, new_sweep: Any, name: str
) -> None:
    for seed in range(20):
        options = {"startup_trials": 3, "concurrent": 3}
        search = {"sampler": name, "trials": 10, "seed": seed, "options": options}
        first, second = (new_sweep(space=SPACE, search=search) for _ in range(2))
        points, order = run_sweep(database, term, first, None, seed)
        assert run_sweep(database, term, second, order, seed)[0] == points
        assert len({tuple(point.items()) for point in points}) > 5


class Broken(Sampler):
    """A sampler that proposes two trials and raises at the third, once one of them has a result."""

    summary = "for this test"
    takes_trials = True

    @property
    def trial_count(self) -> int:
        return self.trials or 0

    def is_ready(self, number: int, earlier: Sequence[Observation]) -> bool:
        return number < 2 or any(trial.ended for trial in earlier)

    def propose(self, number: int, earlier: Sequence[Observation]) -> Params:
        if number == 2 and earlier:
            raise ZeroDivisionError("the spread is 0")
        return {"model.margin": 0.01}


def test_a_sampler_that_raises_fails_the_sweep_and_finished_trials_stay(
    database: Database, term: int, url: str, new_sweep: Any, monkeypatch: pytest.MonkeyPatch, trials_of: Any
) -> None:
    from service.controller.cluster import Cluster
    from service.settings import ControllerSettings

    monkeypatch.setitem(SAMPLERS, "broken", Broken)
    space = {"model.margin": {"low": 0.001, "high": 0.1}}
    sweep = new_sweep(space=space, search={"sampler": "broken", "trials": 4})
    context = ReconcileContext(database, Cluster("127.0.0.1:1", "test"), ControllerSettings(database_url=url), term)
    spec = SweepSpec.model_validate(sweep.spec)

    def expand() -> None:
        with database.write(term) as session:
            sweep_lifecycle.expand(session, sweep.id, spec)

    SweepGuard(context).run(sweep.id, "advance", expand)
    with database.write(term) as session:
        trial = session.get_one(Trial, f"{sweep.id}-0000")
        trials.move(session, trial, "running")
        trial.objective = 0.5
        trials.move(session, trial, "succeeded")
    SweepGuard(context).run(sweep.id, "advance", expand)
    reason = "sampler broken failed to propose trial 2: ZeroDivisionError: the spread is 0"
    with database.read() as session:
        ended = sweeps.get(session, sweep.id)
        assert (ended.state, ended.reason) == ("failed", reason)
    first, second = trials_of(sweep)
    assert (first.state, first.objective) == ("succeeded", 0.5)
    assert (second.state, second.reason) == ("failed", reason)


def test_many_trials_are_created_a_part_at_a_time(
    database: Database, term: int, new_sweep: Any, trials_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_lifecycle, "MOST_CREATED", 5)
    sweep = new_sweep(space={"training.seed": {"low": 0, "high": 11}})
    spec, more = SweepSpec.model_validate(sweep.spec), list[bool]()
    for _ in range(4):
        with database.write(term) as session:
            more.append(sweep_lifecycle.expand(session, sweep.id, spec))
    assert more == [True, True, False, False]
    assert [trial.params["training.seed"] for trial in trials_of(sweep)] == list(range(12))


@pytest.mark.slow
def test_a_grid_of_13020_points_makes_13020_trials(database: Database, term: int, new_sweep: Any) -> None:
    sweep = new_sweep(space={"training.seed": {"low": 1, "high": 31}, "training.steps": {"low": 1, "high": 420}})
    spec = SweepSpec.model_validate(sweep.spec)
    for _ in range(14):
        with database.write(term) as session:
            more = sweep_lifecycle.expand(session, sweep.id, spec)
    assert not more
    with database.read() as session:
        points = {tuple(trial.params.values()) for trial in trials.observations(session, sweep.id)}
        assert trials.count(session, sweep.id) == len(points) == 13_020

"""What goes to MLflow: plots of every kind of sweep, and all of it again where MLflow forgot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from service.controller import settling
from service.states import SWEEP_ENDED, TRIAL_ENDED
from service.store import outbox, projections, reports, sweeps, trials
from service.store.database import Database
from service.store.models import Checkpoint, OutboxEntry, Sweep
from service.tracking import plots, settled
from service.tracking.models import registry_name
from service.tracking.runs import STATUS
from workers.spec import SweepSpec

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def ended(database: Database, new_sweep: Callable[..., Sweep]) -> Callable[..., Sweep]:
    """A function that gives a sweep whose trials have run and ended, each better than the one before."""

    def run(**changes: Any) -> Sweep:
        sweep = new_sweep(**changes)
        with database.write() as session:
            settling.expand(session, sweep.id, SweepSpec.model_validate(sweep.spec))
        with database.write() as session:
            for trial in trials.page(session, sweep.id):
                trials.move(session, trial, "running")
                points = [(step, {"val/loss": 1.0 / (step + trial.number)}) for step in (10, 20)]
                reports.add(session, trial.id, points, at=1000.0)
                row = Checkpoint(trial_id=trial.id, step=20, path="/c", best=True, objective=0.1)
                reports.add_checkpoint(session, row)
                trial.objective, trial.best_step, trial.step = 1.0 / (20 + trial.number), 20, 20
                trials.move(session, trial, "succeeded")
            settling.settle(session, sweep.id)
        return sweep

    return run


SPACES = {
    "both": {"model.reflectors": {"values": [2, 4]}, "model.margin": {"values": [0.01, 0.1]}},
    "apart": {"model.reflectors_u": {"values": [2, 4]}, "model.margin": {"values": [0.01, 0.1]}},
    "one number": {"training.lr": {"low": 0.001, "high": 0.1, "log": True, "grid": 3}},
    "names": {"model.activation": {"values": ["relu", "tanh"]}},
    "one trial": {"model.margin": {"values": [0.1]}},
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_kind_of_sweep_has_its_plots(database: Database, ended: Any, space: dict[str, Any]) -> None:
    sweep = ended(space=space)
    with database.read() as session:
        found = settled.read(session, sweep.id)
    assert plots.results(found).startswith(PNG)
    assert plots.learning_curves(found).startswith(PNG)


def test_the_leaderboard_is_in_order(database: Database, ended: Any) -> None:
    sweep = ended()
    with database.read() as session:
        board = settled.leaderboard(settled.read(session, sweep.id))
    assert [row["trial"] for row in board["trials"]] == [3, 2, 1, 0]
    assert board["trials"][0]["params"] == {"model.reflectors": 4, "model.margin": 0.1}


def test_refilling_puts_everything_back_with_the_same_times(database: Database, ended: Any) -> None:
    sweep = ended()
    with database.write() as session:
        projections.put(session, sweep.id, "1", "run")
        projections.put(session, f"{sweep.id}-0000", "1", "other")
        outbox.refill(session, sweep.id)
    with database.write() as session:
        outbox.refill(session, sweep.id)  # again: the same, not twice
        assert projections.of_sweep(session, sweep.id) == {}
        entries = list(session.scalars(select(OutboxEntry).order_by(OutboxEntry.id)))
    kinds = [(entry.trial_id is None, entry.kind) for entry in entries]
    own = [(False, "trial"), (False, "metrics"), (False, "metrics"), (False, "checkpoint"), (False, "ended")]
    assert kinds == [(True, "sweep"), *own * 4, (True, "ended")]
    assert {entry.payload["at"] for entry in entries if entry.kind == "metrics"} == {1000.0}


def test_every_end_has_a_status_in_mlflow() -> None:
    assert STATUS.keys() == SWEEP_ENDED | TRIAL_ENDED


@pytest.mark.parametrize(
    ("name", "expected"), [("a/b:c", "a-b-c"), ("it's", "it-s"), ("  ", "sweep"), ("plain", "plain")]
)
def test_registry_names_hold_nothing_the_registry_refuses(name: str, expected: str) -> None:
    assert registry_name(name) == expected


def test_projections_of_one_sweep_are_not_taken_for_anothers(database: Database, ended: Any) -> None:
    one, two = ended(), ended()
    with database.write() as session:
        for sweep in (one, two):
            projections.put(session, sweep.id, "1", f"run of {sweep.id}")
        projections.drop(session, one.id)
        assert projections.sweeps(session) == [two.id]
        assert sweeps.get(session, one.id).state == "succeeded"

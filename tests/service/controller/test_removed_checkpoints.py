"""Checkpoints that are removed by hand from trials that are paused, or were lost with their runner."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from service.store import attempts, checkpoints, events, trials
from service.store.database import Database
from service.store.tables import Pack, Sweep, Trial, TrialCheckpoint
from workers.spec.sweep import SweepSpec

Waiting = tuple[Sweep, SweepSpec, Path]


@pytest.fixture
def waiting(database: Database, expanded: Any, launched: Any, tmp_path: Path) -> Waiting:
    """A sweep whose first trial has checkpoints at steps 10, 20 (the best) and 30, and waits for another pack.

    The third part is the folder of the trial's checkpoints, in which the one of step 10 is not kept any more.
    """
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    folder = tmp_path / "mounted" / "store" / sweep.id / f"{sweep.id}-0000"
    with database.write() as session:
        trial = trials.get(session, f"{sweep.id}-0000")
        for step, loss in ((10, 0.9), (20, 0.5), (30, 0.7)):
            path = folder / f"step-{step:09d}"
            if step > 10:
                path.mkdir(parents=True)
            row = TrialCheckpoint(trial_id=trial.id, step=step, path=str(path), best=step < 30, objective=loss)
            checkpoints.add(session, row)
        trial.objective, trial.best_step, trial.step = 0.5, 20, 30
        for attempt in attempts.open_of_pack(session, pack.id).values():
            attempts.end(attempt, "paused", None, None)
        session.get_one(Pack, pack.id).state = "ended"
        trials.move(session, trial, "waiting")
    return sweep, spec, folder


@pytest.mark.parametrize(
    ("removed", "reason", "objective"),
    [
        ([], None, (0.5, 20)),
        ([20], None, (None, None)),
        (
            [30],
            "its checkpoint {folder}/step-000000030 is gone, so it goes on from {folder}/step-000000020",
            (0.5, 20),
        ),
        (
            [20, 30],
            "its checkpoint {folder}/step-000000030 is gone, so it starts again from the beginning",
            (None, None),
        ),
    ],
)
def test_a_trial_goes_on_from_what_is_left_and_says_so(
    database: Database, launched: Any, waiting: Waiting, removed: list[int], reason: str | None, objective: Any
) -> None:
    sweep, spec, folder = waiting
    for step in removed:
        shutil.rmtree(folder / f"step-{step:09d}")
    launched(sweep, spec, 0)
    with database.read() as session:
        trial = session.get_one(Trial, f"{sweep.id}-0000")
        assert trial.state == "running"
        assert trial.reason == (reason and reason.format(folder=folder))
        assert (trial.objective, trial.best_step) == objective
        best = checkpoints.find(session, trial.id, "best")
        assert (best and best.step) == objective[1]
        last = [event for event in events.of_trial(session, sweep.id, trial.id) if event.kind == "trial.running"][-1]
        assert (last.data["reason"], last.data["objective"]) == (trial.reason, trial.objective)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_trial_whose_folder_is_gone_starts_again(
    database: Database, launched: Any, waiting: Waiting, gone: int
) -> None:
    sweep, spec, folder = waiting
    shutil.rmtree([folder, *folder.parents][gone])  # of the trial, of the sweep, of all
    launched(sweep, spec, 0)
    with database.read() as session:
        trial = session.get_one(Trial, f"{sweep.id}-0000")
    assert "starts again from the beginning" in str(trial.reason)
    assert trial.objective is None


def test_a_store_that_this_machine_does_not_see_says_nothing(
    database: Database, launched: Any, waiting: Waiting
) -> None:
    sweep, spec, folder = waiting
    shutil.rmtree(folder.parents[2])
    launched(sweep, spec, 0)
    with database.read() as session:
        trial = session.get_one(Trial, f"{sweep.id}-0000")
    assert (trial.reason, trial.objective, trial.best_step) == (None, 0.5, 20)


def test_newer_checkpoints_of_a_lost_runner_are_no_loss(database: Database, launched: Any, waiting: Waiting) -> None:
    sweep, spec, folder = waiting
    shutil.rmtree(folder / "step-000000030")
    (folder / "step-000000040").mkdir()
    launched(sweep, spec, 0)
    with database.read() as session:
        assert session.get_one(Trial, f"{sweep.id}-0000").reason is None

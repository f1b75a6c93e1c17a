"""The order of trials in SQL is the one of ``workers.spec.ranking``, on both databases."""

from __future__ import annotations

import math
import random
from typing import get_args

import pytest
from sqlalchemy import update

from service.states import TRIAL_MOVES, TrialState
from service.store import open_trials, trial_order, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from workers.spec.ranking import Direction, has_result, rank_key

BACKENDS = ["sqlite", "postgresql"]
VALUES = (None, math.nan, math.inf, -math.inf, -1.7976931348623157e308, -1e30, -0.0, 0.0, 0.5, 0.5, 5e-324, 1e30)
PARAMS = {"model.margin": 0.1}


@pytest.fixture
def mixed(database: Database, running: tuple[Sweep, list[Trial]]) -> tuple[str, list[tuple[str, float | None, int]]]:
    """A sweep with a trial for each state and objective, and their states, objectives and numbers."""
    sweep, made = running
    drawn = [(state, value) for state in TRIAL_MOVES for value in VALUES]
    random.Random(0).shuffle(drawn)
    rows = [(state, value, number) for number, (state, value) in enumerate(drawn)]
    with database.write() as session:
        trials.create(session, sweep, len(made), [PARAMS] * (len(rows) - len(made)))
        for state, value, number in rows:
            id = trials.id_of(sweep.id, number)
            session.execute(update(Trial).where(Trial.id == id).values(state=state, objective=value))
    return sweep.id, rows


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("direction", get_args(Direction))
def test_sql_and_python_agree_on_every_state_and_objective(
    backend: str,
    database: Database,
    mixed: tuple[str, list[tuple[str, float | None, int]]],
    direction: Direction,
) -> None:
    sweep_id, rows = mixed
    expected = sorted(rows, key=lambda row: rank_key(*row, direction))
    counting = [number for state, value, number in expected if has_result(state, value)]
    with database.read() as session:
        found = trials.ranked(session, sweep_id, direction, limit=1000)
        assert [trial.number for trial in found] == [number for _, _, number in expected]
        assert [result.number for result in trials.results(session, sweep_id, direction)] == counting
        best = trials.best(session, sweep_id, direction)
        assert best is not None
        assert best.number == counting[0]
        paged: list[Trial] = []
        while page := trials.ranked(
            session, sweep_id, direction, limit=7, after=trial_order.position(paged[-1]) if paged else None
        ):
            paged += page
        assert paged == found
        some = trials.ranked(session, sweep_id, direction, ["pruned", "failed"], limit=1000)
        assert [trial.number for trial in some] == [n for state, _, n in expected if state in ("pruned", "failed")]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("states", "best"),
    [
        (["succeeded", "pruned", "cancelled", "failed"], 1),
        (["succeeded", "cancelled", "pruned", "failed"], 2),
        (["waiting", "cancelled", "cancelled", "failed"], 0),
        (["cancelled", "cancelled", "failed", "running"], 3),
        (["cancelled", "cancelled", "failed", "failed"], None),
    ],
)
def test_the_best_trial_may_be_pruned_but_not_cancelled_or_failed(
    backend: str, database: Database, running: tuple[Sweep, list[Trial]], states: list[TrialState], best: int | None
) -> None:
    sweep, made = running
    with database.write() as session:
        for trial, state, loss in zip(made, states, (0.4, 0.2, 0.3, 0.1), strict=True):
            row = trials.get(session, trial.id)
            row.objective = loss
            for step in () if state == "waiting" else ("running",) if state == "running" else ("running", state):
                trials.move(session, row, step)  # type: ignore[arg-type]
    with database.read() as session:
        found = trials.best(session, sweep.id, "minimize")
        assert (found.number if found else None) == best


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_no_trial_is_the_best_if_no_objective_is_finite(
    backend: str, database: Database, running: tuple[Sweep, list[Trial]], value: float | None
) -> None:
    sweep, _ = running
    with database.write() as session:
        session.execute(update(Trial).values(objective=value, state="pruned"))
    with database.read() as session:
        assert trials.best(session, sweep.id, "minimize") is None
        assert trials.best(session, sweep.id, "maximize") is None
        assert trials.results(session, sweep.id, "minimize") == []
        assert not open_trials.any_pruned_with_result(session, sweep.id)

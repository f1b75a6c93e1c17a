"""The best objectives of lists of sweeps are those that each sweep's own page shows, on both databases."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, get_args

import pytest
from sqlalchemy import event, update

from service.store import best_objectives, improvements, points, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from workers.spec.point_results import RepeatResult, best_point, grouped
from workers.spec.ranking import MAX_FINITE, Direction
from workers.spec.repeats import Statistic

BACKENDS = ["sqlite", "postgresql"]
STATES = ["succeeded", "succeeded", "succeeded", "pruned", "running", "cancelled", "failed"]
VALUES = [*[0.0, 0.1, 0.2, 0.3, 1 / 3, 0.7, -0.4, 2e-5] * 8, None, 1e30, 5e-324, MAX_FINITE, -MAX_FINITE]


@pytest.fixture
def filled(database: Database, new_sweep: Callable[..., Sweep]) -> Callable[..., Sweep]:
    """A function that stores a sweep whose trials have the given states and objectives; later ones do not exist yet."""

    def make(facts: list[tuple[str, float | None]], repeats: int, count: int | None = None, **objective: Any) -> Sweep:
        points = (count or len(facts)) // repeats
        space = {"model.margin": {"low": 0.001, "high": 0.1, "grid": points}}
        sweep = new_sweep(space=space, repeats=repeats, objective={"metric": "val/loss"} | objective)
        with database.write() as session:
            made = trials.create(session, session.get_one(Sweep, sweep.id), 0, [{"model.margin": 0.1}] * len(facts))
        with database.write() as session:
            values = [
                {"id": trial.id, "state": state, "objective": value}
                for trial, (state, value) in zip(made, facts, strict=True)
            ]
            session.execute(update(Trial), values)
        return sweep

    return make


def shown_alone(database: Database, sweep: Sweep) -> float | None:
    """Return the best objective on the sweep's own page: of its best point, or without repeats of its best trial."""
    with database.read() as session:
        row = sweeps.get(session, sweep.id)
        point, trial = points.best(session, row), points.best_trial(session, row)
    if points.repeats_of(row.spec) > 1:
        return point.objective if point else None
    return trial.objective if trial else None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_list_and_the_page_of_each_sweep_agree(
    backend: str, database: Database, filled: Callable[..., Sweep]
) -> None:
    rng = random.Random(0)
    made = [
        filled(
            [(rng.choice(STATES), rng.choice(VALUES)) for _ in range(rng.randrange(61 * repeats))],
            repeats,
            60 * repeats,
            statistic=statistic,
            direction=direction,
        )
        for statistic in get_args(Statistic)
        for direction in get_args(Direction)
        for repeats in (1, 2, 5)
        if repeats > 1 or statistic == "mean"
    ]
    alone = {sweep.id: shown_alone(database, sweep) for sweep in made}
    assert len(set(alone.values())) > 6, "the sweeps differ"
    with database.read() as session:
        found = best_objectives.best(session, best_objectives.rules_of(session, list(alone)))
        courses = improvements.of_sweeps(session, list(alone))
    assert found == {sweep_id: value for sweep_id, value in alone.items() if value is not None}
    last = {sweep_id: pairs[-1][1] for sweep_id, pairs in courses.items() if pairs}
    # rankings by SQL take the smallest numbers for 0
    assert last == pytest.approx(found, rel=1e-15, abs=1e-300)


def test_points_count_once_they_are_whole(database: Database, filled: Callable[..., Sweep]) -> None:
    good, better = ("succeeded", 0.4), ("succeeded", 0.1)
    for facts, best in (
        ([good, good, better], 0.4),  # the second point lacks a trial
        ([good, good, better, ("running", None)], 0.4),
        ([good, good, better, ("failed", 0.1)], 0.4),
        ([good, good, better, ("cancelled", 0.1)], 0.1),
        ([("cancelled", 0.4), ("cancelled", 0.1)], None),
        ([good, good, better, ("running", 0.3)], 0.2),
        ([good], None),
    ):
        sweep = filled(facts, 2, 8)
        assert shown_alone(database, sweep) == best, facts
        with database.read() as session:
            assert best_objectives.best(session, best_objectives.rules_of(session, [sweep.id])).get(sweep.id) == best


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_course_follows_the_points(backend: str, database: Database, filled: Callable[..., Sweep]) -> None:
    losses = [0.9 - 0.001 * point + (0.05 if trial else -0.05) for point in range(300) for trial in range(2)]
    sweep = filled([("succeeded", loss) for loss in losses], 2)
    with database.read() as session:
        points_of = grouped((RepeatResult(n, "succeeded", loss) for n, loss in enumerate(losses)), 2, "mean")
        pairs = improvements.of_sweeps(session, [sweep.id])[sweep.id]
    assert len(pairs) == improvements.PARTS
    assert [last for last, _ in pairs] == sorted({last for last, _ in pairs})
    for last, value in pairs:
        best = best_point(points_of[: last // 2], "minimize")
        assert best is not None
        assert last % 2 == 0
        assert value == pytest.approx(best.objective)


@pytest.mark.parametrize("count", [1, 30])
def test_the_queries_do_not_grow_with_the_sweeps(database: Database, filled: Callable[..., Sweep], count: int) -> None:
    ids = [filled([("succeeded", 0.5)] * 4, repeats).id for _ in range(count) for repeats in (1, 2)]
    asked: list[str] = []
    with database.read() as session:
        event.listen(session.get_bind(), "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement))
        assert len(best_objectives.best(session, best_objectives.rules_of(session, ids))) == len(ids)
    assert len([statement for statement in asked if "SELECT" in statement]) == 3

"""What the store reads for a report: rows, curves of one metric, what packs have used; on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from service.store import reports, sweep_record, sweeps, trials
from service.store.database import Database
from service.store.tables import Attempt, Pack, Sweep, Trial

NewSweep = Callable[..., Sweep]
BOTH = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])


def put(database: Database, sweep: Sweep, count: int = 3) -> list[Trial]:
    with database.write() as session:
        return trials.create(session, sweep, 0, [{"model.margin": 0.01 * (i + 1)} for i in range(count)])


@BOTH
def test_rows_have_what_was_reported_at_the_best_checkpoint(
    backend: str, database: Database, new_sweep: NewSweep
) -> None:
    sweep = new_sweep(further_objectives=[{"metric": "seconds"}])
    made = put(database, sweep)
    with database.write() as session:
        row = trials.get(session, made[1].id)
        row.objective, row.best_step, row.step = 0.5, 10, 20
        points = [
            (10, {"val/loss": 0.5, "time/wall_s": 1.5, "grad/norm": 9.0}),
            (20, {"val/loss": 0.6, "time/wall_s": 3.0}),
        ]
        reports.add(session, row.id, points, at=1.0)
    with database.read() as session:
        record = sweep_record.read(session, sweeps.get(session, sweep.id))
    assert [row.number for row in record.rows] == [0, 1, 2]
    assert record.rows[1].at_best == {"val/loss": 0.5, "time/wall_s": 1.5}
    assert record.rows[0].at_best == {}
    assert [one.metric for one in record.objectives] == ["val/loss", "seconds"]
    assert record.best == record.rows[1]


def test_reports_are_not_read_if_no_objective_needs_them(database: Database, new_sweep: NewSweep) -> None:
    sweep = new_sweep(further_objectives=[{"metric": "parameters"}])
    made = put(database, sweep)
    with database.write() as session:
        trials.get(session, made[0].id).best_step = 10
        reports.add(session, made[0].id, [(10, {"val/loss": 0.5})], at=1.0)
    with database.read() as session:
        assert sweep_record.read(session, sweeps.get(session, sweep.id)).rows[0].at_best == {}


@BOTH
def test_curves_are_thinned_and_in_order_and_leave_out_what_lacks_the_metric(
    backend: str, database: Database, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_record, "ROWS_AT_ONCE", 7)  # pages end inside of curves and between them
    sweep = new_sweep()
    made = put(database, sweep, 4)
    with database.write() as session:
        reports.add(session, made[0].id, [(step, {"val/loss": 1 / step, "x": 1.0}) for step in range(1, 1001)], at=1.0)
        reports.add(session, made[1].id, [(30, {"val/loss": 0.25}), (10, {"x": 1.0}), (20, {"val/loss": 0.5})], at=1.0)
        reports.add(session, made[2].id, [(10, {"x": 1.0})], at=1.0)
    with database.read() as session:
        record = sweep_record.read(session, sweeps.get(session, sweep.id))
        found = dict(sweep_record.curves(session, record.rows, "val/loss", 50))
    assert found.keys() == {0, 1}
    assert found[1] == [(20, 0.5), (30, 0.25)]
    assert len(found[0]) <= 50
    assert (found[0][0], found[0][-1]) == ((1, 1.0), (1000, 0.001))
    assert all(value == pytest.approx(1 / step) for step, value in found[0])


def test_curves_of_more_trials_than_one_query_names(
    database: Database, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_record, "IDS_AT_ONCE", 2)
    sweep = new_sweep()
    made = put(database, sweep, 5)
    with database.write() as session:
        for trial in made:
            reports.add(session, trial.id, [(10, {"val/loss": float(trial.number)})], at=1.0)
    with database.read() as session:
        record = sweep_record.read(session, sweeps.get(session, sweep.id))
        found = list(sweep_record.curves(session, record.rows, "val/loss", 50))
    assert found == [(number, [(10, float(number))]) for number in range(5)]


@BOTH
def test_a_pack_counts_from_its_first_attempt_to_its_end(backend: str, database: Database, new_sweep: NewSweep) -> None:
    sweep = new_sweep()
    made = put(database, sweep)
    facts: dict[str, Any] = {"sweep_id": sweep.id, "trial_ids": [], "term": 1}
    with database.write() as session:
        session.add(Pack(id="p1", state="ended", cpus=2, gpus=0.5, ended_at=400.0, **facts))
        session.add(Pack(id="p2", state="started", cpus=1, gpus=0, seen_at=900.0, **facts))
        session.add(Pack(id="p3", state="planned", cpus=1, gpus=0, **facts))
        session.flush()
        for trial, pack, start, end in ((0, "p1", 100.0, 300.0), (1, "p1", 200.0, 350.0), (2, "p2", 500.0, None)):
            session.add(Attempt(trial_id=made[trial].id, number=1, pack_id=pack, started_at=start, ended_at=end))
    before = time.time()
    with database.read() as session:
        packs = sorted(sweep_record.read(session, sweeps.get(session, sweep.id)).packs)
    assert packs[0] == (100.0, 400.0, 0.5, 2.0)
    assert (packs[1].start, packs[1].cpus) == (500.0, 1.0)
    assert packs[1].end >= before
    assert len(packs) == 2


def test_diagnostics_are_bounded(database: Database, new_sweep: NewSweep) -> None:
    sweep = new_sweep()
    (trial, *_) = put(database, sweep)
    with database.write() as session:
        values = {"spectral/min": 0.9, "grad_t/00": 1.0, "val/loss": 0.5}
        reports.add(
            session, trial.id, [(step, values if step % 2 else {"val/loss": 1.0}) for step in range(5000)], at=1.0
        )
    with database.read() as session:
        found = sweep_record.diagnostics(session, trial.id)
    assert 400 < len(found) <= sweep_record.MAX_REPORTS
    assert found[0] == (1, {"spectral/min": 0.9, "grad_t/00": 1.0})
    assert found[-1][0] == 4999

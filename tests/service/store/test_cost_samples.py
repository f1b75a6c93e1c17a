"""Measurements of packs in the database: a bounded number, the newest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.store import cost_samples
from service.store.database import Database
from tests.service.estimates.examples import measured, seeds, sweep_of

TRIALS = sweep_of(space=seeds(4))[1]
BACKENDS = ["sqlite", "postgresql"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_measurements_are_returned_as_they_were_stored(backend: str, database: Database) -> None:
    cpu = [measured(TRIALS, at=1.0, evaluation_seconds=None, peak_bytes=None), measured(TRIALS[:2], at=2.0)]
    gpu = measured(TRIALS, gpus=0.5, device="gpu: test", gpu_peak_bytes=2**34, at=3.0)
    with database.write() as session:
        cost_samples.add(session, [*cpu, gpu])
    with database.read() as session:
        assert cost_samples.known(session, on_gpu=False) == cpu
        assert cost_samples.known(session, on_gpu=True) == [gpu]


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_one_pack_the_newest_measurements_are_kept(backend: str, database: Database) -> None:
    with database.write() as session:
        cost_samples.add(session, [measured(TRIALS[:2], at=0.0)])
        for at in range(2 * cost_samples.NEWEST):
            cost_samples.add(session, [measured(TRIALS, at=float(at))])
        cost_samples.add(session, [measured(TRIALS, source="calibration", at=100.0)])
    with database.read() as session:
        found = cost_samples.known(session, on_gpu=False)
    kept = range(cost_samples.NEWEST, 2 * cost_samples.NEWEST)
    assert [cost.at for cost in found] == [0.0, *map(float, kept), 100.0]


def test_the_table_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_samples, "MOST", 5)
    with database.write() as session:
        cost_samples.add(session, [replace(measured(TRIALS), shape=f"shape {n}", at=float(n)) for n in range(12)])
    with database.read() as session:
        assert [cost.at for cost in cost_samples.known(session, on_gpu=False)] == [7.0, 8.0, 9.0, 10.0, 11.0]


def test_the_newest_are_read_and_all_of_the_wanted_shapes(database: Database) -> None:
    with database.write() as session:
        cost_samples.add(session, [replace(measured(TRIALS), shape=f"shape {n}", at=float(n)) for n in range(9)])
    with database.read() as session:
        found = cost_samples.known(session, on_gpu=False, shapes=["shape 2", "shape 8", "none"], most=2)
    assert [cost.at for cost in found] == [2.0, 7.0, 8.0]

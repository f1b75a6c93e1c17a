"""The benchmark of ticks runs against the controller as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import tick
from benchmarks.tick_cluster import FakeRay
from service.controller import runner_requests


def test_a_small_run_measures_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_requests, "ray", FakeRay())
    rows = [*tick._waiting(tmp_path, 6, 2, 2), tick._memory(tmp_path, 40)]
    assert [row.id for row in rows] == ["T1", "T2", "T3", "T4", "T5"]
    assert all(row.ours > 0 for row in rows)

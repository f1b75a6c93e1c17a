"""The benchmark of the queue runs against the policy as it is."""

from __future__ import annotations

from benchmarks import queue


def test_a_small_run_measures_every_row() -> None:
    rows = queue.measure(nodes=2, sweeps=10, times=1)
    assert [row.id for row in rows] == ["Q1", "Q2", "Q3"]
    assert all(row.ours > 0 for row in rows)
    assert "packs are preempted" in rows[2].method
    assert "0 packs" not in rows[2].method

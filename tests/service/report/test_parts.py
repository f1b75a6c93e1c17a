"""The parts of a report as numbers: importance, grid, curves, the course of the sweep, parallel coordinates."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from service.report import learning_curves as curves_module
from service.report.diagnostics import diagnostics
from service.report.importance import importance
from service.report.learning_curves import learning_curves, wanted_rows
from service.report.parallel import MAX_LINES, parallel
from service.report.plane import grid_of, places_of
from service.report.progress import best_so_far
from service.report.record import PackUse, label_of
from tests.service.report.sweeps import (
    NAN,
    START,
    SWEEPS,
    analysis_of,
    grid_sweep,
    record_of,
    reports_of,
    row_of,
    spec_of,
    wide_sweep,
)


def test_the_field_that_decides_is_the_most_important_one() -> None:
    rng = random.Random(0)
    space = {path: {"low": 0.0001, "high": 0.1, "log": True} for path in ("model.margin", "training.lr")}
    spec = spec_of(space=space, search={"sampler": "random", "trials": 100})
    rows = []
    for number in range(100):
        params = {path: 10 ** rng.uniform(-4, -1) for path in space}
        rows.append(row_of(number, params, abs(math.log10(params["training.lr"]) + 2) + 0.01 * rng.random()))
    found = importance(record_of(rows, spec))
    assert [one.path for one in found.fields] == ["training.lr", "model.margin"]
    assert found.fields[0].share > 0.8
    assert sum(one.share for one in found.fields) == pytest.approx(1)
    assert (found.trials, found.best, found.notes) == (100, 10, [])
    assert importance(record_of(rows, spec)) == found


def test_importance_says_what_it_leaves_out() -> None:
    found = importance(wide_sweep(200))
    assert {one.path for one in found.fields} == {"model.kind", "model.reflectors", "model.margin", "training.lr"}
    by_path = {one.path: one.trials for one in found.fields}
    assert by_path["model.margin"] < by_path["training.lr"] == found.trials
    text = " ".join(found.notes)
    assert "model.margin exists in" in text
    assert "have no result and are left out" in text
    assert "training.seed is left out" in " ".join(importance(grid_sweep()).notes)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "0 trials with a result are too few"),
        ([row_of(i, {"model.margin": 0.1 * i}, 0.1 * i) for i in range(1, 6)], "5 trials with a result are too few"),
        ([row_of(i, {"model.margin": 0.01 * i}, 0.5) for i in range(1, 12)], "All results are equal"),
        ([row_of(i, {"model.margin": 0.1}, 0.1 * i) for i in range(12)], "No field has more than one value"),
        ([row_of(i, {"model.margin": 0.01 * i}, None, "failed", reason=NAN) for i in range(1, 12)], "too few"),
    ],
)
def test_importance_that_cannot_be_told_says_why(rows: list[Any], said: str) -> None:
    found = importance(record_of(rows, spec_of(space={"model.margin": {"low": 0.001, "high": 0.3}})))
    assert found.fields == []
    assert said in " ".join(found.notes)


def test_values_outside_the_document_and_old_documents_do_not_stop_importance() -> None:
    record = grid_sweep()
    rows = [row._replace(params={**row.params, "model.margin": row.params["model.margin"] * 3}) for row in record.rows]
    assert importance(record_of(rows, record.spec)).fields
    unread = type(record)(record.sweep_id, record.name, record.state, record.objectives, None, record.rows)
    assert {one.path for one in importance(unread).fields} == {"model.reflectors", "model.margin"}


def test_cells_without_a_result_say_why_and_extremes_are_marked() -> None:
    record = grid_sweep(trouble=True)
    grid = grid_of(places_of(record), "minimize")
    assert grid is not None
    assert (grid.reflectors, grid.margins) == ([(2, 2), (4, 4), (8, 8)], [0.001, 0.01, 0.1])
    states = [[cell.state for cell in row] for row in grid.cells]
    assert states == [
        ["failed", "result", "not_finite"],
        ["missing", "result", "result"],
        ["open", "result", "result"],
    ]
    huge = grid.cells[1][2]
    assert (huge.best, huge.off_scale, huge.results) == (1e30, True, 3)
    assert (grid.scale.above, grid.scale.high < 1) == (1, True)
    mixed = grid.cells[2][2]
    assert (mixed.trials, mixed.failed, mixed.not_finite, mixed.results) == (3, 1, 1, 2)
    whole = grid.cells[2][1]
    values = [row.value for row in record.rows if row.params["model.margin"] == 0.01 and row.number >= 18]
    assert whole.mean == pytest.approx(sum(values) / 3)
    assert whole.sd == pytest.approx(math.sqrt(sum((v - sum(values) / 3) ** 2 for v in values) / 2))
    assert whole.best == min(values)
    assert (huge.sd, grid.cells[0][1].off_scale) == (0, False)


def test_a_grid_that_is_too_large_is_none() -> None:
    record = record_of([row_of(i, {"model.margin": 0.01 * (i + 1)}, 0.5) for i in range(17)])
    assert grid_of(places_of(record), "minimize") is None


def test_the_best_so_far_only_gets_better_and_counts_device_hours_once() -> None:
    # two packs of two trials that overlap in time, one of them on half a GPU
    packs = [PackUse(START, START + 3600, 1.0, 4.0), PackUse(START + 1800, START + 5400, 0.5, 4.0)]
    rows = [
        row_of(0, {}, 0.5, ended_at=START + 3600),
        row_of(1, {}, None, "failed", ended_at=START + 1800),
        row_of(2, {}, 0.3, ended_at=START + 5400),
        row_of(3, {}, 0.4, ended_at=START + 5400),
        row_of(4, {}, None, "running"),
    ]
    found = best_so_far(record_of(rows, packs=packs))
    assert (found.device, found.ended) == ("GPU", 4)
    assert [(p.number, p.best) for p in found.points] == [(1, None), (0, 0.5), (2, 0.3), (3, 0.3)]
    assert [p.device_hours for p in found.points] == pytest.approx([0.5, 1.25, 1.5, 1.5])
    assert found.device_hours == pytest.approx(1.5)


def test_without_gpus_cpu_hours_count() -> None:
    found = best_so_far(
        record_of([row_of(0, {}, 0.5, ended_at=START + 1800)], packs=[PackUse(START, START + 3600, 0, 2)])
    )
    assert (found.device, found.points[0].device_hours, found.device_hours) == ("CPU", 1.0, 2.0)


def test_the_course_of_many_trials_keeps_every_change() -> None:
    rows = [row_of(i, {}, 1 / (i + 1) if i % 100 == 7 else 1.0) for i in range(20_000)]
    found = best_so_far(record_of(rows, packs=[]))
    assert found.ended == 20_000
    assert len(found.points) < 2_300
    assert len({p.best for p in found.points}) == 201


def test_learning_curves_show_the_best_and_summarise_the_others() -> None:
    record = wide_sweep(100, trouble=False)
    curves = {row.number: [(step, row.value + 1 / step) for step in range(1, 101)] for row in record.rows}
    found = learning_curves(record, curves)
    assert [curve.number for curve in found.best] == [row.number for row in record.scored[:6]]
    assert (found.other_trials, found.left_out, found.not_finite) == (94, 0, 0)
    assert len(found.others) <= curves_module.BAND_STEPS
    last = found.others[-1]
    ordered = sorted(row.value + 0.01 for row in record.scored[6:])
    assert (last.step, last.trials) == (100, 94)
    assert ordered[22] <= last.lower <= ordered[24] <= last.median <= last.upper <= ordered[-1]


def test_values_that_are_not_finite_and_trials_that_are_not_read_are_counted() -> None:
    record = wide_sweep(2000, trouble=False)
    wanted = wanted_rows(record)
    assert len(wanted) <= 606
    found = learning_curves(record, {row.number: [(1, math.nan), (2, math.inf), (3, 0.5)] for row in wanted})
    assert found.not_finite == 2 * len(wanted)
    assert found.left_out == 2000 - len(wanted)
    assert found.best[0].points == [(3, 0.5)]


def test_a_failed_trial_is_never_among_the_best_curves() -> None:
    record = record_of([row_of(0, {}, 0.1, "failed"), row_of(1, {}, 0.5)])
    found = learning_curves(record, {0: [(10, 0.1)], 1: [(10, 0.5)]})
    assert [curve.number for curve in found.best] == [1]


def test_parallel_coordinates_have_gaps_where_a_field_does_not_exist() -> None:
    record = wide_sweep(80)
    plot = parallel(record)
    assert [axis.name for axis in plot.axes] == [*record.paths, "val/loss"]
    assert [axis.log for axis in plot.axes] == [False, False, True, True, False]
    for line in plot.lines:
        row = record.row(line.number)
        assert row is not None
        assert (line.heights[2] is None) == (row.params["model.kind"] == "lstm")
        assert all(height is None or 0 <= height <= 1 for height in line.heights)
    assert plot.lines[0].heights[-1] == 0
    assert plot.axes[-1].hidden > 0


def test_of_many_trials_the_best_are_drawn_and_some_of_the_others() -> None:
    plot = parallel(wide_sweep(5000, trouble=False))
    assert len(plot.lines) <= MAX_LINES
    assert plot.left_out == 5000 - len(plot.lines)


def test_diagnostics_know_the_band_and_the_length_of_the_sequence() -> None:
    record = grid_sweep()
    row = record.rows[0]
    found = diagnostics(record, row, reports_of(row))
    assert found.singular_values is not None
    assert (found.singular_values.low, found.singular_values.high) == (0.999, 1.001)
    assert found.gradient_norms is not None
    assert (found.gradient_norms.times[0], found.gradient_norms.times[-1]) == (0, 20)
    assert len(found.gradient_norms.norms) == len(found.singular_values.shares) == 10
    nothing = diagnostics(record, row, [(1, {"val/loss": 0.5}), (2, {"spectral/min": math.nan, "spectral/max": 1.0})])
    assert (nothing.singular_values, nothing.gradient_norms) == (None, None)


@pytest.mark.parametrize("name", SWEEPS)
def test_every_part_of_every_sweep_can_be_computed(name: str) -> None:
    analysis = analysis_of(SWEEPS[name]())
    for part in ("grid", "importance", "learning_curves", "best_so_far", "parallel", "pareto", "best_diagnostics"):
        getattr(analysis, part)


def test_labels_are_short() -> None:
    row = row_of(3, {"model.margin": 0.123456789, "training.lr": 1e-05}, 0.5)
    assert label_of(row) == "#3: margin 0.1235, lr 1e-05"
    assert len(label_of(row_of(3, {f"model.x{i}": "long" * 9 for i in range(9)}, 0.5))) == 60

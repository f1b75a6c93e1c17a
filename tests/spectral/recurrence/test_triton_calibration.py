"""Where plans of GPU kernels come from: the table, a file, or times, which are made up here."""

import json

import pytest
import torch

from spectral.errors import OptionError
from spectral.recurrence import triton_calibration as calibration
from spectral.recurrence.triton_plans import (
    TILES,
    Plan,
    Plans,
    PlanShape,
    SumPlan,
    bucket,
    by_table,
    candidates,
    ranges,
    sum_candidates,
)
from tests.spectral.agreement import NO_TRITON

CPU = torch.device("cpu")
SHAPE = PlanShape(128, 32, 32, 32, 32)
TABLE = by_table(SHAPE, 1)
OTHER = Plans(Plan(8, 4, 32), Plan(8, 4, 32), SumPlan(32, 128, 8, 3))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    calibration.forget()
    monkeypatch.setenv("SPECTRAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "_is_unknown", lambda device: False)
    yield
    calibration.forget()


def pretend(monkeypatch, fastest: Plans) -> list[object]:
    """Let the kernels of ``fastest`` take half the time of others, and return a list of what is timed."""
    timed: list[object] = []

    def time(run, plan, busy):
        timed.append(plan)
        return 0.5 if plan in fastest else 1.0

    monkeypatch.setattr(calibration, "_milliseconds", time)
    monkeypatch.setattr(calibration, "ELEMENTS", 1)
    return timed


def test_the_table_is_used_where_it_was_measured(monkeypatch):
    timed = pretend(monkeypatch, OTHER)
    for value in ("auto", "table", ""):
        calibration.forget()
        monkeypatch.setenv("SPECTRAL_GPU_PLANS", value)
        assert calibration.plans_for(SHAPE, CPU) == TABLE
    assert not timed


@pytest.mark.parametrize("value", ["measure", "auto"])
def test_measured_plans_are_kept_in_the_process_and_in_a_file(monkeypatch, value):
    timed = pretend(monkeypatch, OTHER)
    monkeypatch.setenv("SPECTRAL_GPU_PLANS", value)
    monkeypatch.setattr(calibration, "_is_unknown", lambda device: True)
    assert calibration.plans_for(SHAPE, CPU) == OTHER
    assert {*candidates(SHAPE), *sum_candidates(SHAPE)} <= set(timed)
    timed.clear()
    assert calibration.plans_for(SHAPE._replace(batch=30, rank=20), CPU) == OTHER, "of the same bucket"
    calibration.forget()  # as in another process
    assert calibration.plans_for(SHAPE, CPU) == OTHER
    assert not timed


def test_a_plan_that_is_hardly_faster_does_not_take_the_place_of_the_tables(monkeypatch):
    pretend(monkeypatch, OTHER)
    monkeypatch.setattr(calibration, "_milliseconds", lambda run, plan, busy: 0.97 if plan in OTHER else 1.0)
    monkeypatch.setenv("SPECTRAL_GPU_PLANS", "measure")
    assert calibration.plans_for(SHAPE, CPU) == TABLE


def test_a_plan_that_another_process_has_kept_meanwhile_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("SPECTRAL_GPU_PLANS", "measure")
    measured = TABLE._replace(forward=OTHER.forward)

    def measure(shape, device, table):
        (path,) = [tmp_path / "cache" / f"gpu-plans-{calibration._version(CPU)}.json"]
        calibration.write(path, {SHAPE: OTHER})
        return measured

    monkeypatch.setattr(calibration, "measure", measure)
    assert calibration.plans_for(SHAPE, CPU) == OTHER


def test_the_file_holds_a_bounded_number_of_shapes_and_the_newest_stay(monkeypatch, tmp_path):
    monkeypatch.setenv("SPECTRAL_GPU_PLANS", "measure")
    monkeypatch.setattr(calibration, "MOST_SHAPES", 3)
    monkeypatch.setattr(calibration, "measure", lambda shape, device, table: table)
    shapes = [SHAPE._replace(batch=1 << k) for k in range(5)]
    for shape in shapes:
        calibration.plans_for(shape, CPU)
    (path,) = (tmp_path / "cache").glob("*.json")
    assert list(calibration.read(path)) == shapes[2:]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', "[[[1, 2], [3]]]", "\x00"])
def test_a_file_that_cannot_be_read_is_replaced(monkeypatch, tmp_path, text):
    pretend(monkeypatch, OTHER)
    monkeypatch.setenv("SPECTRAL_GPU_PLANS", "measure")
    path = tmp_path / "cache" / f"gpu-plans-{calibration._version(CPU)}.json"
    path.parent.mkdir()
    path.write_text(text)
    assert calibration.plans_for(SHAPE, CPU) == OTHER
    assert calibration.read(path) == {SHAPE: OTHER}


def test_without_a_folder_that_can_be_written_plans_are_measured_in_each_process(monkeypatch, tmp_path):
    timed = pretend(monkeypatch, OTHER)
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("SPECTRAL_GPU_PLANS", "measure")
    assert calibration.plans_for(SHAPE, CPU) == OTHER
    assert timed


def test_a_file_of_the_users_decides_and_is_never_changed(monkeypatch, tmp_path):
    timed = pretend(monkeypatch, OTHER)
    path = tmp_path / "plans.json"
    calibration.write(path, {SHAPE: OTHER})
    text = path.read_text()
    assert json.loads(text)
    monkeypatch.setenv("SPECTRAL_GPU_PLANS", str(path))
    assert calibration.plans_for(SHAPE, CPU) == OTHER
    unlisted = SHAPE._replace(size=64)
    assert calibration.plans_for(unlisted, CPU) == by_table(unlisted, 1)
    assert path.read_text() == text
    assert not timed


def test_a_word_that_is_no_file_is_refused(monkeypatch):
    monkeypatch.setenv("SPECTRAL_GPU_PLANS", "fastest")
    with pytest.raises(OptionError, match="'auto', 'table', 'measure'"):
        calibration.plans_for(SHAPE, CPU)


def test_a_kernel_that_cannot_run_is_never_chosen():
    def run(plan):
        raise RuntimeError("out of resources")

    assert calibration._milliseconds(run, TABLE.forward, lambda: None) == float("inf")


@NO_TRITON
def test_every_candidate_runs_on_the_problem_that_is_timed(monkeypatch):
    """Under the interpreter, without a clock."""
    monkeypatch.setattr(calibration, "ELEMENTS", 1)
    shape = PlanShape(32, 8, 2, 2, 32)
    problem = calibration._Problem(shape, CPU)
    found = []
    for plan in [by_table(shape, 1).forward, *candidates(shape)[-2:]]:
        problem.h0.fill_(0.01)
        problem.forward(plan)
        problem.backward(plan)
        found.append([t.clone() for t in (problem.states, problem.delta, problem.h0)])
    assert all(torch.allclose(one, other) for others in found for one, other in zip(found[0], others, strict=True))
    for sums in sum_candidates(shape):
        problem.sums(sums)
        assert problem.results.bias.isfinite().all()


def test_candidates_fit_the_hardware():
    """At most 16 warps, sides of products that Triton takes, and constants that a thread's registers can hold."""
    for n in (1, 16, 32, 128, 256, 512, 1024):
        for r in (1, 2, 8, 32, 64):
            for plan in candidates(PlanShape(n, r, 1, 128, 32)):
                assert 1 <= plan.warps <= 16
                assert plan.rows == 1 or (plan.rows in TILES and n // plan.warps >= 16 and plan.held == r)
                assert r % plan.held == 0
            assert all(plan.rows == 1 for plan in candidates(PlanShape(n, r, 1, 128, 64)))


def test_ranges_cover_the_rows_whatever_the_number_of_trials():
    plan = SumPlan(16, 64, 4, 3)
    for rows, size, processors in [(1, 1, 1), (100352, 128, 132), (25088, 1024, 132), (511, 64, 132), (5, 7, 132)]:
        parts, span = ranges(rows, size, plan, processors)
        assert (parts - 1) * span < rows <= parts * span
        assert span % plan.tile == 0
        assert parts <= processors * plan.share


def test_the_table_follows_what_was_measured_on_an_h100():
    def rows(*shape):
        return [plan.rows for plan in by_table(PlanShape(*shape, 32), 132)[:2]]

    assert rows(128, 32, 1, 128) == rows(128, 32, 16, 32) == rows(512, 32, 64, 32) == [1, 1]
    assert rows(128, 32, 32, 32) == rows(256, 32, 32, 32) == [8, 8]
    assert rows(128, 64, 64, 32) == [1, 1], "A and C in three-pass TF32 would not stay in registers"
    assert by_table(PlanShape(128, 32, 32, 32, 64), 132).forward.rows == 1, "tiles multiply in float32"
    assert by_table(PlanShape(1024, 64, 1, 128, 32), 132).forward == Plan(1, 16, 8)
    assert [plan.warps for plan in by_table(PlanShape(128, 32, 1, 128, 32), 132)[:2]] == [4, 4]
    assert [plan.warps for plan in by_table(PlanShape(128, 32, 16, 32, 32), 132)[:2]] == [2, 4]
    assert [plan.warps for plan in by_table(PlanShape(256, 32, 1, 128, 32), 132)[:2]] == [4, 8]
    assert by_table(PlanShape(1, 1, 1, 1, 32), 132).backward == Plan(1, 1, 1)


def test_bucket_rounds_up():
    assert bucket(PlanShape(100, 20, 3, 33, 32)) == PlanShape(128, 32, 4, 64, 32)
    assert bucket(SHAPE) == SHAPE

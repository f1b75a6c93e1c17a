"""Reports of two trainings: equal bits, equal to rounding, or different, and where."""

from __future__ import annotations

from typing import Any

import pytest

from workers.spec.report_comparison import compare_reports, rounding_of

FIRST: dict[int, dict[str, Any]] = {
    10: {"val/loss": 0.5, "val/accuracy": 0.25, "time/wall_s": 1.0, "throughput/sequences_per_s": 9.0},
    20: {"val/loss": 0.25, "val/accuracy": 0.5, "time/wall_s": 2.0, "throughput/sequences_per_s": 9.0},
    25: {"val/loss": 0.2, "val/accuracy": 0.5, "system/process_memory_megabytes": 300.0},
    30: {"val/loss": 0.125, "val/accuracy": 0.5, "test/loss": 0.1, "time/wall_s": 3.0},
}


def changed(step: int, **values: Any) -> dict[int, dict[str, Any]]:
    return FIRST | {step: FIRST[step] | {name.replace("_", "/"): value for name, value in values.items()}}


def test_equal_reports_are_equal_whatever_the_clock_says() -> None:
    likeness, metrics = compare_reports(
        FIRST, {s: v | {"time/wall_s": 7.0, "system/process_memory_megabytes": 9.0} for s, v in FIRST.items()}, 1e-4
    )
    assert likeness == "equal"
    assert [(m.name, m.steps) for m in metrics] == [("test/loss", 1), ("val/accuracy", 4), ("val/loss", 4)]
    assert {(m.largest, m.largest_step, m.first_step) for m in metrics} == {(0.0, None, None)}


def test_the_last_bit_counts_as_rounding_and_names_its_step() -> None:
    likeness, metrics = compare_reports(FIRST, changed(20, val_loss=0.25 * (1 + 2**-52)), 1e-4)
    assert likeness == "equal to rounding"
    loss = metrics[-1]
    assert (loss.likeness, loss.first_step, loss.largest_step) == ("equal to rounding", 20, 20)
    assert loss.largest == pytest.approx(2**-52)
    assert [m.likeness for m in metrics[:-1]] == ["equal", "equal"]


def test_the_largest_difference_is_not_always_the_first() -> None:
    second = changed(10, val_loss=0.5000001)
    second[30] = second[30] | {"val/loss": 0.25}
    likeness, metrics = compare_reports(FIRST, second, 1e-4)
    loss = metrics[-1]
    assert likeness == "different"
    assert (loss.first_step, loss.largest_step, loss.largest) == (10, 30, 0.5)


def test_only_steps_and_metrics_of_both_count() -> None:
    assert compare_reports(FIRST, {40: {"val/loss": 1.0}}, 1e-4) == ("nothing in common", [])
    assert compare_reports(FIRST, {}, 1e-4)[0] == "nothing in common"
    assert compare_reports({1: {"time/wall_s": 1.0}}, {1: {"time/wall_s": 1.0}}, 1e-4)[0] == "nothing in common"
    likeness, metrics = compare_reports(FIRST, {20: {"val/loss": 0.25}, 99: {"val/loss": 7.0}}, 1e-4)
    assert (likeness, [(m.name, m.steps) for m in metrics]) == ("equal", [("val/loss", 1)])


def test_zeros_signs_and_values_that_are_no_numbers() -> None:
    def of(a: Any, b: Any) -> Any:
        return compare_reports({1: {"x": a, "y": 1.0}}, {1: {"x": b, "y": 1.0}}, 1e-4)

    assert of(0.0, -0.0)[0] == "equal"
    assert of(0.0, 1e-300)[1][0].largest == 1.0
    assert of(1.0, -1.0)[1][0].largest == 2.0
    assert [m.name for m in of([1.0], [2.0])[1]] == ["y"]


def test_rounding_is_half_of_the_digits() -> None:
    assert rounding_of("float64") == pytest.approx(1.5e-8, rel=0.01)
    assert rounding_of("float32") == pytest.approx(3.45e-4, rel=0.01)
    assert rounding_of("bfloat16") == pytest.approx(0.0625)

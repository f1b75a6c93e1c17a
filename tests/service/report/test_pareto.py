"""The Pareto front and the hypervolume, against brute force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.report.pareto import hypervolume, non_dominated, pareto
from service.report.record import TrialRow
from tests.service.report.sweeps import record_of, row_of, spec_of, wide_sweep

SIDE = 6


def points(axes: int) -> st.SearchStrategy[list[tuple[float, ...]]]:
    return st.lists(st.tuples(*[st.integers(0, SIDE + 1).map(float)] * axes), max_size=12)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_hypervolume_is_the_number_of_dominated_cells(axes: int) -> None:
    @given(points(axes))
    def check(found: list[tuple[float, ...]]) -> None:
        cells = product(range(SIDE), repeat=axes)
        dominated = sum(any(all(x <= c for x, c in zip(p, cell, strict=True)) for p in found) for cell in cells)
        assert hypervolume(found, (float(SIDE),) * axes) == dominated

    check()


def test_a_hypervolume_of_four_objectives_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 3"):
        hypervolume([(0.0,) * 4], (1.0,) * 4)


@pytest.mark.parametrize("axes", [2, 3])
def test_the_front_is_that_of_all_comparisons(axes: int) -> None:
    @given(points(axes))
    def check(found: list[tuple[float, ...]]) -> None:
        def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
            return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

        expected = [i for i, own in enumerate(found) if not any(beats(other, own) for other in found)]
        assert non_dominated(found) == expected

    check()


def test_a_sweep_with_one_objective_has_no_front() -> None:
    assert pareto(wide_sweep(20)) is None


def test_the_front_of_a_sweep_has_the_best_trial_and_the_smallest_network() -> None:
    record = wide_sweep(80, further=("parameters",))
    found = pareto(record)
    assert found is not None
    assert found.metrics == ("val/loss", "parameters")
    assert record.best is not None
    assert found.front[0].number == record.best.number
    everyone = [*found.front, *found.others]
    assert len(everyone) == len(record.scored)
    assert found.front[-1].values[1] == min(trial.values[1] for trial in everyone)
    values = [trial.values for trial in found.front]
    assert values == sorted(values)
    assert [v[1] for v in values] == sorted((v[1] for v in values), reverse=True)


@pytest.mark.parametrize("further", [("parameters",), ("parameters", "seconds")])
def test_the_hypervolume_never_falls_and_stays_a_share(further: tuple[str, ...]) -> None:
    found = pareto(wide_sweep(120, further=further))
    assert found is not None
    volumes = [volume for _, volume in found.hypervolume]
    assert volumes == sorted(volumes)
    assert 0 <= volumes[0] <= volumes[-1] <= 1
    assert volumes[-1] > 0.5
    # trials of 1e30 do not move the reference
    assert abs(found.reference[0]) < 10


def test_maximised_objectives_are_turned_round() -> None:
    spec = spec_of(
        task={"name": "digits"}, space={"model.margin": [0.1, 0.2, 0.3]}, further_objectives=[{"metric": "val/loss"}]
    )
    rows = [
        row_of(0, {"model.margin": 0.1}, 0.9, at_best={"val/loss": 0.5}),
        row_of(1, {"model.margin": 0.2}, 0.8, at_best={"val/loss": 0.6}),
        row_of(2, {"model.margin": 0.3}, 0.7, at_best={"val/loss": 0.1}),
    ]
    found = pareto(record_of(rows, spec))
    assert found is not None
    assert found.directions == ("maximize", "minimize")
    assert [trial.number for trial in found.front] == [0, 2]
    assert [trial.number for trial in found.others] == [1]


def test_trials_that_lack_a_value_are_counted() -> None:
    spec = spec_of(further_objectives=[{"metric": "seconds"}])
    rows: list[TrialRow] = [
        row_of(0, {"model.margin": 0.1}, 0.9),
        row_of(1, {"model.margin": 0.2}, 0.8, at_best={"time/wall_s": 2.0}),
        row_of(2, {"model.margin": 0.2}, None, "failed"),
    ]
    found = pareto(record_of(rows, spec))
    assert found is not None
    assert found.left_out == 1
    assert [trial.number for trial in found.front] == [1]
    assert pareto(record_of(rows[:1], spec)) is None

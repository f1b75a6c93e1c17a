"""What a pack costs, from exact measurements, from neighbours on a line, and from other shapes."""

from __future__ import annotations

import pytest

from service.estimates.pack_costs import ASSUMED_SLOWDOWN, ASSUMED_START, RAY_SECONDS, PackCosts, PackProfile
from tests.service.estimates.examples import measured, seeds, sweep_of

SMALL = sweep_of(space=seeds(8))[1]
LARGE = sweep_of(model={"hidden_size": 24, "reflectors": 2}, space=seeds(8))[1]
LSTM = sweep_of(model={"kind": "lstm", "hidden_size": 8}, space=seeds(2))[1]


def test_a_pack_that_was_trained_costs_the_median_of_its_runs() -> None:
    runs = [measured(SMALL[:4], step_seconds=seconds) for seconds in (0.1, 0.3, 9.0)]
    found = PackCosts([*runs, measured(SMALL[:4], source="calibration", step_seconds=0.3)], 1).of(
        PackProfile.of(SMALL[4:])
    )
    assert found is not None
    assert (found.basis, found.samples, found.size) == ("runs", 3, 4)
    assert (found.step_seconds, found.evaluation_seconds, found.checkpoint_seconds) == (0.3, 0.5, 0.01)


def test_steps_of_other_devices_and_numbers_of_threads_do_not_count() -> None:
    others = [
        measured(SMALL[:4], device="cpu: old", step_seconds=5.0),
        measured(SMALL[:4], cpus=4.0, step_seconds=7.0),
    ]
    found = PackCosts([*others, measured(SMALL[:4])], 1).of(PackProfile.of(SMALL[:4]))
    assert found is not None
    assert found.step_seconds == 0.1


def test_a_trial_run_is_slowed_down_as_earlier_ones_were() -> None:
    known = [
        *(measured(LARGE[:4], source="calibration", step_seconds=0.1) for _ in range(2)),
        *(measured(LARGE[:4], step_seconds=0.2) for _ in range(3)),
        measured(SMALL[:4], source="calibration", step_seconds=1.0),
    ]
    costs = PackCosts(known, 1)
    found = costs.of(PackProfile.of(SMALL[:4]))
    assert found is not None
    assert found.basis == "calibration"
    # three comparisons, each of a ratio of 2, count as much as what is assumed
    assert costs.compared == 3
    assert found.step_seconds == pytest.approx((2 * ASSUMED_SLOWDOWN) ** 0.5)
    first = PackCosts([measured(SMALL[:4], source="calibration", step_seconds=1.0)], 1)
    assert (first.slowdown, first.compared) == (ASSUMED_SLOWDOWN, 0)
    assert PackCosts([measured(SMALL[:4], source="calibration", device="gpu: test", gpus=1.0)], 1).slowdown == 1.0
    # what was trained needs no correction
    exact = costs.of(PackProfile.of(LARGE[:4]))
    assert exact is not None
    assert exact.step_seconds == 0.2


def test_other_sizes_of_a_shape_lie_on_the_line_through_two_measured_ones() -> None:
    costs = PackCosts([measured(SMALL[:2], step_seconds=0.3), measured(SMALL[:4], step_seconds=0.5)], 1)
    for count, seconds in ((1, 0.2), (3, 0.4), (8, 0.9)):
        found = costs.of(PackProfile.of(SMALL[:count]))
        assert found is not None
        assert found.basis == "scaled"
        assert found.step_seconds == pytest.approx(seconds)


def test_more_work_never_takes_less_time_whatever_was_measured() -> None:
    costs = PackCosts([measured(SMALL[:2], step_seconds=0.5), measured(SMALL[:4], step_seconds=0.4)], 1)
    found = [costs.of(PackProfile.of(SMALL[:count])) for count in (5, 8)]
    assert all(cost is not None and cost.step_seconds == pytest.approx(0.4) for cost in found)


def test_another_shape_of_the_kind_is_scaled_by_its_multiply_adds() -> None:
    costs = PackCosts([measured(SMALL, step_seconds=0.1)], 1)
    found = costs.of(PackProfile.of(LARGE))
    assert found is not None
    ratio = PackProfile.of(LARGE).work / PackProfile.of(SMALL).work
    assert ratio > 2
    assert found.basis == "scaled"
    assert found.step_seconds == pytest.approx(0.001 + 0.099 * ratio)
    assert costs.of(PackProfile.of(LSTM)) is None
    assert costs.basis_of(PackProfile.of(LSTM)) == "unknown"


def test_a_gpu_trains_as_many_at_once_as_it_did_before() -> None:
    costs = PackCosts([measured(SMALL[:8], size=3, gpus=1.0, work=PackProfile.of(SMALL[:3]).work)], 1)
    found = costs.of(PackProfile.of(SMALL[:8]))
    assert found is not None
    assert (found.size, found.basis) == (3, "runs")
    few = costs.of(PackProfile.of(SMALL[:2]))
    assert few is not None
    assert few.size == 2


def test_the_start_is_that_of_the_last_packs_then_of_trial_runs_then_assumed() -> None:
    tried = measured(SMALL, source="calibration", start_seconds=2.0)
    assert PackCosts([], 1).start == (ASSUMED_START, "unknown", 0)
    assert PackCosts([tried], 1).start == (2.0 + RAY_SECONDS, "calibration", 1)
    runs = [measured(SMALL, start_seconds=seconds) for seconds in (3.0, 4.0, 60.0)]
    assert PackCosts([tried, *runs], 1).start == (4.0, "runs", 3)

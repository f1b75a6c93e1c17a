"""The estimate for a sweep: its numbers, and a reason beside each."""

from __future__ import annotations

from typing import Any

import pytest

from service.estimates.estimate import (
    MOST_CALIBRATED,
    SERVICE_SECONDS,
    Estimator,
    _places,
    concurrent_trials,
    workers_of,
)
from service.estimates.pack_costs import ERRORS
from service.estimates.pack_schedule import REFILL_SECONDS
from service.estimates.pack_seconds import REPLY_SECONDS
from service.estimates.peak_memory import PROGRAM_BYTES, RAY_BYTES
from tests.service.estimates.examples import measured, seeds, sweep_of
from workers.spec.cost import training_bytes
from workers.spec.sweep import ResourcesSpec

TRAINING = {"steps": 80, "batch_size": 4, "report_every": 10, "checkpoint_every": 20, "lr": 0.01}
TWO = [(2.0, 0.0)]


def why(estimate: dict[str, Any], about: str) -> str:
    return "; ".join(reason["reason"] for reason in estimate["reasons"] if reason["about"] == about)


def test_the_time_of_a_sweep_is_that_of_its_packs_on_the_workers() -> None:
    spec, trials = sweep_of(space=seeds(4), training=TRAINING, resources={"pack_size": 1, "cpus": 2.0})
    known = [measured(trials[:1], cpus=2.0)]
    # a pack of one trial takes 12.04 s; of the four, two run at the same time, and the others in their processes
    found = Estimator(spec, trials, [(4.0, 0.0)], known).estimate()
    pack = 80 * 0.1 + 8 * 0.5 + 4 * 0.01
    assert (found["packs"], found["workers"]) == (4, 2)
    certain, error = REFILL_SECONDS + SERVICE_SECONDS, 1 + ERRORS["runs"]
    wanted = {"expected": 4.0 + 2 * pack, "low": (4.0 + 2 * pack) / error, "high": (4.0 + 2 * pack) * error}
    assert found["seconds"] == {name: pytest.approx(value + certain, abs=0.06) for name, value in wanted.items()}
    assert found["device_hours"] == {"cpu": pytest.approx((2 * 4.0 + 4 * pack) * 2 / 3600), "gpu": 0.0}
    assert found["peak_memory_bytes"] == 400_000_000
    assert {reason["about"] for reason in found["reasons"]} == {
        *("trials", "packs", "workers", "seconds", "device_hours", "peak_memory_bytes"),
    }
    assert "4 packs as in earlier runs of packs like them" in why(found, "seconds")
    assert "4.0 s for the start of 2 packs (the others go on in the processes of those that have ended)" in why(
        found, "seconds"
    )
    assert why(found, "packs") == "4 of 1 trial: 1 shape, at most 1 in a pack"
    assert "room for 2 packs at a time" in why(found, "workers")


def test_without_any_measurement_the_time_is_null_and_the_reason_says_what_gives_one() -> None:
    spec, trials = sweep_of(space=seeds(4), training=TRAINING)
    found = Estimator(spec, trials, [], []).estimate(["a note"])
    assert (found["seconds"], found["device_hours"], found["workers"]) == (None, None, 1)
    assert "no network of kind spectral_rnn was trained on a CPU here yet" in why(found, "seconds")
    assert "spectral submit --dry-run" in why(found, "seconds")
    assert "a note" in why(found, "seconds")
    assert "not known" in why(found, "workers")
    assert found["peak_memory_bytes"] == PROGRAM_BYTES + RAY_BYTES + training_bytes(trials)


def test_the_range_is_wider_where_less_is_known() -> None:
    spec, trials = sweep_of(space=seeds(4), training=TRAINING)
    other = sweep_of(space=seeds(4), training=TRAINING | {"batch_size": 8})[1]
    widths = []
    for known in (measured(trials), measured(trials, source="calibration"), measured(other, start_seconds=None)):
        seconds = Estimator(spec, trials, [(1.0, 0.0)], [known]).estimate()["seconds"]
        widths.append(seconds["high"] / seconds["low"])
    assert widths == sorted(widths)
    assert widths[0] < 1.4
    assert widths[2] > 2


def test_early_stopping_lowers_what_is_expected_and_not_the_upper_end() -> None:
    plain, trials = sweep_of(space=seeds(9), training=TRAINING)
    early = {"kind": "asha", "min_steps": 20, "reduction": 3}
    halved = sweep_of(space=seeds(9), training=TRAINING, early_stopping=early)[0]
    known = [measured(trials), measured(trials[:3], step_seconds=0.04), measured(trials[:1], step_seconds=0.02)]
    whole = Estimator(plain, trials, [(1.0, 0.0)], known).estimate()
    less = Estimator(halved, trials, [(1.0, 0.0)], known).estimate()
    assert less["seconds"]["expected"] < 0.8 * whole["seconds"]["expected"]
    assert less["seconds"]["high"] == whole["seconds"]["high"]
    assert less["device_hours"]["cpu"] < whole["device_hours"]["cpu"]
    assert "asha is expected to let one trial in 3 go on" in why(less, "seconds")
    target, own = sweep_of(space=seeds(9), training=TRAINING | {"target": 0.1})
    reached = Estimator(target, own, [(1.0, 0.0)], known).estimate()
    assert reached["seconds"]["expected"] == whole["seconds"]["expected"]
    assert reached["seconds"]["low"] < less["seconds"]["low"]
    assert "how early training.target ends trials depends on their results" in why(reached, "seconds")


def test_a_sweep_that_is_halved_lasts_as_long_as_the_pack_of_its_best_trial() -> None:
    early = {"kind": "asha", "min_steps": 40, "reduction": 4}
    spec, trials = sweep_of(
        space=seeds(4), training=TRAINING, early_stopping=early, resources={"pack_size": 2}
    )  # of each two trials half of one is expected to be left after 40 of 80 steps
    free = {"evaluation_seconds": 0.0, "checkpoint_seconds": 0.0, "start_seconds": 3.0}
    known = [measured(trials[:2], step_seconds=0.1, **free), measured(trials[:1], step_seconds=0.05, **free)]
    side_by_side = Estimator(spec, trials, [(2.0, 0.0)], known).estimate()
    late = 0.5 * REPLY_SECONDS
    longest = 3 + 40 * 0.1 + 40 * 0.05 + late + SERVICE_SECONDS
    assert side_by_side["seconds"]["expected"] == pytest.approx(longest, abs=0.06)
    hours = (2 * (3 + 40 * 0.1 + late) + 40 * 0.05) / 3600
    assert side_by_side["device_hours"]["cpu"] == pytest.approx(hours)
    in_turn = Estimator(spec, trials, [(1.0, 0.0)], known).estimate()
    # the second pack goes on in the process of the first one
    assert in_turn["device_hours"]["cpu"] == pytest.approx(hours - 3 / 3600)
    one_after_another = 3600 * hours - 3 + REFILL_SECONDS + SERVICE_SECONDS
    assert in_turn["seconds"]["expected"] == pytest.approx(one_after_another, abs=0.06)


def test_a_larger_pack_has_the_best_trial_more_often_and_one_pack_always_has_it() -> None:
    draws = _places([9, 1])
    assert all(sorted(places) in ([0.0, 0.9], [0.0, 0.1]) for places in draws)
    assert 0.75 < sum(places[0] == 0.0 for places in draws) / len(draws) < 1.0
    assert _places([4]) == [[0.0]] * len(_places([4]))
    assert sorted(_places([2, 2, 2, 2])[0]) == [0.0, 0.25, 0.5, 0.75]
    assert len(_places([1] * 10_000)) == 1
    assert _places([]) == [[]] * len(_places([]))


def test_every_shape_is_estimated_and_calibrated_by_its_largest_pack() -> None:
    space = {"model.hidden_size": {"values": [6, 12, 24]}, "training.seed": {"values": [0, 1, 2]}}
    spec, trials = sweep_of(space=space, training=TRAINING)
    estimator = Estimator(spec, trials, [(1.0, 0.0)], [measured(trials[:3], step_seconds=0.01)])
    packs = estimator.to_calibrate()
    assert [pack[0].model.hidden_size for pack in packs] == [24, 12]
    assert all(len(pack) == 3 for pack in packs)
    found = estimator.estimate()
    assert "1 pack as in earlier runs" in why(found, "seconds")
    assert "2 packs scaled by their multiply-adds" in why(found, "seconds")
    assert "3 shapes" in why(found, "packs")


def test_of_many_shapes_some_are_calibrated_from_the_largest_to_the_smallest() -> None:
    sizes = list(range(4, 44, 2))
    spec, trials = sweep_of(space={"model.hidden_size": {"values": sizes}}, training=TRAINING)
    chosen = [pack[0].model.hidden_size for pack in Estimator(spec, trials, TWO, []).to_calibrate()]
    assert len(chosen) == MOST_CALIBRATED
    assert (chosen[0], chosen[-1]) == (42, 4)
    assert chosen == sorted(chosen, reverse=True)


def test_workers_are_counted_node_by_node() -> None:
    nodes = [(3.0, 1.0), (2.0, 0.0), (0.5, 4.0)]
    assert workers_of(ResourcesSpec(cpus=1.0), nodes) == 5
    assert workers_of(ResourcesSpec(cpus=2.0), nodes) == 2
    assert workers_of(ResourcesSpec(cpus=0.5, gpus=0.5), nodes) == 3


def test_a_sampler_that_learns_bounds_how_many_trials_run_at_once() -> None:
    search = {"sampler": "tpe", "trials": 12, "options": {"concurrent": 3}}
    space = {"model.margin": {"low": 0.001, "high": 0.1}}
    spec, trials = sweep_of(space=space, training=TRAINING, search=search)
    assert concurrent_trials(spec) == 3
    found = Estimator(spec, trials, TWO, [measured(trials[:2]), measured(trials[:1])]).estimate()
    assert "at most 3 trials run at a time" in why(found, "packs")
    assert found["packs"] > 4
    random = sweep_of(space=space, training=TRAINING, search={"sampler": "random", "trials": 12})[0]
    assert concurrent_trials(random) is None


def test_max_parallel_bounds_how_many_trials_run_at_once() -> None:
    rest = {"training": TRAINING, "resources": {"pack_size": 1}}
    spec, trials = sweep_of(space=seeds(4), **rest)
    bounded = sweep_of(space=seeds(4), max_parallel=1, **rest)[0]
    free, alone = (Estimator(one, trials, TWO, [measured(trials[:1])]).estimate() for one in (spec, bounded))
    assert "max_parallel lets at most 1 trial run at a time" in why(alone, "packs")
    # the same packs, one after another in one process instead of two at a time in two
    start = 4.0
    assert alone["device_hours"]["cpu"] == pytest.approx(free["device_hours"]["cpu"] - start / 3600)
    pair = free["seconds"]["expected"] - start - SERVICE_SECONDS
    assert alone["seconds"]["expected"] == pytest.approx(start + 2 * pair + REFILL_SECONDS + SERVICE_SECONDS, abs=0.2)


def test_repeats_of_a_point_stay_together_and_count_for_what_runs_at_once() -> None:
    search = {"sampler": "tpe", "trials": 4, "options": {"concurrent": 2}}
    space = {"model.margin": {"low": 0.001, "high": 0.1}}
    spec, trials = sweep_of(space=space, training=TRAINING, search=search, repeats=3)
    assert len(trials) == 12
    assert concurrent_trials(spec) == 6
    estimator = Estimator(spec, trials, TWO, [measured(trials[:3])])
    assert [[trial.number // 3 for trial in pack] for pack in estimator.packs] == [[n] * 3 for n in range(4)]
    assert why(estimator.estimate(), "trials") == "4 search.trials, drawn by tpe, each with 3 seeds"


def test_memory_is_the_largest_that_was_measured_of_such_packs() -> None:
    spec, trials = sweep_of(space=seeds(4), training=TRAINING)
    runs = [measured(trials, peak_bytes=size) for size in (500_000_000, 510_000_000)]
    assert Estimator(spec, trials, [(1.0, 0.0)], runs).estimate()["peak_memory_bytes"] == 510_000_000
    tried = [measured(trials, source="calibration", peak_bytes=300_000_000)]
    assert Estimator(spec, trials, [(1.0, 0.0)], tried).estimate()["peak_memory_bytes"] == 300_000_000 + RAY_BYTES
    # of a pack of another size nothing was measured
    assert Estimator(spec, trials, TWO, runs).estimate()["peak_memory_bytes"] < 400_000_000

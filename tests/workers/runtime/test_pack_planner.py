"""Plans hold every trial once, never mix shapes, and never exceed the requested size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.examples import make_trial
from workers.runtime.pack_planner import LARGEST_ON_CPU, LARGEST_SMALL_ON_CPU, MOST_ON_GPU, plan

SMALL, LARGE = make_trial(hidden_size=6), make_trial(hidden_size=8)


@given(
    trials=st.lists(st.sampled_from([SMALL, LARGE, make_trial(hidden_size=8, reflectors=1)]), max_size=200),
    size=st.integers(1, 256) | st.just("auto"),
    workers=st.integers(1, 16),
    gpus=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_plan_is_a_partition_by_shape(trials: list[Any], size: int | str, workers: int, gpus: float) -> None:
    packs = plan(trials, size, workers, gpus)  # type: ignore[arg-type]
    assert sorted(position for pack in packs for position in pack) == list(range(len(trials)))
    largest = size if isinstance(size, int) else MOST_ON_GPU if gpus else LARGEST_SMALL_ON_CPU
    for pack in packs:
        assert 1 <= len(pack) <= largest
        assert pack == sorted(pack)
        assert len({trials[position].shape_key for position in pack}) == 1


@pytest.mark.parametrize(
    ("count", "workers", "gpus", "sizes"),
    [
        (9, 2, 0, [4, 5]),
        (1, 8, 0, [1]),
        (8, 16, 0, [1] * 8),
        (9, 1, 1, [9]),
        (100, 1, 1, [100]),
        (100, 3, 1, [33, 33, 34]),
        (300, 1, 0.5, [150, 150]),
        (32, 2, 0, [16] * 2),
        (64, 2, 0, [16] * 4),
    ],
)
def test_auto_spreads_evenly_over_the_workers(count: int, workers: int, gpus: float, sizes: list[int]) -> None:
    assert sorted(map(len, plan([SMALL] * count, "auto", workers, gpus))) == sizes


def test_trials_with_much_arithmetic_of_their_own_go_into_smaller_packs() -> None:
    packs = plan([make_trial(hidden_size=512, batch_size=512)] * 32, "auto", 2, 0)
    assert [len(pack) for pack in packs] == [LARGEST_ON_CPU] * 4


def test_a_given_size_is_filled_evenly() -> None:
    assert [len(pack) for pack in plan([SMALL] * 10, 4, 1, 0)] == [3, 3, 4]


def test_reflectors_margins_rates_and_seeds_share_a_pack() -> None:
    trials = [
        SMALL,
        make_trial(reflectors=4),
        make_trial(margin=0.2),
        make_trial(lr=0.1),
        make_trial(seed=7),
        make_trial(activation="relu"),
    ]
    assert plan(trials, 8, 1, 0) == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("other", [{"layers": 2}, {"activation": "tanh"}, {"steps": 16}, {"dtype": "float64"}])
def test_other_shapes_do_not_share_a_pack(other: dict[str, Any]) -> None:
    assert plan([SMALL, make_trial(**other)], 8, 1, 0) == [[0], [1]]


def test_packs_of_unlike_trials_have_the_same_work() -> None:
    few, many = make_trial(hidden_size=64, reflectors=4), make_trial(hidden_size=64, reflectors=32)
    for pack in plan([few] * 8 + [many] * 8, "auto", 2, 0):
        assert [position < 8 for position in pack].count(True) == 4


def test_no_workers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1; found 0"):
        plan([SMALL], "auto", 0, 0)


def repeated(points: int, repeats: int, **changes: Any) -> list[Any]:
    return [make_trial(**changes).model_copy(update={"number": number}) for number in range(points * repeats)]


@given(
    points=st.integers(1, 30),
    repeats=st.integers(2, 7),
    size=st.integers(1, 20),
    workers=st.integers(1, 5),
    lost=st.sets(st.integers(0, 200), max_size=20),
)
def test_the_repeats_of_a_point_share_a_pack_where_they_fit(
    points: int, repeats: int, size: int, workers: int, lost: set[int]
) -> None:
    trials = [trial for trial in repeated(points, repeats) if trial.number not in lost]
    packs = plan(trials, size, workers, 0, repeats)
    assert sorted(position for pack in packs for position in pack) == list(range(len(trials)))
    assert all(1 <= len(pack) <= size for pack in packs)
    homes: dict[int, set[int]] = {}
    for number, pack in enumerate(packs):
        for position in pack:
            homes.setdefault(trials[position].number // repeats, set()).add(number)
    if repeats <= size:
        assert all(len(home) == 1 for home in homes.values())


def test_points_with_unlike_work_are_balanced_whole() -> None:
    few, many = repeated(4, 3, reflectors=1), repeated(4, 3, reflectors=6)
    trials = few + [trial.model_copy(update={"number": trial.number + 12}) for trial in many]
    packs = plan(trials, 12, 1, 0, 3)
    assert sorted(map(len, packs)) == [12, 12]
    assert [sum(position < 12 for position in pack) for pack in packs] == [6, 6]

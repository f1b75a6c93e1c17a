"""Which packs begin in which order on some workers, and when the last one ends."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from service.estimates.pack_schedule import REFILL_SECONDS, REPLANNED, PackLoad, planned_packs, schedule
from tests.service.estimates.examples import seeds, sweep_of


@pytest.mark.parametrize("count", [1, 7, 40, REPLANNED + 1, 500])
@pytest.mark.parametrize("concurrent", [None, 8])
def test_every_trial_is_in_one_pack(count: int, concurrent: int | None) -> None:
    trials = sweep_of(space=seeds(count))[1]
    packs = planned_packs(trials, "auto", 3, 0, len, concurrent)
    assert Counter(position for pack in packs for position in pack) == Counter(range(count))
    if concurrent:
        assert max(map(len, packs)) <= concurrent


def test_what_is_left_is_divided_again_when_a_worker_is_free() -> None:
    # two shapes of four trials each for two workers: the second shape is planned when the first pack has ended
    space = {"model.hidden_size": {"values": [6, 12]}, "training.seed": {"values": [0, 1, 2, 3]}}
    trials = sweep_of(space=space)[1]
    packs = planned_packs(trials, "auto", 2, 0, lambda pack: 1.0)
    assert [len(pack) for pack in packs] == [2, 2, 2, 2]
    alone = planned_packs(trials, "auto", 1, 0, lambda pack: 1.0)
    assert [len(pack) for pack in alone] == [4, 4]


def test_a_sampler_that_learns_lets_the_next_begin_when_others_have_ended() -> None:
    trials = sweep_of(space=seeds(6))[1]
    packs = planned_packs(trials, "auto", 2, 0, lambda pack: 10.0 if 0 in pack else 1.0, 2)
    # one of the two places is taken by trial 0 for as long as all the others take
    assert packs == [[0], [1], [2], [3], [4], [5]]


@pytest.mark.parametrize("count", [7, REPLANNED + 1])
def test_max_parallel_bounds_the_trials_of_all_packs_that_run(count: int) -> None:
    trials = sweep_of(space=seeds(count))[1]
    packs = planned_packs(trials, "auto", 2, 0, lambda pack: 1.0, most=3)
    assert Counter(position for pack in packs for position in pack) == Counter(range(count))
    assert max(map(len, packs)) <= 3


@pytest.mark.parametrize("count", [REPLANNED, REPLANNED + 1])
def test_packs_are_made_of_the_trials_that_max_parallel_lets_begin(count: int) -> None:
    # as the controller makes them: four workers share eight trials, also where many more wait
    trials = sweep_of(space=seeds(count))[1]
    packs = planned_packs(trials, "auto", 4, 0, lambda pack: 1.0, most=8)
    assert packs[:4] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert Counter(position for pack in packs for position in pack) == Counter(range(count))


def test_what_max_parallel_leaves_begins_beside_a_longer_pack() -> None:
    trials = sweep_of(space=seeds(6))[1]
    packs = planned_packs(trials, 2, 3, 0, lambda pack: 10.0 if 0 in pack else 1.0, most=3)
    assert packs == [[0], [1, 2], [3, 4], [5]]


def loads(*seconds: float, trials: int = 1) -> list[PackLoad]:
    """Packs of different shapes."""
    return [PackLoad(one, trials, f"{place} {one}") for place, one in enumerate(seconds)]


def test_a_pack_begins_on_the_first_free_worker() -> None:
    assert schedule(loads(3.0, 2.0, 2.0), 2, 0.0) == (4.0, 3)
    assert schedule([], 2, 1.0) == (0.0, 0)
    assert schedule(loads(1.0), 2, 0.0, busy=loads(5.0, 4.0)) == (5.0, 1)
    assert schedule(loads(3.0), 2, 0.5, busy=loads(5.0, 4.0)) == (7.5, 1)
    assert schedule(loads(1.0), 3, 2.0, busy=loads(5.0)) == (5.0, 1)


def test_trials_count_where_they_are_bounded() -> None:
    # two workers, but no more than three trials at a time: a pack of two waits for the other
    pairs, single = loads(3.0, 3.0, trials=2), PackLoad(3.0, 1, "single")
    assert schedule(pairs, 2, 0.0, most=3).end == 6.0
    assert schedule([pairs[0], single], 2, 0.0, most=3).end == 3.0
    assert schedule(loads(1.0), 2, 0.0, busy=loads(4.0, trials=3), most=3).end == 5.0
    # one that alone has more, because its sweep was given less meanwhile, still begins
    assert schedule(loads(2.0, trials=4), 2, 0.0, busy=loads(1.0), most=3).end == 3.0


def test_a_runner_goes_on_with_trials_of_the_shape_that_it_has() -> None:
    one, other = PackLoad(10.0, 2, "one"), PackLoad(10.0, 2, "other")
    assert schedule([one, one, one, one], 2, 4.0) == (4.0 + 10.0 + REFILL_SECONDS + 10.0, 2)
    assert schedule([one, one, one, one], 1, 4.0) == (4.0 + 40.0 + 3 * REFILL_SECONDS, 1)
    # trials of its shape come before those that were to begin earlier
    assert schedule([one, other, one], 1, 4.0) == (4.0 + 10.0 + REFILL_SECONDS + 10.0 + 4.0 + 10.0, 2)
    assert schedule([other, one], 2, 4.0, busy=[one, one]) == (24.0, 1)


def test_a_runner_that_got_no_others_has_ended_by_the_time_of_the_next_pack() -> None:
    one, other = (PackLoad(10.0, 1, shape) for shape in ("one", "other"))
    # two trials at a time on four workers: the line is kept, so each pair waits for the one before it
    assert schedule([one, one, other, other, one], 4, 5.0, (), 2) == (45.0, 5)


def test_shapes_that_alternate_are_trained_shape_by_shape() -> None:
    shapes = {"model.hidden_size": {"values": [16, 32, 64]}}
    trials = sweep_of(space=seeds(8) | shapes)[1]
    packs = planned_packs(trials, 2, 1, 0, lambda positions: 10.0)
    sizes = [{trials[position].model.hidden_size for position in pack} for pack in packs]
    assert all(len(own) == 1 for own in sizes)
    order = [own.pop() for own in sizes]
    assert len([None for before, after in pairwise(order) if before != after]) == 2
    loads = [PackLoad(10.0, len(pack), trials[pack[0]].shape_key) for pack in packs]
    assert schedule(loads, 1, 5.0) == (3 * 5.0 + 12 * 10.0 + 9 * REFILL_SECONDS, 3)

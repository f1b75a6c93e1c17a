"""Which packs begin in which order on some workers, and when the last one ends."""

from __future__ import annotations

from collections import Counter

import pytest

from service.estimates.pack_schedule import REPLANNED, makespan, planned_packs
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


def test_the_makespan_is_that_of_the_first_free_worker() -> None:
    assert makespan([3.0, 2.0, 2.0], 2) == 4.0
    assert makespan([], 2) == 0.0
    assert makespan([1.0], 2, busy=[5.0, 4.0]) == 5.0
    assert makespan([3.0], 2, busy=[5.0, 4.0]) == 7.0
    assert makespan([1.0], 3, busy=[5.0]) == 5.0

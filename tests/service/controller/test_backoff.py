"""Pauses that grow, are forgotten after a good while, and end in giving up."""

from __future__ import annotations

from service.controller.backoff import Backoff
from tests.service.controller.conftest import Clock


def test_pauses_double_up_to_the_longest(clock: Clock) -> None:
    tries = Backoff(first=1, longest=5)
    pauses = []
    for _ in range(5):
        pauses.append(tries.fail())
        clock.now += pauses[-1]
    assert pauses == [1, 2, 4, 5, 5]


def test_what_went_well_for_long_begins_again(clock: Clock) -> None:
    tries = Backoff(first=1, longest=30, steady=60)
    assert [tries.fail(), tries.fail()] == [1, 2]
    clock.now += 2 + 61
    assert tries.fail() == 1
    clock.now += 1 + 59
    assert tries.fail() == 2


def test_it_gives_up_by_tries_and_by_time(clock: Clock) -> None:
    tries = Backoff(first=1, longest=30)
    for _ in range(10):
        tries.fail()
    assert not tries.exhausted(5, 30), "many at once may have one cause that passes"
    clock.now += 31
    assert tries.exhausted(5, 30)
    tries.succeed()
    assert not tries.exhausted(1, 0)
    tries.fail()
    clock.now += 31
    assert not tries.exhausted(5, 30), "one failure is no row"


def test_a_pause_passes(clock: Clock) -> None:
    tries = Backoff(first=4)
    assert tries.pause_left == 0
    tries.fail()
    clock.now += 1
    assert tries.pause_left == 3
    clock.now += 5
    assert tries.pause_left == 0

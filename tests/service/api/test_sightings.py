"""What was last seen, and when, whatever the clocks say."""

from __future__ import annotations

import pytest

from service.api import sightings
from service.api.sightings import Sightings


class Clocks:
    """A monotonic and a wall clock that the test sets."""

    def __init__(self) -> None:
        self.passed, self.wall = 1_000.0, 50_000.0

    def monotonic(self) -> float:
        return self.passed

    def time(self) -> float:
        return self.wall

    def wait(self, seconds: float) -> None:
        self.passed += seconds
        self.wall += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    found = Clocks()
    monkeypatch.setattr(sightings, "time", found)
    return found


def test_a_part_that_is_seen_for_the_first_time_is_as_old_as_its_row(clocks: Clocks) -> None:
    assert Sightings().age("ray", clocks.wall - 40) == 40
    assert Sightings().age("ray", clocks.wall + 40) == 40


def test_a_row_that_does_not_change_ages_also_if_the_clock_is_set_back(clocks: Clocks) -> None:
    seen, at = Sightings(), clocks.wall
    assert seen.age("controller", at) == 0
    clocks.wall -= 3600
    clocks.wait(45)
    assert seen.age("controller", at) == 45


@pytest.mark.parametrize("skew", [-3600.0, 3600.0])
def test_a_row_that_changes_is_alive_whatever_the_clock_of_its_writer_says(clocks: Clocks, skew: float) -> None:
    seen = Sightings()
    for _ in range(20):
        clocks.wait(3)
        age = seen.age("controller", clocks.wall + skew)
    assert age <= 3


def test_a_row_that_changed_long_ago_but_after_the_last_look_is_old(clocks: Clocks) -> None:
    seen = Sightings()
    seen.age("controller", clocks.wall)
    clocks.wait(1000)
    assert seen.age("controller", clocks.wall - 400) == 400

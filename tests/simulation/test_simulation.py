"""Seeded schedules of faults through the real controller and store (``world``), and what must hold after each.

``make simulate SCHEDULES=10000 SEED=0`` runs more of them. A failure prints how to replay it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import draw
from tests.simulation.simulate import Simulator, simulator

SEEDS, AT_ONCE = range(50), 10
SEEDS_FOR_A_MUTANT = range(1_000, 1_100)
"""A mistake that these schedules do not show is not noticed."""


@pytest.fixture(scope="module")
def own() -> Iterator[Simulator]:
    with simulator() as found:
        yield found


@pytest.mark.parametrize("first", SEEDS[::AT_ONCE])
def test_schedules_break_no_rule(own: Simulator, first: int) -> None:
    failure = own.first_failure(range(first, first + AT_ONCE))
    assert failure is None, str(own.shrink(failure))


def test_a_schedule_is_a_function_of_its_seed(own: Simulator) -> None:
    schedule = next(schedule for schedule in map(draw, range(100)) if len(schedule.faults) > 3)
    assert own.run(schedule).trace == own.run(schedule).trace
    assert draw(schedule.seed) == schedule


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_in_the_controller_is_noticed(own: Simulator, name: str) -> None:
    mutant = MUTANTS[name]
    with mutant.make():
        assert own.first_failure(SEEDS_FOR_A_MUTANT, mutant.kinds) is not None


def test_a_failure_is_shrunk_to_the_faults_that_it_needs(own: Simulator) -> None:
    mutant = MUTANTS["takes_every_loss_for_a_crash"]
    with mutant.make():
        failure = own.first_failure(SEEDS_FOR_A_MUTANT, mutant.kinds)
        assert failure is not None
        smallest = own.shrink(failure)
        assert smallest.found
        assert own.check(replace(smallest.schedule, faults=())) is None
    assert 1 <= len(smallest.schedule.faults) <= len(failure.schedule.faults)

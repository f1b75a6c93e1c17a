"""Two packs of a sweep that are half empty, while another sweep waits: one goes into the other, whatever is killed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import select

from service.store import open_trials
from service.store.database import Database
from service.store.tables import Attempt, Pack
from tests.simulation import oracle, simulate
from tests.simulation.schedule import DOCUMENTS, Fault, Schedule
from tests.simulation.simulate import Simulator, simulator
from tests.simulation.user import User
from tests.simulation.world import World

LONG = next(i for i, document in enumerate(DOCUMENTS) if document["search"].get("trials") == 6)
OTHER = 0


class StoppingUser(User):
    """Stops four of the six trials of the first sweep, so that each of its two packs has a single one left.

    Then the other sweep is submitted.
    """

    def submit(self) -> None:
        first = not self.sweep_ids
        super().submit()
        if first:
            (sweep_id,) = self.sweep_ids
            self._later, self.waiting = self.waiting, []
            self._world.at(0.0, partial(self._stop, sweep_id))

    def _stop(self, sweep_id: str) -> None:
        world = self._world
        with world.database.read() as session:
            running = len(open_trials.in_state(session, sweep_id, "running"))
        if running < 6:
            world.at(world.clock.now + 0.3, partial(self._stop, sweep_id))
            return
        for number in (1, 2, 4, 5):
            self.verb(f"{sweep_id}-{number:04d}", "stop")
        self.waiting = self._later
        super().submit()  # the other sweep, which finds no room


class HalfEmpty(World):
    """A world with such a user."""

    def __init__(self, schedule: Schedule, database: Database) -> None:
        super().__init__(schedule, database)
        self.user = StoppingUser(self)


@pytest.fixture(scope="module")
def own() -> Iterator[Simulator]:
    with pytest.MonkeyPatch.context() as patch, simulator() as found:
        patch.setattr(simulate, "World", HalfEmpty)
        yield found


def schedule(*faults: Fault) -> Schedule:
    return Schedule(
        seed=4,
        cpus=2.0,
        sweeps=(LONG, OTHER),
        together=False,
        standby=False,
        poison=False,
        failing=False,
        goes_on=False,
        faults=faults,
    )


def test_half_empty_packs_are_merged_and_the_free_place_is_used(own: Simulator) -> None:
    world = own.run(schedule())
    assert oracle.violations(world) == []
    long, other = world.user.sweep_ids
    with world.database.read() as session:
        outcomes = [*session.scalars(select(Attempt.outcome).where(Attempt.outcome == "moved"))]
        packs = list(session.scalars(select(Pack).where(Pack.sweep_id == long)))
        (begun,) = session.scalars(select(Pack.created_at).where(Pack.sweep_id == other))
    assert outcomes == ["moved"]
    assert len(packs) == 2, "the trial that moved got no pack of its own"
    assert begun < max(pack.ended_at or 0.0 for pack in packs)


@pytest.mark.parametrize("kind", ["kill controller", "kill runner", "database error", "lost answers", "late answers"])
def test_a_merge_that_is_disturbed_breaks_no_rule(own: Simulator, kind: str) -> None:
    for moment in range(20, 110, 9):
        world = own.run(schedule(Fault(moment, kind, 0.4)))
        assert oracle.violations(world) == [], f"{kind} at {moment}\n" + "\n".join(world.trace)

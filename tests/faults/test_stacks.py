"""A few schedules against living stacks, and what users fear most. ``make faults`` runs many more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Harness, Verdict
from tests.faults.outcome import SweepOutcome
from tests.faults.scenarios import MOST_ATTEMPTS, POISONED, SCENARIOS, poison
from tests.faults.schedule import Schedule

pytestmark = pytest.mark.timeout(1200)

KEPT = Path("build/faults")
UNDISTURBED: dict[str, SweepOutcome] = {}
"""Undisturbed runs are the same with each database."""

ON_POSTGRESQL = {
    "the database's server dies": Schedule(0, "pairs", None, "in the middle", ("kill postgres",)),
}


@pytest.fixture(scope="module")
def on_sqlite() -> Iterator[Harness]:
    with Harness("sqlite", KEPT, UNDISTURBED) as harness:
        yield harness


@pytest.fixture(scope="module")
def on_postgresql() -> Iterator[Harness]:
    with Harness("postgresql", KEPT, UNDISTURBED) as harness:
        yield harness


def assert_kept(verdict: Verdict) -> None:
    assert not verdict.missed
    assert [f"{violation.kind}: {violation.text}" for violation in verdict.violations] == []


@pytest.mark.parametrize("sentence", SCENARIOS)
def test_what_users_fear_does_not_happen(sentence: str, on_sqlite: Harness) -> None:
    assert_kept(on_sqlite.run(SCENARIOS[sentence]))


@pytest.mark.parametrize("sentence", ON_POSTGRESQL)
def test_nothing_is_lost_with_postgresql(sentence: str, on_postgresql: Harness) -> None:
    assert_kept(on_postgresql.run(ON_POSTGRESQL[sentence]))


def test_a_poison_trial_in_a_pack_of_32_ends_alone(on_sqlite: Harness) -> None:
    found = poison(on_sqlite.stack)
    states = {trial.number: trial.state for trial in found.trials}
    assert states == {number: "failed" if number == POISONED else "succeeded" for number in range(32)}
    assert max(len(trial.attempts) for trial in found.trials if trial.number != POISONED) <= MOST_ATTEMPTS
    assert found.trials[POISONED].attempts[-1].pack == (POISONED,)
    assert all(trial.infrastructure_failures == 0 for trial in found.trials if trial.number != POISONED)

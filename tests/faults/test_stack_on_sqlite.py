"""What users of such services fear most, against a living stack with SQLite. ``make faults`` runs many more faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.harness import Harness, Verdict
from tests.faults.scenarios import MOST_ATTEMPTS, POISONED, SCENARIOS, TRIALS, poison

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def harness(harness_on: Callable[[str], Harness]) -> Iterator[Harness]:
    with harness_on("sqlite") as running:
        yield running


@pytest.mark.parametrize("sentence", SCENARIOS)
def test_what_users_fear_does_not_happen(
    sentence: str, harness: Harness, assert_kept: Callable[[Verdict], None]
) -> None:
    assert_kept(harness.run(SCENARIOS[sentence]))


def test_a_poison_trial_ends_alone_and_its_mates_finish(harness: Harness) -> None:
    found = poison(harness.stack)
    states = {trial.number: trial.state for trial in found.trials}
    assert states == {number: "failed" if number == POISONED else "succeeded" for number in range(TRIALS)}
    mates = [trial for trial in found.trials if trial.number != POISONED]
    assert max(len(trial.attempts) for trial in mates) <= MOST_ATTEMPTS
    assert all(trial.infrastructure_failures == 0 for trial in mates)
    assert found.trials[POISONED].attempts[-1].pack == (POISONED,)

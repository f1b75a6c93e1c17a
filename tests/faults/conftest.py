"""What the tests against living stacks share. Each file has a stack of its own, which ends with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.harness import Harness, Verdict
from tests.faults.living_stack import DatabaseKind
from tests.faults.outcome import SweepOutcome

KEPT = Path("build/faults")


@pytest.fixture(scope="session")
def harness_on() -> Callable[[DatabaseKind], Harness]:
    """A function that makes a harness. Undisturbed runs are the same with each database, and are made once."""
    undisturbed: dict[str, SweepOutcome] = {}
    return lambda kind: Harness(kind, KEPT, undisturbed)


@pytest.fixture(scope="session")
def assert_kept() -> Callable[[Verdict], None]:
    """A check that a schedule hit its moment and that no promise was broken."""

    def check(verdict: Verdict) -> None:
        assert not verdict.missed
        assert [f"{violation.kind}: {violation.text}" for violation in verdict.violations] == []

    return check

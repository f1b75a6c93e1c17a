"""A living stack with PostgreSQL, whose server dies, or that is cut off from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.harness import Harness, Verdict
from tests.faults.schedule import Schedule

pytestmark = pytest.mark.timeout(1200)

FAULTS = ("kill postgres", "cut the database off")


@pytest.fixture(scope="module")
def harness(harness_on: Callable[[str], Harness]) -> Iterator[Harness]:
    with harness_on("postgresql") as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost(fault: str, harness: Harness, assert_kept: Callable[[Verdict], None]) -> None:
    assert_kept(harness.run(Schedule(0, "pairs", None, "a first report", (fault,))))

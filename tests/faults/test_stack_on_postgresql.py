"""A living stack with PostgreSQL, whose server is killed. ``make faults`` has many more faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.harness import Harness, Verdict
from tests.faults.schedule import Schedule

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def harness(harness_on: Callable[[str], Harness]) -> Iterator[Harness]:
    with harness_on("postgresql") as running:
        yield running


def test_nothing_is_lost_when_the_server_is_killed(harness: Harness, assert_kept: Callable[[Verdict], None]) -> None:
    assert_kept(harness.run(Schedule(0, "pairs", None, "in the middle", ("kill postgres",))))

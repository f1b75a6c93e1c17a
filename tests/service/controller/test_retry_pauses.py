"""How long a trial waits before it is tried again."""

from __future__ import annotations

import pytest

from service.controller import retry_pauses
from service.controller.retry_pauses import RetryPauses, pause_after
from service.store.tables import Attempt


def history(*ends: tuple[str, str | None]) -> list[Attempt]:
    return [
        Attempt(trial_id="t", number=number, pack_id=f"p{number}", outcome=outcome, cause=cause)
        for number, (outcome, cause) in enumerate(ends, 1)
    ]


LOST, DATA, STORE = ("lost", "process"), ("failed", "infrastructure"), ("failed", "storage")


@pytest.mark.parametrize(
    ("ends", "seconds"),
    [
        ([], 0),
        ([LOST], 0),
        ([LOST, LOST], 1),
        ([LOST] * 3, 2),
        ([LOST] * 12, 5),
        ([LOST, ("paused", None), LOST], 0),
        ([("lost", "cluster")] * 5, 0),
        ([("lost", "preemption")] * 3, 2),
        ([DATA], 5),
        ([DATA, DATA], 15),
        ([LOST, STORE], 15),
        ([STORE] * 12, 300),
        ([("failed", "memory")] * 3, 0),
        ([("failed", "user")], 0),
        ([("paused", None)], 0),
    ],
)
def test_the_pause_grows_with_what_went_wrong_in_a_row(ends: list[tuple[str, str | None]], seconds: float) -> None:
    assert pause_after(history(*ends)) == seconds


def test_a_pause_begins_when_it_is_first_seen_and_stays_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock, pauses = Clock(), RetryPauses()
    monkeypatch.setattr(retry_pauses, "time", clock)
    assert not pauses.is_over(history(DATA))
    clock.now += 4.9
    assert not pauses.is_over(history(DATA))
    clock.now += 0.2
    assert pauses.is_over(history(DATA))
    clock.now += 100
    assert pauses.is_over(history(DATA)), "it may have waited for room since"
    assert not pauses.is_over(history(DATA, DATA))

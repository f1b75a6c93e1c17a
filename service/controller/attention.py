"""Which open sweeps a tick looks at: those that have changed, those that are unsettled, and in turn a few others.

Whoever changes a sweep or its trials records an event in the same transaction, which increases the sweep's
``event_seq`` (``store.events``). The number is therefore the mark that a sweep has to be looked at, and no change can
lack it. What this term has looked at is kept in memory alone: a new term has seen nothing yet, and looks at everything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from service.store.sweeps import OpenSweep

MAX_LOOKS = 8
"""The largest number of changed or unsettled sweeps that one tick looks at, so that runners are polled in between."""
RECHECK_SECONDS = 60.0
"""A sweep in which nothing happens is looked at again after this many seconds, for what no event has told."""
RECHECKS = 2
"""The largest number of sweeps that one tick looks at although nothing has happened in them."""


@dataclass(frozen=True)
class _Look:
    """The last look at a sweep.

    Attributes:
        event_seq: The sweep's last event when the look began. What happened later makes another look due.
        at: The time of the look, on the monotonic clock.
        unsettled: Whether the sweep waits for something that no event tells, so that each tick has to look at it.
    """

    event_seq: int
    at: float
    unsettled: bool


class Attention:
    """Chooses the sweeps of each tick, so that its cost follows what has changed, and not how many sweeps are open.

    Attributes:
        behind: Whether the last choice had to leave out sweeps that have changed. The next tick should follow at once.
    """

    def __init__(self) -> None:
        self._looks: dict[str, _Look] = {}
        self.behind = False

    def choose(self, open_sweeps: Sequence[OpenSweep]) -> list[OpenSweep]:
        """Return the sweeps to look at now: the ones that wait longest for a look first, and among equals the oldest.

        Args:
            open_sweeps: All sweeps that have not ended, the oldest first.
        """
        now = time.monotonic()
        changed, unsettled, unchanged = [], [], []
        for sweep in open_sweeps:
            look = self._looks.get(sweep.id)
            if look is None or look.event_seq != sweep.event_seq:
                changed.append(sweep)
            elif look.unsettled:
                unsettled.append(sweep)
            elif now - look.at >= RECHECK_SECONDS:
                unchanged.append(sweep)
        self.behind = len(changed) > MAX_LOOKS
        due = sorted([*changed, *unsettled], key=self._looked_at)
        unchanged.sort(key=self._looked_at)
        return due[:MAX_LOOKS] + unchanged[:RECHECKS]

    def looked(self, sweep: OpenSweep, *, unsettled: bool) -> None:
        """Note that a look at a sweep has succeeded. A look that failed is not noted, so the next tick repeats it.

        Args:
            sweep: The sweep as it was when the look began.
            unsettled: Whether the next tick has to look again, also if nothing happens until then.
        """
        self._looks[sweep.id] = _Look(sweep.event_seq, time.monotonic(), unsettled)

    def forget_ended(self, open_sweeps: Sequence[OpenSweep]) -> list[str]:
        """Drop what is known of the sweeps that are no longer open, and return their ids."""
        ended = self._looks.keys() - {sweep.id for sweep in open_sweeps}
        for sweep_id in ended:
            del self._looks[sweep_id]
        return sorted(ended)

    def _looked_at(self, sweep: OpenSweep) -> float:
        look = self._looks.get(sweep.id)
        return look.at if look else float("-inf")

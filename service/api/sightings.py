"""How long ago the parts of the system were last seen, without trusting that the clocks of machines agree."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class _Sighting:
    """The time in a part's row, and on the monotonic clock when the part was seen and when the row was looked at."""

    at: float
    seen: float
    looked: float


class Sightings:
    """Remembers when the row of each part was last seen to change, on this process's monotonic clock.

    The time in a row is compared with this machine's clock only when the row is seen for the first time. From then on
    what counts is whether it changes: a clock that is set back or forward makes no dead part look alive, and no living
    part look dead.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, _Sighting] = {}

    def age(self, name: str, at: float) -> float:
        """Return how many seconds ago a part was last seen, never below 0.

        Args:
            name: The part.
            at: The time in its row, in seconds since the Unix epoch by the clock of the machine that wrote it.
        """
        now, by_clock = time.monotonic(), time.time() - at
        with self._lock:
            before = self._seen.get(name)
            if before is None:
                seen = now - abs(by_clock)
            elif before.at == at:
                seen = before.seen
            else:  # it was written since the last look, and how long ago, the clock may tell
                seen = max(before.looked, now - max(0.0, by_clock))
            self._seen[name] = _Sighting(at, seen, now)
        return now - seen

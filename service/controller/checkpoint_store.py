"""The condition of the checkpoint store, as the runners tell it, and how long launching is held back because of it.

A store that is full, read-only or failing is the fault of no sweep and of no trial. Runners that train go on and try
again at their next checkpoints; new packs wait, longer each time, because they would only find the same.
"""

from __future__ import annotations

import logging
import time

from service.controller.backoff import Backoff
from workers.protocol import Checkpointed, Ended, Poll

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 120.0
FORGET_SECONDS = 60.0
"""How long, after the last pause, a problem is still shown if nobody has met it again."""


class CheckpointStore:
    """Follows whether checkpoints can be written, and says whether packs may be launched."""

    def __init__(self) -> None:
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE, steady=FORGET_SECONDS)
        self._last = ""
        self._met_at = 0.0
        self._unsaved: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    def note(self, pack_id: str, poll: Poll) -> None:
        """Take over what a runner's answer says about the store. The same answer again changes nothing.

        Args:
            pack_id: The pack of the runner.
            poll: Its answer.
        """
        fresh = [report for report in poll.reports if report.seq > self._taken.get(pack_id, 0)]
        self._taken[pack_id] = max([self._taken.get(pack_id, 0), *(report.seq for report in fresh)])
        if any(isinstance(report, Checkpointed) for report in fresh) and poll.unsaved is None:
            self._unsaved.pop(pack_id, None)
            if not self._unsaved:
                self._recover()
        if poll.unsaved is not None:
            if pack_id not in self._unsaved:
                self.fail(poll.unsaved)
            self._unsaved[pack_id], self._met_at = poll.unsaved, time.monotonic()
        for report in fresh:
            if isinstance(report, Ended) and report.cause == "storage":
                self.fail(report.reason or "a checkpoint could not be written")
        if poll.state == "ended":
            self.forget(pack_id)

    def fail(self, problem: str) -> None:
        """Note that somebody could not use the store, and hold launching back.

        Failures during a pause do not make it longer: they are of packs that had begun before.

        Args:
            problem: What is wrong, for a person to read.
        """
        self._last, self._met_at = problem, time.monotonic()
        if not self._backoff.pause_left:
            pause = self._backoff.fail()
            log.warning("Checkpoints cannot be written (%s); no pack is launched for %.0f s", problem, pause)

    def forget(self, pack_id: str) -> None:
        """Drop what is known of a pack that has ended."""
        self._unsaved.pop(pack_id, None)
        self._taken.pop(pack_id, None)

    @property
    def may_launch(self) -> bool:
        """Whether packs may be launched: nothing is wrong, or the pause is over and it is worth another try."""
        return not self._backoff.pause_left

    @property
    def problem(self) -> str | None:
        """What is wrong with the store, for a person to read; None if checkpoints are written."""
        if self._unsaved:
            number = len(self._unsaved)
            packs = "one pack trains" if number == 1 else f"{number} packs train"
            return f"checkpoints cannot be written: {next(iter(self._unsaved.values()))}; {packs} on without them"
        if not self._last or time.monotonic() - self._met_at > self._backoff.pause_left + FORGET_SECONDS:
            return None
        return f"checkpoints cannot be written: {self._last}; nobody is charged, and packs are launched again later"

    def _recover(self) -> None:
        if self._last:
            log.info("Checkpoints are written again")
        self._last = ""
        self._backoff.succeed()

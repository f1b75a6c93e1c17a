"""One schedule against a living stack: submit its sweep, wait for its moment, begin its faults, and see how it ends."""

from __future__ import annotations

import os
import random
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from service.client import ApiError
from tests.faults import moments, outcome, processes, sweep_state
from tests.faults.documents import DOCUMENTS
from tests.faults.faults import FAULTS, NothingToHit, Undo
from tests.faults.living_stack import LivingStack
from tests.faults.oracle import Violation, judge
from tests.faults.outcome import SweepOutcome
from tests.faults.schedule import Schedule
from tests.faults.watchers import CheckpointWatch, EventReader
from tests.waiting import until

END_SECONDS = 300.0
"""A sweep that has not ended by then after its last fault is stuck; undisturbed it takes some 20 s."""
SETTLE_SECONDS = 60.0
"""How long after a sweep's end nothing may be left of it: no run that MLflow shows as RUNNING, no orphan process."""
LOOK_SECONDS = 0.1
MOST_SLACK = 5.0
"""By how much the two times above are at most lengthened on a machine that has other work."""


def slack() -> float:
    """Return how many times longer everything takes here than on an idle machine: what waits for each processor."""
    return min(MOST_SLACK, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


class Disturbance:
    """Runs one schedule.

    Args:
        stack: The stack.
        schedule: The schedule.
        undisturbed: How the same sweep ends without faults.

    Attributes:
        sweep_id: The sweep; empty until it is submitted.
        recovery: Seconds from the fault until the service was ready and each trial that it found running had got
            further, or had ended; None if that did not happen.
        missed: Whether a fault was not injected, because the sweep ended before its moment or had no such process.
        errors: What went wrong while a fault was undone.
    """

    def __init__(self, stack: LivingStack, schedule: Schedule, undisturbed: SweepOutcome) -> None:
        self._stack, self._schedule, self._undisturbed = stack, schedule, undisturbed
        self._database = stack.database
        self._chance = schedule.chance
        self._key = uuid.uuid4().hex
        self._sweeps_before = sweep_state.count(self._database)
        self._accepted = False
        self._hit_at, self._hit_seq = 0.0, 0
        self._hit_steps: dict[str, int] = {}
        self._undoing: list[threading.Thread] = []
        self.sweep_id = ""
        self.recovery: float | None = None
        self.missed = False
        self.errors: list[str] = []

    def run(self) -> list[Violation]:
        """Run the schedule, and return the promises that were not kept."""
        schedule, stack = self._schedule, self._stack
        if schedule.moment == moments.BEFORE:
            self._begin()
        self.sweep_id = self._submit()
        reader = EventReader(stack.url, self.sweep_id, random.Random(schedule.seed))
        watch = CheckpointWatch(stack.home.checkpoints / self.sweep_id)
        try:
            if schedule.verb is not None:
                moments.wait_for(stack, self.sweep_id, "a first report")
                self._accepted = self._give(schedule.verb)
            if schedule.moment in moments.MOMENTS:
                self.missed = not moments.wait_for(stack, self.sweep_id, schedule.moment)
                if not self.missed:
                    self._begin()
            if not self.missed:
                self.recovery = self._recovered()
            for thread in self._undoing:
                thread.join()
            if schedule.verb == "pause" and self._accepted:
                with suppress(AssertionError):  # the sweep is stuck, which the oracle sees
                    until(lambda: not sweep_state.runs(self._database, self.sweep_id), END_SECONDS)
                self._give("resume")
            return self._settled(reader, watch)
        finally:
            for onlooker in (reader, watch):
                onlooker.stop()

    def _submit(self) -> str:
        """Submit the sweep and return its id; if the fault belongs between its commit and the reply, begin it there."""
        replies: list[str | Exception] = []

        def submit() -> None:
            try:
                replies.append(self._stack.client.submit(DOCUMENTS[self._schedule.document], self._key)["id"])
            except Exception as error:
                replies.append(error)

        thread = threading.Thread(target=submit, daemon=True)
        thread.start()
        if self._schedule.moment == moments.UNANSWERED:
            until(lambda: sweep_state.is_stored(self._database, self._key) or replies, END_SECONDS)
            self._begin()
        thread.join()
        (reply,) = replies
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _begin(self) -> None:
        """Begin the faults of the schedule, and let threads end those that last."""
        self._hit_at = time.monotonic()
        if self.sweep_id:
            with suppress(SQLAlchemyError):
                self._hit_seq = sweep_state.event_seq(self._database, self.sweep_id)
                self._hit_steps = sweep_state.begun_trials(self._database, self.sweep_id)
        for name in self._schedule.faults:
            try:
                undo = FAULTS[name].act(self._stack, self._chance)
            except NothingToHit:
                self.missed = True
                continue
            if undo is not None:
                thread = threading.Thread(target=self._undo, args=(undo,), daemon=True)
                thread.start()
                self._undoing.append(thread)

    def _undo(self, undo: Undo) -> None:
        time.sleep(undo.seconds)
        try:
            undo.act()
        except Exception:
            self.errors.append(f"a fault could not be undone: {traceback.format_exc()}")

    def _give(self, verb: str) -> bool:
        """Give the sweep a verb, and return whether the service accepted it: it may have ended already."""
        act: Callable[[str], object] = getattr(self._stack.client, verb)
        try:
            act(self.sweep_id)
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        return True

    def _recovered(self) -> float | None:
        """Wait until the service is ready and the sweep has gone on since the fault, and return how long it took."""
        end = time.monotonic() + END_SECONDS * slack()
        while time.monotonic() < end:
            undone = not any(thread.is_alive() for thread in self._undoing)
            with suppress(SQLAlchemyError):
                if undone and self._went_on() and self._stack.is_ready():
                    return time.monotonic() - self._hit_at
            time.sleep(LOOK_SECONDS)
        return None

    def _went_on(self) -> bool:
        """Return whether the sweep has ended or is paused, or each trial that the fault found running is further."""
        if sweep_state.has_ended(self._database, self.sweep_id):
            return True
        if self._schedule.verb == "pause" and not sweep_state.runs(self._database, self.sweep_id):
            return True
        now = sweep_state.begun_trials(self._database, self.sweep_id)
        behind = [trial_id for trial_id, step in self._hit_steps.items() if now.get(trial_id, step + 1) <= step]
        return not behind and sweep_state.event_seq(self._database, self.sweep_id) > self._hit_seq

    def _settled(self, reader: EventReader, watch: CheckpointWatch) -> list[Violation]:
        """Return what is wrong with the end of the sweep, once time can mend nothing more, or is over."""
        end = time.monotonic() + END_SECONDS * slack()
        while time.monotonic() < end and not sweep_state.has_ended(self._database, self.sweep_id):
            time.sleep(LOOK_SECONDS)
        end = time.monotonic() + SETTLE_SECONDS * slack()
        allowed = self._schedule.allowed(accepted=self._accepted)
        while True:
            violations = judge(self._look(reader, watch), self._undisturbed, allowed)
            # what is lost may still come, and what is doubled may still be removed
            if all(violation.kind == "wrong" for violation in violations) or time.monotonic() > end:
                return violations
            time.sleep(1.0)

    def _look(self, reader: EventReader, watch: CheckpointWatch) -> SweepOutcome:
        stack, sweep_id = self._stack, self.sweep_id
        parents, runs = outcome.of_mlflow(stack, sweep_id)
        idle = processes.find(stack.home, "runner") if sweep_state.has_ended(self._database, sweep_id) else []
        return replace(
            outcome.of_tables(stack, sweep_id),
            sweeps_of_key=sweep_state.count(self._database) - self._sweeps_before,
            parents=parents,
            runs=runs,
            half=outcome.half_written(stack, sweep_id),
            orphans=outcome.titles([*stack.orphans(), *idle]),
            ready=stack.is_ready(),
            read_seqs=tuple(reader.seqs),
            again=tuple(watch.again),
        )

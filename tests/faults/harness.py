"""Runs schedules one after another against a living stack, and judges how each sweep ends."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from service.client import ApiError
from service.states import SWEEP_ENDED
from service.store.tables import IdempotencyKey, Sweep, Trial
from tests.end_to_end.small_sweep import until
from tests.faults import moments, outcome, processes
from tests.faults.documents import DOCUMENTS
from tests.faults.faults import FAULTS, NothingToHit, Undo
from tests.faults.living_stack import DatabaseKind, LivingStack
from tests.faults.oracle import Violation, judge
from tests.faults.outcome import SweepOutcome
from tests.faults.schedule import Schedule
from tests.faults.watchers import CheckpointWatch, EventReader

END_SECONDS = 300.0
"""A sweep that has not ended by then after its last fault is stuck; undisturbed it takes some 20 s."""
SETTLE_SECONDS = 60.0
"""How long after a sweep's end nothing may be left of it: no run that MLflow shows as RUNNING, no orphan process."""
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Verdict:
    """How one schedule ended.

    Attributes:
        schedule: The schedule.
        kind: The kind of the stack's database.
        violations: The promises that were not kept.
        recovery: Seconds from the fault until the service was ready and each trial that it found running had got
            further, or had ended; None if that did not happen.
        missed: Whether a fault was not injected, because the sweep ended before its moment or had no such process.
        seconds: How long the schedule took.
    """

    schedule: Schedule
    kind: DatabaseKind
    violations: tuple[Violation, ...]
    recovery: float | None
    missed: bool
    seconds: float


@dataclass
class _Running:
    """One sweep that is being disturbed. ``undone`` has the threads that end faults which last."""

    schedule: Schedule
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    sweep_id: str = ""
    accepted: bool = False
    missed: bool = False
    hit_at: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)
    seq: int = 0
    undone: list[threading.Thread] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Harness:
    """Keeps a stack of one kind of database, and starts a new one if a schedule has broken it. A context manager.

    Args:
        kind: The kind of the database.
        folder: Where the logs of schedules are kept that have violated a promise.
        undisturbed: Undisturbed runs by the name of their document; those that are missing are run and added.
    """

    def __init__(self, kind: DatabaseKind, folder: Path, undisturbed: dict[str, SweepOutcome]) -> None:
        self._kind, self._kept, self._undisturbed = kind, folder, undisturbed
        self._stack: LivingStack | None = None
        self._open = ExitStack()

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    @property
    def stack(self) -> LivingStack:
        """The stack, which is started when it is first asked for."""
        if self._stack is None:
            folder = Path(tempfile.mkdtemp(prefix="spectral-faults-"))
            folder.chmod(0o755)
            self._open.callback(shutil.rmtree, folder, ignore_errors=True)
            self._stack = self._open.enter_context(LivingStack(folder, self._kind))
        return self._stack

    def run(self, schedule: Schedule) -> Verdict:
        """Run one schedule and return how it ended. The stack is thrown away if a promise was not kept."""
        undisturbed = self._undisturbed_run(schedule.document)
        began, running = time.monotonic(), _Running(schedule)
        violations: list[Violation]
        recovery = None
        try:
            found, recovery = self._disturb(running)
            violations = judge(found, undisturbed, schedule.allowed(accepted=running.accepted))
        except Exception as error:  # the harness has to go on with the next seed, and to say what has happened
            violations = [Violation("stuck", f"{type(error).__name__}: {error}")]
            running.errors.append(traceback.format_exc())
        violations += [Violation("stuck", f"a fault could not be undone: {line}") for line in running.errors]
        verdict = Verdict(schedule, self._kind, tuple(violations), recovery, running.missed, time.monotonic() - began)
        if violations:
            self._keep(verdict, running)
            self._throw_away()
        return verdict

    def _undisturbed_run(self, document: str) -> SweepOutcome:
        if document not in self._undisturbed:
            sweep_id = self.stack.client.submit(DOCUMENTS[document] | {"name": f"undisturbed {document}"})["id"]
            until(lambda: self._state(sweep_id) in SWEEP_ENDED, END_SECONDS)
            found = outcome.of_tables(self.stack, sweep_id)
            assert found.state == "succeeded", f"without any fault the sweep {document} {found.state}: {found.reason}"
            self._undisturbed[document] = found
        return self._undisturbed[document]

    def _disturb(self, running: _Running) -> tuple[SweepOutcome, float | None]:
        schedule, stack = running.schedule, self.stack
        chance = schedule.chance
        if schedule.moment == moments.BEFORE:
            self._begin(running, chance)
        self._submit(running, chance)
        reader = EventReader(stack.url, running.sweep_id, random.Random(schedule.seed))
        watch = CheckpointWatch(stack.home.checkpoints / running.sweep_id)
        try:
            if schedule.verb is not None:
                moments.wait_for(stack, running.sweep_id, "a first report")
                running.accepted = self._give(schedule.verb, running.sweep_id)
            if schedule.moment in moments.MOMENTS:
                running.missed = not moments.wait_for(stack, running.sweep_id, schedule.moment)
                if not running.missed:
                    self._begin(running, chance)
            recovery = None if running.missed else self._recovery(running)
            for thread in running.undone:
                thread.join()
            if schedule.verb == "pause" and running.accepted:
                with suppress(AssertionError):  # the sweep is stuck, which the oracle sees
                    until(lambda: self._count(running.sweep_id, "running") == 0, END_SECONDS)
                self._give("resume", running.sweep_id)
            return self._settled(running, reader, watch), recovery
        finally:
            for onlooker in (reader, watch):
                onlooker.stop()

    def _submit(self, running: _Running, chance: random.Random) -> None:
        """Submit the sweep; if the fault belongs between its commit and the reply, begin it there."""
        schedule = running.schedule
        replies: list[str | Exception] = []

        def submit() -> None:
            try:
                replies.append(self.stack.client.submit(DOCUMENTS[schedule.document], running.key)["id"])
            except Exception as error:
                replies.append(error)

        thread = threading.Thread(target=submit, daemon=True)
        thread.start()
        if schedule.moment == moments.UNANSWERED:
            until(lambda: self._sweeps_of_key(running.key) or replies, END_SECONDS)
            self._begin(running, chance)
        thread.join()
        (reply,) = replies
        if isinstance(reply, Exception):
            raise reply
        running.sweep_id = reply

    def _begin(self, running: _Running, chance: random.Random) -> None:
        """Begin the faults of the schedule, and let threads end those that last."""
        running.hit_at = time.monotonic()
        with suppress(SQLAlchemyError):
            if running.sweep_id:
                running.seq, running.steps = self._event_seq(running.sweep_id), self._running_steps(running.sweep_id)
        for name in running.schedule.faults:
            try:
                undo = FAULTS[name].act(self.stack, chance)
            except NothingToHit:
                running.missed = True
                continue
            if undo is not None:
                thread = threading.Thread(target=self._undo, args=(undo, running), daemon=True)
                thread.start()
                running.undone.append(thread)

    @staticmethod
    def _undo(undo: Undo, running: _Running) -> None:
        time.sleep(undo.seconds)
        try:
            undo.act()
        except Exception:
            running.errors.append(traceback.format_exc())

    def _give(self, verb: str, sweep_id: str) -> bool:
        """Give the sweep a verb, and return whether the service accepted it: it may have ended already."""
        act: Callable[[str], object] = getattr(self.stack.client, verb)
        try:
            act(sweep_id)
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        return True

    def _recovery(self, running: _Running) -> float | None:
        """Wait until the service is ready, and the sweep has gone on since the fault, and return how long it took."""
        end = time.monotonic() + END_SECONDS
        while time.monotonic() < end:
            with suppress(SQLAlchemyError):
                idle = running.schedule.verb == "pause" and self._count(running.sweep_id, "running") == 0
                over = self._state(running.sweep_id) in SWEEP_ENDED
                if (
                    (over or idle or self._went_on(running))
                    and self.stack.is_ready()
                    and not any(thread.is_alive() for thread in running.undone)
                ):
                    return time.monotonic() - running.hit_at
            time.sleep(LOOK_SECONDS)
        return None

    def _went_on(self, running: _Running) -> bool:
        """Return whether each trial that the fault found running has got further, and anything happened at all."""
        now = self._running_steps(running.sweep_id)
        behind = [trial_id for trial_id, step in running.steps.items() if now.get(trial_id, step + 1) <= step]
        return not behind and self._event_seq(running.sweep_id) > running.seq

    def _settled(self, running: _Running, reader: EventReader, watch: CheckpointWatch) -> SweepOutcome:
        """Return what is left of the sweep, as soon as time can mend nothing, or once its time is over."""
        end = time.monotonic() + END_SECONDS
        while time.monotonic() < end and not self._has_ended(running.sweep_id):
            time.sleep(LOOK_SECONDS)
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            found = self._look(running, reader, watch)
            allowed = running.schedule.allowed(accepted=running.accepted)
            violations = judge(found, self._undisturbed[running.schedule.document], allowed)
            # what is lost may still come, and what is doubled may still be removed
            if all(violation.kind == "wrong" for violation in violations) or time.monotonic() > end:
                return found
            time.sleep(1.0)

    def _look(self, running: _Running, reader: EventReader, watch: CheckpointWatch) -> SweepOutcome:
        stack, sweep_id = self.stack, running.sweep_id
        parents, runs = outcome.of_mlflow(stack, sweep_id)
        idle = processes.find(stack.home, "runner") if self._has_ended(sweep_id) else []
        return replace(
            outcome.of_tables(stack, sweep_id),
            sweeps_of_key=self._sweeps_of_key(running.key),
            parents=parents,
            runs=runs,
            half=outcome.half_written(stack, sweep_id),
            orphans=outcome.titles([*stack.orphans(), *idle]),
            ready=stack.is_ready(),
            read_seqs=tuple(reader.seqs),
            again=tuple(watch.again),
        )

    def _state(self, sweep_id: str) -> str:
        with self.stack.database.read() as session:
            return session.get_one(Sweep, sweep_id).state

    def _has_ended(self, sweep_id: str) -> bool:
        with suppress(SQLAlchemyError):
            return self._state(sweep_id) in SWEEP_ENDED
        return False

    def _event_seq(self, sweep_id: str) -> int:
        with self.stack.database.read() as session:
            return session.get_one(Sweep, sweep_id).event_seq

    def _running_steps(self, sweep_id: str) -> dict[str, int]:
        """Return the step of each trial that runs, or waits to go on."""
        query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state.in_(["running", "waiting"]))
        with self.stack.database.read() as session:
            return {trial.id: trial.step for trial in session.scalars(query) if trial.pack_id is not None}

    def _count(self, sweep_id: str, state: str) -> int:
        query = select(func.count()).select_from(Trial).where(Trial.sweep_id == sweep_id, Trial.state == state)
        with self.stack.database.read() as session:
            return session.scalar(query) or 0

    def _sweeps_of_key(self, key: str) -> int:
        with self.stack.database.read() as session:
            found = session.scalars(select(IdempotencyKey.sweep_id).where(IdempotencyKey.key == key)).all()
            return len(found)

    def _keep(self, verdict: Verdict, running: _Running) -> None:
        folder = self._kept / f"{self._kind}-{verdict.schedule.seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        lines = [str(verdict.schedule), f"sweep {running.sweep_id}"]
        lines += [f"{violation.kind}: {violation.text}" for violation in verdict.violations]
        (folder / "violations.txt").write_text("\n".join([*lines, *running.errors, ""]))
        (folder / "schedule.json").write_text(json.dumps(verdict.schedule.as_json(), indent=1))
        self.stack.keep_logs(folder)

    def _throw_away(self) -> None:
        self._open.close()
        self._stack, self._open = None, ExitStack()

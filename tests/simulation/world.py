"""One simulation: the real controller and the real store against a fake Ray, in virtual time, through one schedule."""

from __future__ import annotations

import heapq
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.controller import attention, controller, demand, runner_requests
from service.controller.leadership import Leadership
from service.settings import ControllerSettings
from service.states import SWEEP_ENDED, IllegalMove
from service.store import leases, reopening, sweeps, trials
from service.store.database import Database, LeadLost
from service.store.sweep_summary import facts_of
from service.store.tables import Lease, Pack
from tests.simulation.clock import VirtualClock
from tests.simulation.fake_ray import Head, RayModule, SimulatedCluster
from tests.simulation.faults import apply_fault
from tests.simulation.processes import Process
from tests.simulation.runner import Kept, SimulatedRunner
from tests.simulation.schedule import Schedule, longer_spec, row_of, spec_of
from workers.protocol import Assignment

ORPHAN_SECONDS = 60.0
LEASE_SECONDS = 15.0
TICK_SECONDS = 1.0
AGING_SECONDS, PREEMPT_AFTER_SECONDS = 10.0, 0.5
MOST_ATTEMPTS = 12
"""How often a trial is started without faults: as often as a trial that ends its process has to be lost with others,
until it is alone, and then as its retries allow."""
INSIDE = ("kill controller", "database error")
"""The faults that may happen inside a transaction. The others wait for its end."""


class Violation(AssertionError):
    """What must never happen has happened."""


class World:
    """Everything that one schedule acts on.

    Args:
        schedule: The schedule.
        database: A migrated database without rows.

    Attributes:
        head: Ray's head; None while there is none.
        runners: All runners that were ever started.
        processes: All controllers that were ever started.
        sweep_ids: The acknowledged sweeps in order, each with the position of its document.
        verbs: The acknowledged verbs: the subject and the verb; ``reopened`` where a sweep that had ended goes on.
        reruns: How often each trial was run again by the user.
        added: By how many trials each sweep was extended.
        changed: Whether the priority or the parallel trials of a sweep were changed.
        quiet_at: When the last fault was over; None until then.
        written: Whether a transaction was committed since it was last asked whether all sweeps have ended.
        trace: What happened, for a person to read.
    """

    def __init__(self, schedule: Schedule, database: Database) -> None:
        self.schedule, self.database = schedule, database
        self.clock, self.rng = VirtualClock(), random.Random(f"world {schedule.seed}")
        self.head: Head | None = Head("head 1")
        self.runners: list[SimulatedRunner] = []
        self.processes: list[Process] = []
        self.sweep_ids: dict[str, int] = {}
        self.verbs: list[tuple[str, str]] = []
        self.reruns: Counter[str] = Counter()
        self.added: Counter[str] = Counter()
        self.trace: list[str] = []
        self.quiet_at: float | None = None
        self.changed = False
        self.checkpoints: dict[str, Kept] = {}
        self.poison: dict[str, int] = {}
        self.failing: dict[str, int] = {}
        self.late_until, self.to_lose = 0.0, 0
        self.current: Process | None = None
        self.violations: list[str] = []
        self.written = True
        self._due = list(schedule.faults)
        self._moment, self._heads = 0, 1
        self._waiting = list(schedule.sweeps)
        self._goes_on = schedule.goes_on
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.settings = ControllerSettings(
            database_url="sqlite://",
            checkpoint_dir=Path("/store"),
            tick_seconds=TICK_SECONDS,
            lease_seconds=LEASE_SECONDS,
            orphan_ttl_seconds=ORPHAN_SECONDS,
            aging_seconds=AGING_SECONDS,
            preempt_after_seconds=PREEMPT_AFTER_SECONDS,
        )

    def run(self, limit: float) -> None:
        """Go through the schedule until every sweep has ended, or until ``limit`` seconds after the last fault."""
        with self._installed():
            self.submit()
            while self.schedule.together and self._waiting:
                self.submit()
            self.start_controller()
            if self.schedule.standby:
                self.start_controller()
            while self._queue and not self._ended() and not self.violations:
                if self.quiet_at is not None and self.clock.now > self.quiet_at + limit:
                    break
                at, _, act = heapq.heappop(self._queue)
                self.clock.advance_to(at)
                act()
                if not self._due and self.quiet_at is None:
                    self._calm_down()
            self._finish()

    def at(self, moment: float, act: Callable[[], None]) -> None:
        """Call ``act`` in the main thread when the clock reaches a moment."""
        self._order += 1
        heapq.heappush(self._queue, (moment, self._order, act))

    def point(self, name: str, *, inside: bool = False) -> None:
        """Let the faults of this moment happen to the process that has reached it.

        Args:
            name: What the process is about to do, or has done.
            inside: Whether the process is in a transaction.

        Raises:
            Killed: If the process is killed here.
            sqlalchemy.exc.OperationalError: If the database fails here.
        """
        process = self.current
        if process is None:
            return
        process.check()
        self._moment += 1
        while self._due and self._due[0].moment <= self._moment:
            if inside and self._due[0].kind not in INSIDE:
                break
            fault = self._due.pop(0)
            self.note(f"{fault} at {name!r} of {process.name}")
            apply_fault(self, fault, process)
        process.check()

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.clock.now:8.2f} {text}")

    def violated(self, text: str) -> None:
        """Note that what must never happen has happened."""
        self.note(f"VIOLATION: {text}")
        self.violations.append(text)

    def sleep_until(self, moment: float) -> None:
        """Let the process that runs pause until a moment."""
        process = self.current
        assert process is not None
        self.at(moment, lambda: self._continue(process))
        process.pause()

    def start_controller(self, delay: float = 0.0) -> None:
        """Start a controller after ``delay`` seconds."""
        process = Process(f"controller {len(self.processes) + 1}", self._control)
        self.processes.append(process)
        self.at(self.clock.now + delay, lambda: self._continue(process))

    def submit(self) -> None:
        """Submit the next sweep of the schedule, if there is one left."""
        if not self._waiting:
            return
        position, self.written = self._waiting.pop(0), True
        document, count, _ = row_of(position)
        with self.database.write() as session:
            sweep = sweeps.create(session, "simulated", document, count)
        if not self.sweep_ids:
            steps = spec_of(position).training.steps
            first, last = f"{sweep.id}-0000", f"{sweep.id}-{count - 1:04d}"
            self.poison = {last: steps // 4} if self.schedule.poison else {}
            self.failing = {first: steps // 2} if self.schedule.failing else {}
        self.sweep_ids[sweep.id] = position
        self.note(f"submitted {sweep.id}: {count} trials")

    def verb(self, subject: str, verb: Any) -> None:
        """Let the user apply a verb to a sweep or a trial; it is acknowledged unless the state forbids it."""
        try:
            with self.database.write() as session:
                if "-" in subject:
                    trials.want(session, subject, verb)
                else:
                    sweeps.apply(session, subject, verb)
        except IllegalMove:
            return
        self.verbs.append((subject, verb))
        self.note(f"acknowledged {verb} of {subject}")

    def change(self, sweep_id: str, changes: dict[str, int | None]) -> None:
        """Let the user change a sweep; it is acknowledged unless the state forbids it."""
        try:
            with self.database.write() as session:
                sweeps.change(session, sweep_id, changes)
        except IllegalMove:
            return
        self.changed = True
        self.note(f"acknowledged {changes} of {sweep_id}")

    def preemptions_of(self, trial_id: str) -> int:
        """Return how often a pack of a trial was preempted."""
        with self.database.read() as session:
            trial_ids = session.scalars(select(Pack.trial_ids).where(Pack.preempted.is_not(None)))
            return sum(trial_id in ids for ids in trial_ids)

    def go_on(self, sweep_id: str) -> bool:
        """Let the user rerun a sweep's failed trials, or extend it by a point if none has failed.

        Returns:
            Whether the sweep was acknowledged to go on.
        """
        repeats = spec_of(self.sweep_ids[sweep_id]).repeats
        try:
            with self.database.write() as session:
                sweep = sweeps.get_locked(session, sweep_id)
                ended = sweep.state in SWEEP_ENDED
                failed = [trial.id for trial in trials.page(session, sweep_id, ["failed"])]
                if failed:
                    reopening.rerun(session, sweep_id)
                else:
                    count = reopening.trials_to_be(session, sweep) + repeats
                    spec = longer_spec(self.sweep_ids[sweep_id], count)
                    reopening.extend(session, sweep, spec.model_dump(mode="json"), count, facts_of(spec), 0)
        except IllegalMove:
            return False
        self.verbs += [(sweep_id, "reopened")] if ended else []
        self.reruns.update(failed)
        self.added[sweep_id] += 0 if failed else repeats
        self.note(
            f"acknowledged a {'rerun' if failed else 'longer'} {sweep_id}, which had {'' if ended else 'not '}ended"
        )
        return True

    def new_runner(self, assignment: Assignment) -> SimulatedRunner:
        """Start the process of a runner. There must be no other for the same pack."""
        if any(other.assignment.pack_id == assignment.pack_id for other in self.living_runners()):
            self.violated(f"pack {assignment.pack_id} gets a second runner while its first one lives")
        for trial in assignment.trials:
            before = sum(trial.trial_id in other.trial_ids for other in self.runners)
            most = MOST_ATTEMPTS * (1 + self.reruns[trial.trial_id]) + 3 * len(self.schedule.faults)
            if before >= most + self.preemptions_of(trial.trial_id):
                self.violated(f"trial {trial.trial_id} is started again after {before} attempts")
        runner = SimulatedRunner(assignment, self.checkpoints, self.poison, self.failing, self.clock.now)
        self.runners.append(runner)
        return runner

    def living_runners(self) -> list[SimulatedRunner]:
        """Return the runners that live now."""
        for runner in self.runners:
            runner.run_until(self.clock.now)
            if runner.acknowledged_end:
                runner.die("ordered")
        return [runner for runner in self.runners if runner.death is None]

    def lose_head(self) -> None:
        """End Ray's head, and with it all runners."""
        for runner in self.living_runners():
            runner.die("head")
        self.head = None

    def new_head(self) -> None:
        """Start another head, unless there is one."""
        if self.head is None:
            self._heads += 1
            self.head = Head(f"head {self._heads}")

    def draw_delay(self) -> tuple[float, bool]:
        """Return how late the next call of a runner is carried out and answered, and whether its answer is lost."""
        if self.to_lose:
            self.to_lose -= 1
            return 0.0, True
        return (self.rng.uniform(0.0, 3.0) if self.clock.now < self.late_until else 0.0), False

    def open_sweeps(self) -> list[sweeps.OpenSweep]:
        """Return the sweeps that have not ended."""
        with self.database.read() as session:
            return sweeps.open_sweeps(session)

    def _continue(self, process: Process) -> None:
        self.current = process
        process.resume()
        self.current = None
        if not process.alive and not process.doomed:
            self.note(f"{process.name} has ended: {process.error!r}")
            self.start_controller(1.0)

    def _ended(self) -> bool:
        """Return whether all that was acknowledged has ended.

        What is left of the schedule is then submitted first, and last the user reruns or extends each sweep that fits
        on a node, if the schedule says so.
        """
        if not self.written:
            return False
        self.written = False
        if self.open_sweeps():
            return False
        if self._waiting:
            self.submit()
            return False
        if self._goes_on:
            self._goes_on = False
            self.quiet_at = None if self.quiet_at is None else self.clock.now
            fitting = [i for i, place in self.sweep_ids.items() if spec_of(place).resources.cpus <= self.schedule.cpus]
            went_on = [self.go_on(sweep_id) for sweep_id in fitting]
            return not any(went_on)
        return True

    def _calm_down(self) -> None:
        """Note that the faults are over. The user submits the other sweeps, and lets no sweep wait for ever."""
        self.quiet_at = self.clock.now
        self.note("the faults are over")
        while self._waiting:
            self.submit()
        for sweep in self.open_sweeps():
            needs = spec_of(self.sweep_ids[sweep.id]).resources.cpus
            if sweep.state == "paused":
                self.verb(sweep.id, "resume")
            if needs > self.schedule.cpus:
                self.verb(sweep.id, "cancel")

    def _finish(self) -> None:
        """Kill the controllers, and let the time pass after which no runner may be left."""
        for process in self.processes:
            if process.alive:
                process.kill()
        self.ended_at = self.clock.now
        latest = max([self.clock.now, *(runner.stopped_until for runner in self.runners)])
        self.clock.advance_to(latest + ORPHAN_SECONDS + 1)

    def _control(self) -> None:
        stop: Any = _Stop(self)
        controller.Controller(self.settings, stop).run()

    @contextmanager
    def _installed(self) -> Iterator[None]:
        """Put the fake parts and the virtual clock into the controller's modules during the block."""
        parts = {
            "Database": lambda _url: SimulatedDatabase(self),
            "Cluster": lambda *settings: SimulatedCluster(self, *settings),
            "Leadership": lambda database, seconds: _SimulatedLeadership(self, database, seconds),
            "Projector": _NoThread,
            "CheckpointKeeper": _NoThread,
            "SweepRemover": _NoThread,
            "Deliverer": _NoThread,
        }
        with ExitStack() as stack:
            stack.enter_context(self.clock.installed())
            stack.enter_context(mock.patch.multiple(controller, **parts, HEALTH_SECONDS=30.0, RETRY_SECONDS=3.0))
            # without the looks that make up for a lost mark, a lost mark is noticed
            stack.enter_context(mock.patch.object(attention, "RECHECK_SECONDS", float("inf")))
            stack.enter_context(mock.patch.object(demand, "IDLE_SECONDS", float("inf")))
            stack.enter_context(mock.patch.object(runner_requests, "ray", RayModule(self)))
            stack.enter_context(mock.patch.object(secrets, "token_hex", lambda n: self.rng.randbytes(n).hex()))
            yield


class SimulatedDatabase(Database):
    """The database as one controller sees it, with a point before and after each transaction and before each commit."""

    def __init__(self, world: World) -> None:
        self.url, self.engine, self._world = world.database.url, world.database.engine, world
        self._reading = world.database._reading

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading."""
        self._world.point("before reading")
        with super().read() as session:
            yield session

    @contextmanager
    def write(self, term: int | None = None) -> Iterator[Session]:
        """Open a session for writing. It must not commit in a term that is over."""
        world = self._world
        world.point("before a transaction")
        with super().write(term) as session:
            yield session
            session.flush()
            lease = session.get(Lease, "controller")
            if term is not None and (lease is None or lease.term != term):
                world.violated(f"a write of term {term} is committed after a newer term has begun")
            world.point("before the commit", inside=True)
        world.written = True
        world.point("after the commit")

    def close(self) -> None:
        """Keep the connections: other processes use them."""


class _SimulatedLeadership(Leadership):
    """Leadership whose lease is renewed by the simulation, and not by a thread."""

    def __init__(self, world: World, database: Database, seconds: float) -> None:
        super().__init__(database, seconds)
        self._world = world

    @contextmanager
    def held(self, term: int) -> Iterator[None]:
        """Renew the lease during the block. A process that is killed or stopped renews nothing."""
        world, process, leading = self._world, self._world.current, [True]
        assert process is not None

        def renew() -> None:
            if not leading or process.doomed or not process.alive or self.lost.is_set():
                return
            if not process.stopped:
                try:
                    with world.database.write() as session:
                        leases.renew(session, term, LEASE_SECONDS)
                except LeadLost:
                    self.lost.set()
                    return
            world.at(world.clock.now + LEASE_SECONDS / 3, renew)

        self.lost.clear()
        self.report_progress()
        world.at(world.clock.now + LEASE_SECONDS / 3, renew)
        try:
            yield
        finally:
            leading.clear()
            if not process.doomed and not self.lost.is_set():
                self._release(term)


class _NoThread:
    """Takes the place of what runs beside the ticks, in threads of its own, and is no part of this simulation."""

    def __init__(self, *_arguments: Any) -> None: ...

    def start(self) -> None:
        """Do nothing."""

    def wake(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class _Stop:
    """The event that ends a controller. It is never set, and to wait for it is to let virtual time pass."""

    def __init__(self, world: World) -> None:
        self._world = world

    def is_set(self) -> bool:
        """Return False."""
        return False

    def wait(self, seconds: float) -> bool:
        """Pause for so many seconds, and return False."""
        if seconds > 0:
            self._world.sleep_until(self._world.clock.now + seconds)
        return False

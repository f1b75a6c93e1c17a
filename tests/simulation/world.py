"""One simulation: the real controller and the real store against a fake Ray, in virtual time, through one schedule."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from service.settings import ControllerSettings
from service.store import sweeps
from service.store.database import Database
from service.store.tables import Pack
from tests.simulation.clock import VirtualClock
from tests.simulation.controller_parts import LEASE_SECONDS, installed, run_controller
from tests.simulation.fake_ray import Head
from tests.simulation.faults import apply_fault
from tests.simulation.processes import Process
from tests.simulation.runner import Kept, SimulatedRunner
from tests.simulation.schedule import Schedule, spec_of
from tests.simulation.user import User
from workers.protocol import Assignment

ORPHAN_SECONDS = 60.0
TICK_SECONDS = 1.0
AGING_SECONDS, PREEMPT_AFTER_SECONDS = 10.0, 0.5
MOST_ATTEMPTS = 12
"""How often a trial is started without faults: as often as a trial that ends its process has to be lost with others,
until it is alone, and then as its retries allow."""
INSIDE = ("kill controller", "database error")
"""The faults that may happen inside a transaction. The others wait for its end."""


class World:
    """Everything that one schedule acts on.

    Args:
        schedule: The schedule.
        database: A migrated database without rows.

    Attributes:
        head: Ray's head; None while there is none.
        runners: All runners that were ever started.
        user: Whoever submits and steers the sweeps.
        processes: All controllers that were ever started.
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
        self.trace: list[str] = []
        self.quiet_at: float | None = None
        self.user = User(self)
        self.checkpoints: dict[str, Kept] = {}
        self.poison: dict[str, int] = {}
        self.failing: dict[str, int] = {}
        self.late_until, self.to_lose = 0.0, 0
        self.current: Process | None = None
        self.violations: list[str] = []
        self.written = True
        self._due = list(schedule.faults)
        self._moment, self._heads = 0, 1
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
        with installed(self):
            self.user.submit()
            while self.schedule.together and self.user.waiting:
                self.user.submit()
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
        process = Process(f"controller {len(self.processes) + 1}", lambda: run_controller(self))
        self.processes.append(process)
        self.at(self.clock.now + delay, lambda: self._continue(process))

    def preemptions_of(self, trial_id: str) -> int:
        """Return how often a pack of a trial was preempted."""
        with self.database.read() as session:
            trial_ids = session.scalars(select(Pack.trial_ids).where(Pack.preempted.is_not(None)))
            return sum(trial_id in ids for ids in trial_ids)

    def new_runner(self, assignment: Assignment) -> SimulatedRunner:
        """Start the process of a runner. There must be no other for the same pack."""
        if any(other.assignment.pack_id == assignment.pack_id for other in self.living_runners()):
            self.violated(f"pack {assignment.pack_id} gets a second runner while its first one lives")
        for trial in assignment.trials:
            before = sum(trial.trial_id in other.trial_ids for other in self.runners)
            most = MOST_ATTEMPTS * (1 + self.user.reruns[trial.trial_id]) + 3 * len(self.schedule.faults)
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
        living = [runner for runner in self.runners if runner.death is None]
        for trial_id, count in Counter(trial_id for runner in living for trial_id in runner.live).items():
            if count > 1:
                self.violated(f"{count} runners train {trial_id} at once")
        return living

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
        if self.user.waiting:
            self.user.submit()
            return False
        if self._goes_on:
            self._goes_on = False
            self.quiet_at = None if self.quiet_at is None else self.clock.now
            placed, cpus = self.user.sweep_ids.items(), self.schedule.cpus
            fitting = [sweep_id for sweep_id, place in placed if spec_of(place).resources.cpus <= cpus]
            went_on = [self.user.go_on(sweep_id) for sweep_id in fitting]
            return not any(went_on)
        return True

    def _calm_down(self) -> None:
        """Note that the faults are over. The user submits the other sweeps, and lets no sweep wait for ever."""
        self.quiet_at = self.clock.now
        self.note("the faults are over")
        while self.user.waiting:
            self.user.submit()
        for sweep in self.open_sweeps():
            needs = spec_of(self.user.sweep_ids[sweep.id]).resources.cpus
            if sweep.state == "paused":
                self.user.verb(sweep.id, "resume")
            if needs > self.schedule.cpus:
                self.user.verb(sweep.id, "cancel")

    def _finish(self) -> None:
        """Kill the controllers, and let the time pass after which no runner may be left."""
        for process in self.processes:
            if process.alive:
                process.kill()
        self.ended_at = self.clock.now
        latest = max([self.clock.now, *(runner.stopped_until for runner in self.runners)])
        self.clock.advance_to(latest + ORPHAN_SECONDS + 1)

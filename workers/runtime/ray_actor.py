"""The Ray actor that runs one pack. It trains in one thread and answers polls and commands in others.

This module imports ray and nothing heavier: torch is imported only in the actor's process, by its training thread.
"""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.protocol import Assignment, Command, Ended, Measured, Poll, Report, StaleTerm
from workers.runtime.machine_load import MachineLoad
from workers.runtime.output_capture import OutputCapture
from workers.runtime.train_pack import train
from workers.runtime.unread_lines import PrintedLine, UnreadLines

if TYPE_CHECKING:
    from workers.training.pack_run import PackRun

LAST_REPLY_SECONDS = 1.0
"""Seconds between the poll that acknowledges the last report and the exit, so that the poll's reply is still sent."""
WATCH_SECONDS = 0.2
"""Seconds between two checks whether the runner can exit."""


def start(assignment: Assignment, name: str, namespace: str) -> Any:
    """Start the actor of a pack's runner, or find the one that has this name already.

    The actor is detached, so it outlives the process that started it. Ray never restarts it: whether there is a
    further attempt is the controller's decision. It runs on the assignment's node, if that is still there.

    Returns:
        The actor's handle. Call ``handle.poll.remote(after_seq, term)`` and
        ``handle.command.remote(term, command.model_dump())``.
    """
    node = assignment.node
    actor = ray.remote(PackRunnerActor).options(
        name=name,
        namespace=namespace,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=4,
        num_cpus=assignment.cpus,
        num_gpus=assignment.gpus,
        memory=assignment.memory or None,
        label_selector=assignment.labels or None,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True) if node else None,
    )
    return actor.remote(assignment.model_dump())


class PackRunner:
    """Trains one pack in a thread, from its creation on; usable without Ray.

    Reports, and the lines that ``keep_line`` was given, are kept until a poll acknowledges them with its ``after_seq``.
    When all trials have ended, the runner waits ``idle_seconds`` for a command that brings others; then it exits as
    soon as all reports and lines are acknowledged. If it is not polled for ``orphan_ttl`` seconds, it pauses all
    trials, which writes their checkpoints, and exits.

    Args:
        assignment: The fields of an ``Assignment``.

    Raises:
        pydantic.ValidationError: The dict is not an assignment.
    """

    def __init__(self, assignment: dict[str, Any]) -> None:
        self._assignment = Assignment.model_validate(assignment)
        self._term = self._assignment.term
        # The lock guards reports, lines, commands and term, which several of Ray's threads use beside the trainer's.
        # A thread that prints something while it holds the lock, as a destructor may at any time, comes in again.
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._reports: list[Report] = []
        self._lines = UnreadLines()
        self._commands: list[Command] = []
        self._command_seqs: set[int] = set()
        self._interrupt, self._trained, self._exited = threading.Event(), threading.Event(), threading.Event()
        self._orphaned = False
        self._load = MachineLoad(gpu=self._assignment.gpus > 0)
        self._polled_at = time.monotonic()
        self._pack_run: PackRun | None = None
        for target in (self._train, self._watch):
            thread_name = f"{self._assignment.pack_id}:{target.__name__}"
            threading.Thread(target=target, name=thread_name, daemon=True).start()

    def poll(self, after_seq: int, term: int) -> dict[str, Any]:
        """Return a ``Poll``, as a dict, with the reports and lines numbered above ``after_seq``.

        The call acknowledges the reports and lines up to and including ``after_seq``, which are then dropped. The first
        poll passes 0.

        Raises:
            StaleTerm: ``term`` is lower than one that this runner has seen.
        """
        self._check_term(term)
        self._polled_at = time.monotonic()
        # Read before the reports: "ended" must not come before the last report, nor may a trial be lacking from both.
        trained, pack_run = self._trained.is_set(), self._pack_run
        idle = pack_run is not None and pack_run.ended
        steps = pack_run.progress() if pack_run else {trial.trial_id: 0 for trial in self._assignment.trials}
        with self._lock:
            self._reports = [report for report in self._reports if report.seq > after_seq]
            self._lines.acknowledge(after_seq)
            self._lines.number(self._next_number)
            reports, lines = list(self._reports), self._lines.to_send()
        steps |= {report.trial_id: report.step for report in reports if isinstance(report, Ended)}
        reply = Poll(
            state="ended" if trained else "idle" if idle else "running" if pack_run else "starting",
            reports=reports,
            progress=steps,
            unsaved=pack_run.unsaved if pack_run else None,
            node=self.node_id(),
            times=pack_run.times() if pack_run else None,
            lines=lines,
        )
        return reply.model_dump()

    def command(self, term: int, command: dict[str, Any]) -> bool:
        """Accept a ``Command``, given as a dict. It takes effect before the next optimiser step.

        Returns:
            True if the command was accepted; false if it is ignored, since one of the same number was accepted before.

        Raises:
            StaleTerm: ``term`` is lower than one that this runner has seen.
            pydantic.ValidationError: The dict is not a command.
            ValueError: It brings a trial whose shape key is not that of the pack.
        """
        self._check_term(term)
        accepted = Command.model_validate(command)
        if {trial.spec.shape_key for trial in accepted.trials} - {self._assignment.trials[0].spec.shape_key}:
            raise ValueError(f"the trials of pack {self._assignment.pack_id} have another shape key than those it gets")
        with self._lock:
            if accepted.seq in self._command_seqs:
                return False
            self._command_seqs.add(accepted.seq)
            self._commands.append(accepted)
        self._interrupt.set()
        return True

    def keep_line(self, line: PrintedLine) -> None:
        """Keep a line for the next poll. Any thread may call this."""
        with self._lock:
            self._lines.add(line)

    def capture(self) -> AbstractContextManager[object]:
        """Return what is open while the pack is trained, and gives ``keep_line`` what the process prints.

        Here that is nothing: a process that is not a runner's alone prints other things too.
        """
        return nullcontext()

    def node_id(self) -> str | None:
        """Return the id of this runner's node in Ray. Here it is None: this class is not in Ray."""
        return None

    def exit(self) -> None:
        """Do nothing. A subclass ends its process here; called once, when the runner has nothing left to do."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the runner has exited; return false if that takes longer than ``timeout`` seconds, else true."""
        return self._exited.wait(timeout)

    def _check_term(self, term: int) -> None:
        with self._lock:
            if term < self._term:
                raise StaleTerm(f"term {term} is over: the controller of term {self._term} leads now")
            self._term = term

    def _train(self) -> None:
        try:
            with self.capture():
                train(
                    self._assignment,
                    self._append_report,
                    callback=self._run_commands,
                    should_stop=self._interrupt.is_set,
                    wait=self._wait_for_trials,
                )
        finally:
            self._trained.set()

    def _run_commands(self, run: PackRun) -> None:
        self._pack_run = run
        # Cleared before the commands are taken: one that arrives in between interrupts again and is not missed.
        self._interrupt.clear()
        with self._lock:
            commands, self._commands = self._commands, []
        for command in commands:
            if command.verb != "refill":
                run.end(command.verb, command.trial_ids, command.reason)
            elif run.takes_trials and not self._orphaned:
                run.add(command.trials)
        if self._orphaned:
            run.end("pause", run.live, "no controller has polled this pack")

    def _wait_for_trials(self, run: PackRun) -> bool:
        """Wait for a command that brings trials; return false if none comes in time, and none is taken after that."""
        deadline = time.monotonic() + self._assignment.idle_seconds
        while run.ended and not self._orphaned and self._interrupt.wait(max(0.0, deadline - time.monotonic())):
            self._run_commands(run)
        return not run.ended

    def _append_report(self, report: Report) -> None:
        changes: dict[str, Any] = {}
        if isinstance(report, Measured):
            changes["values"] = report.values | self._load.sample()
        with self._lock:
            self._lines.number(self._next_number)  # they were printed before this report
            self._reports.append(report.model_copy(update={"seq": self._next_number(), **changes}))

    def _next_number(self) -> int:
        return next(self._numbers)

    def _watch(self) -> None:
        """Exit once every report and line is acknowledged, or once the runner is not polled any more."""
        ttl = self._assignment.orphan_ttl
        while True:
            time.sleep(min(WATCH_SECONDS, ttl / 4))
            with self._lock:
                finished = self._trained.is_set() and not self._reports and not self._lines
            if finished:
                time.sleep(LAST_REPLY_SECONDS)
                break
            if time.monotonic() - self._polled_at > ttl:
                self._orphaned = True
                self._interrupt.set()
                self._trained.wait()
                break
        self._exited.set()
        self.exit()


class PackRunnerActor(PackRunner):
    """A runner that is a Ray actor: what its process prints is kept, and when it exits, it ends its process."""

    def capture(self) -> AbstractContextManager[object]:
        """Return what gives ``keep_line`` all lines that this process prints."""
        return OutputCapture(self.keep_line)

    def node_id(self) -> str | None:
        """Return the id of this process's node in Ray."""
        return str(ray.get_runtime_context().get_node_id())

    def exit(self) -> None:
        """Kill the actor, and with it its process."""
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

"""The Ray actor that runs one pack. It trains in one thread and answers polls and commands in others.

This module imports ray and nothing heavier: torch is imported only in the actor's process, by its training thread.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.protocol import Assignment, Command, Measured, Poll, Report, StaleTerm
from workers.runtime.machine_load import MachineLoad
from workers.runtime.train_pack import train

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

    Reports are kept until a poll acknowledges them with its ``after_seq``. The runner exits when all trials have ended
    and all reports are acknowledged. If it is not polled for ``orphan_ttl`` seconds, it pauses all trials, which writes
    their checkpoints, and exits.

    Args:
        assignment: The fields of an ``Assignment``.

    Raises:
        pydantic.ValidationError: The dict is not an assignment.
    """

    def __init__(self, assignment: dict[str, Any]) -> None:
        self._assignment = Assignment.model_validate(assignment)
        self._term = self._assignment.term
        # The lock guards the reports, commands and term, which several of Ray's threads use beside the trainer's.
        self._lock = threading.Lock()
        self._reports: list[Report] = []
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
        """Return a ``Poll``, as a dict, with the reports numbered above ``after_seq``.

        The call acknowledges the reports up to and including ``after_seq``, which are then dropped. The first poll
        passes 0.

        Raises:
            StaleTerm: ``term`` is lower than one that this runner has seen.
        """
        self._check_term(term)
        self._polled_at = time.monotonic()
        # Read before the reports: a state of "ended" must not come before the last report.
        trained, pack_run = self._trained.is_set(), self._pack_run
        with self._lock:
            self._reports = [report for report in self._reports if report.seq > after_seq]
            reports = list(self._reports)
        steps = pack_run.progress() if pack_run else {trial.trial_id: 0 for trial in self._assignment.trials}
        reply = Poll(
            state="ended" if trained else "running" if pack_run else "starting",
            reports=reports,
            progress=steps,
            unsaved=pack_run.unsaved if pack_run else None,
            node=self.node_id(),
            times=pack_run.times() if pack_run else None,
        )
        return reply.model_dump()

    def command(self, term: int, command: dict[str, Any]) -> bool:
        """Accept a ``Command``, given as a dict. It takes effect before the next optimiser step.

        Returns:
            True if the command was accepted; false if it is ignored, since one of the same number was accepted before.

        Raises:
            StaleTerm: ``term`` is lower than one that this runner has seen.
            pydantic.ValidationError: The dict is not a command.
        """
        self._check_term(term)
        accepted = Command.model_validate(command)
        with self._lock:
            if accepted.seq in self._command_seqs:
                return False
            self._command_seqs.add(accepted.seq)
            self._commands.append(accepted)
        self._interrupt.set()
        return True

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
            train(
                self._assignment, self._append_report, callback=self._run_commands, should_stop=self._interrupt.is_set
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
            run.end(command.verb, command.trial_ids, command.reason)
        if self._orphaned:
            run.end("pause", run.live, "no controller has polled this pack")

    def _append_report(self, report: Report) -> None:
        if isinstance(report, Measured):
            report = report.model_copy(update={"values": report.values | self._load.sample()})
        with self._lock:
            self._reports.append(report)

    def _watch(self) -> None:
        """Exit once every report is acknowledged, or once the runner is not polled any more."""
        ttl = self._assignment.orphan_ttl
        while True:
            time.sleep(min(WATCH_SECONDS, ttl / 4))
            with self._lock:
                finished = self._trained.is_set() and not self._reports
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
    """A runner that is a Ray actor: when it exits, it ends its worker process."""

    def node_id(self) -> str | None:
        """Return the id of this process's node in Ray."""
        return str(ray.get_runtime_context().get_node_id())

    def exit(self) -> None:
        """Kill the actor, and with it its process."""
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

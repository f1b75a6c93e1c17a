"""The Ray actor that runs one pack: trains in a thread of its own, answers polls and commands beside it.

This module imports ray and nothing heavier: torch is loaded in the actor's process alone, by its training thread.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import ray

from workers.protocol import Assignment, Command, Poll, Report, StaleTerm
from workers.runtime.train_pack import train

if TYPE_CHECKING:
    from workers.training.pack_run import PackRun

LAST_REPLY = 1.0
"""Seconds between the poll that acknowledges the last report and the exit, so that the poll's reply gets out."""
WATCH = 0.2
"""Seconds between looks at whether it is time to leave."""


def start(assignment: Assignment, name: str, namespace: str) -> Any:
    """The actor handle of the pack's runner, created or, where one of this name already lives, adopted.

    Detached: it outlives the driver that started it. Never restarted by Ray: a further attempt is the controller's.
    Then ``handle.poll.remote(after_seq, term)`` and ``handle.command.remote(term, command.model_dump())``.
    """
    actor = ray.remote(PackRunnerActor).options(
        name=name, namespace=namespace, lifetime="detached", get_if_exists=True, max_restarts=0, max_task_retries=0,
        max_concurrency=4, num_cpus=assignment.cpus, num_gpus=assignment.gpus,
    )  # fmt: skip
    return actor.remote(assignment.model_dump())


class PackRunner:
    """One pack; usable without Ray. Starts training at once; ``leave`` is called, once, when nothing is left to do.

    Reports are kept until a poll acknowledges them (by its ``after_seq``). A runner that no one has polled for
    ``orphan_ttl`` seconds pauses every trial at a checkpoint and leaves.
    """

    def __init__(self, assignment: dict[str, Any]) -> None:
        self._assignment = Assignment.model_validate(assignment)
        self._term = self._assignment.term
        self._lock = threading.Lock()
        self._reports: list[Report] = []
        self._commands: list[Command] = []
        self._seen: set[int] = set()
        self._interrupt, self._trained, self._left = threading.Event(), threading.Event(), threading.Event()
        self._orphaned = False
        self._polled = time.monotonic()
        self._session: PackRun | None = None
        for run in (self._train, self._watch):
            threading.Thread(target=run, name=f"{self._assignment.pack_id}:{run.__name__}", daemon=True).start()

    def poll(self, after_seq: int, term: int) -> dict[str, Any]:
        """A ``Poll`` as a dict: the reports numbered above ``after_seq``, which acknowledges those up to it.

        The first poll asks after 0. Raises StaleTerm.
        """
        self._check_term(term)
        self._polled = time.monotonic()
        trained, session = self._trained.is_set(), self._session
        with self._lock:
            self._reports = [report for report in self._reports if report.seq > after_seq]
            reports = list(self._reports)
        steps = session.progress() if session else {slot.trial_id: 0 for slot in self._assignment.slots}
        reply = Poll(
            state="ended" if trained else "running" if session else "starting", reports=reports, progress=steps
        )  # fmt: skip
        return reply.model_dump()

    def command(self, term: int, command: dict[str, Any]) -> bool:
        """Take a ``Command``; it acts between two steps. False where one of its number was taken before.

        Raises StaleTerm, and pydantic's ValidationError for what is no command.
        """
        self._check_term(term)
        taken = Command.model_validate(command)
        with self._lock:
            if taken.seq in self._seen:
                return False
            self._seen.add(taken.seq)
            self._commands.append(taken)
        self._interrupt.set()
        return True

    def leave(self) -> None:
        """Called at the end: the actor exits here, a plain object just goes quiet."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has left; false where that takes longer than ``timeout`` seconds."""
        return self._left.wait(timeout)

    def _check_term(self, term: int) -> None:
        with self._lock:
            if term < self._term:
                raise StaleTerm(f"term {term} has lost the lead to term {self._term}")
            self._term = term

    def _train(self) -> None:
        try:
            train(self._assignment, self._emit, attend=self._attend, stop=self._interrupt.is_set)
        finally:
            self._trained.set()

    def _attend(self, session: PackRun) -> None:
        self._session = session
        self._interrupt.clear()
        with self._lock:
            commands, self._commands = self._commands, []
        for command in commands:
            session.end(command.verb, command.trial_ids, command.reason)
        if self._orphaned:
            session.end("pause", session.live, "no controller has asked for this pack")

    def _emit(self, report: Report) -> None:
        with self._lock:
            self._reports.append(report)

    def _watch(self) -> None:
        """Leave once all is told and acknowledged, or once no one asks any more."""
        ttl = self._assignment.orphan_ttl
        while True:
            time.sleep(min(WATCH, ttl / 4))
            with self._lock:
                told = self._trained.is_set() and not self._reports
            if told:
                time.sleep(LAST_REPLY)
                break
            if time.monotonic() - self._polled > ttl:
                self._orphaned = True
                self._interrupt.set()
                self._trained.wait()
                break
        self._left.set()
        self.leave()


class PackRunnerActor(PackRunner):
    """The same in a Ray worker process, which ends with it."""

    def leave(self) -> None:
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

"""The packs of a sweep in processes without Ray. They begin with some trials, and get others as places get free."""

from __future__ import annotations

import signal
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import TYPE_CHECKING

from workers.protocol import AssignedTrial, Assignment, Command, Report
from workers.runtime.pack_planner import largest_size
from workers.runtime.train_pack import train
from workers.spec.resources import ResourcesSpec

if TYPE_CHECKING:
    from workers.training.pack_run import PackRun


@dataclass
class PackProcess:
    """A running pack.

    Attributes:
        process: Its process.
        assignment: What it began with.
        unfinished: Its trials that have not ended yet, by their ids.
        places: How many trials it may train at a time.
        sent: How many commands were sent to it.
    """

    process: BaseProcess
    assignment: Assignment
    unfinished: dict[str, AssignedTrial]
    places: int
    sent: int = 0

    @property
    def shape_key(self) -> str:
        """The shape key of its trials."""
        return self.assignment.trials[0].spec.shape_key


def spawn(assignment: Assignment, resources: ResourcesSpec) -> tuple[Connection, PackProcess]:
    """Start a process that trains a pack, and return the connection to it.

    Args:
        assignment: The pack.
        resources: The resources of a pack of the sweep.
    """
    # Not forked: a forked process would inherit torch's and CUDA's state, and cannot use CUDA.
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_run_pack, args=(assignment.model_dump_json(), theirs), daemon=True)
    process.start()
    theirs.close()
    trials = {trial.trial_id: trial for trial in assignment.trials}
    return mine, PackProcess(process, assignment, trials, _places(assignment, resources))


def refill(running: dict[Connection, PackProcess], waiting: deque[Assignment]) -> None:
    """Give waiting trials to the processes that have places for them, and end those that have nothing left to do."""
    for connection, pack in list(running.items()):
        taken = _take(waiting, pack.shape_key, pack.places - len(pack.unfinished))
        if taken:
            pack.unfinished |= {trial.trial_id: trial for trial in taken}
            pack.sent += 1
            command = Command(seq=pack.sent, verb="refill", trial_ids=[t.trial_id for t in taken], trials=taken)
            with suppress(OSError):  # its process is gone, which the next look at the connection tells
                connection.send_bytes(command.model_dump_json().encode())
        elif not pack.unfinished:
            del running[connection]
            connection.close()
            pack.process.join()


def _take(waiting: deque[Assignment], shape_key: str, count: int) -> list[AssignedTrial]:
    """Take up to ``count`` trials of a shape from the packs that wait and were never lost."""
    taken: list[AssignedTrial] = []
    for _ in range(len(waiting)):
        pack = waiting.popleft()
        fits = pack.attempt == 0 and pack.trials[0].spec.shape_key == shape_key
        number = max(0, count - len(taken)) if fits else 0
        taken += pack.trials[:number]
        if number < len(pack.trials):
            waiting.append(pack.model_copy(update={"trials": pack.trials[number:]}))
    return taken


def _places(assignment: Assignment, resources: ResourcesSpec) -> int:
    """Return how many trials a process may train at a time; none but its own if it repeats what was lost.

    On a GPU these are as many as it begins with: so many places are measured then.
    """
    own = len(assignment.trials)
    if assignment.attempt:
        return 0
    largest = largest_size(assignment.trials[0].spec, resources.pack_size, resources.gpus)
    return min(own, largest) if resources.gpus else max(own, largest)


def _run_pack(document: str, connection: Connection) -> None:
    """Train one pack, in a process that was spawned for it, and the trials that are sent to it later.

    It ends when the other end of the connection is closed. Ctrl-C is ignored here, because the parent handles it. If
    the parent is gone, the next report ends this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Commands are read at once, whatever this process does: the parent must not wait until it can send one.
    commands: SimpleQueue[Command | None] = SimpleQueue()
    threading.Thread(target=_read, args=(connection, commands), daemon=True).start()

    def send(report: Report) -> None:
        connection.send_bytes(report.model_dump_json().encode())

    def take_what_is_there(run: PackRun) -> None:
        while not commands.empty() and run.takes_trials:
            _obey(run, commands.get())

    def wait_for_trials(run: PackRun) -> bool:
        while run.ended and _obey(run, commands.get()):
            pass
        return not run.ended

    with suppress(BrokenPipeError):
        train(Assignment.model_validate_json(document), send, callback=take_what_is_there, wait=wait_for_trials)


def _read(connection: Connection, commands: SimpleQueue[Command | None]) -> None:
    """Put the commands that come into a queue, and None when none will come any more."""
    with suppress(EOFError, OSError):
        while True:
            commands.put(Command.model_validate_json(connection.recv_bytes()))
    commands.put(None)


def _obey(run: PackRun, command: Command | None) -> bool:
    """Take the trials of a command; return false if it is None."""
    if command is not None:
        run.add(command.trials)
    return command is not None

"""One whole sweep on this machine with no service: packs in processes of their own, results in a directory.

Layout::

    sweep.json          the sweep
    results.json        every trial's state, objective and last metrics; rewritten whenever a trial ends
    trials/00003/       checkpoints of trial 3 (workers.checkpoints)

Run again in the same directory it goes on from the checkpoints. Early stopping is the service's: here every trial
runs to its end.
"""

from __future__ import annotations

import json
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from workers.errors import OtherSweep
from workers.files import write_whole
from workers.protocol import AssignedTrial, Assignment, Checkpointed, Ended, Measured, Report
from workers.runtime.pack_planner import plan
from workers.runtime.train_pack import train
from workers.spec.expand import plan_trials
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

_REPORT: TypeAdapter[Report] = TypeAdapter(Report)
RESULTS, SWEEP = "results.json", "sweep.json"


@dataclass
class LocalResult:
    """What is known of one trial. ``checkpoint``: the best one, relative to the directory."""

    number: int
    params: dict[str, Any]
    state: str = "waiting"
    step: int = 0
    objective: float | None = None
    checkpoint: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str | None = None


@dataclass
class _Running:
    process: BaseProcess
    assignment: Assignment
    left: set[str]


class LocalSweep:
    """A sweep and the directory it runs in. Raises OtherSweep where that holds another one's results.

    workers: processes at a time, by default one for every ``resources.cpus`` of this machine (one in all on a GPU).
    """

    def __init__(
        self, sweep: SweepSpec, directory: Path, *, workers: int | None = None, data_dir: Path | None = None
    ) -> None:
        self.sweep, self.directory = sweep, directory
        self.trials = [plan.require_spec() for plan in plan_trials(sweep)]
        self.results = [LocalResult(trial.number, dict(trial.params)) for trial in self.trials]
        self._workers = workers or _default_workers(sweep)
        self._data_dir = None if data_dir is None else str(data_dir)
        self._told: set[tuple[str, int, str]] = set()
        self._claim()

    @property
    def best(self) -> LocalResult | None:
        """The trial with the best objective so far; one that failed never counts."""
        found = [result for result in self.results if result.objective is not None and result.state != "failed"]
        sign = 1 if self.trials[0].objective.direction == "maximize" else -1
        return max(found, key=lambda result: sign * (result.objective or 0.0), default=None)

    def run(self) -> Generator[Report, None, None]:
        """Train; yields reports of all trials as they come, each once; ``trial_id`` is the trial's number in decimal.

        A process that is lost is started again from its checkpoints, ``retries.infrastructure`` times. Closing the
        iterator (or an exception, Ctrl-C) ends the processes; what is checkpointed stays.
        """
        packs = plan(self.trials, self.sweep.resources.pack_size, self._workers, self.sweep.resources.gpus)
        waiting = deque(self._assignment(i, [self.trials[j] for j in pack]) for i, pack in enumerate(packs))
        running: dict[Connection, _Running] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._workers:
                    connection, started = _spawn(waiting.popleft())
                    running[connection] = started
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)
                    yield from self._receive(ready, running, waiting)
        finally:
            for pack in running.values():
                pack.process.terminate()
            self._write()

    def _receive(
        self, ready: Connection, running: dict[Connection, _Running], waiting: deque[Assignment]
    ) -> Iterator[Report]:
        pack = running[ready]
        try:
            report = _REPORT.validate_json(ready.recv_bytes())
        except (EOFError, OSError):
            del running[ready]
            ready.close()
            pack.process.join()
            if pack.left:
                yield from self._lost(pack, waiting)
            return
        if isinstance(report, Ended):
            pack.left.discard(report.trial_id)
        if self._is_news(report):
            self._note(report)
            yield report

    def _lost(self, pack: _Running, waiting: deque[Assignment]) -> Iterator[Report]:
        attempt = pack.assignment.attempt + 1
        slots = [slot for slot in pack.assignment.slots if slot.trial_id in pack.left]
        if attempt <= self.sweep.retries.infrastructure:
            waiting.append(pack.assignment.model_copy(update={"attempt": attempt, "slots": slots}))
            return
        reason = f"its process ended with exit code {pack.process.exitcode}, {attempt} times"
        for slot in slots:
            step = self.results[int(slot.trial_id)].step
            report = Ended(
                seq=0, trial_id=slot.trial_id, step=step, outcome="failed", cause="infrastructure", reason=reason
            )  # fmt: skip
            self._note(report)
            yield report

    def _assignment(self, number: int, trials: list[TrialSpec]) -> Assignment:
        slots = [
            AssignedTrial(trial_id=str(t.number), spec=t, checkpoint_dir=str(self.directory / _folder(t.number)))
            for t in trials
        ]
        resources = self.sweep.resources
        return Assignment(
            pack_id=f"pack-{number}", attempt=0, term=0, slots=slots, cpus=resources.cpus, gpus=resources.gpus,
            data_dir=self._data_dir,
        )  # fmt: skip

    def _is_news(self, report: Report) -> bool:
        """A resumed trial tells all again; only the first time counts."""
        key = (report.trial_id, report.step, report.kind)
        news = key not in self._told
        self._told.add(key)
        return news

    def _note(self, report: Report) -> None:
        result = self.results[int(report.trial_id)]
        result.step = max(result.step, report.step)
        if isinstance(report, Measured):
            result.state, result.metrics = "running", report.values
        elif isinstance(report, Checkpointed) and report.best:
            result.objective = report.objective
            result.checkpoint = str(Path(report.path).relative_to(self.directory))
        elif isinstance(report, Ended):
            result.state, result.reason = report.outcome, report.reason
            self._write()

    def _claim(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        path, document = self.directory / SWEEP, self.sweep.model_dump(mode="json")
        if path.exists() and json.loads(path.read_bytes()) != json.loads(json.dumps(document)):
            raise OtherSweep(f"{self.directory} holds another sweep ({SWEEP}); give another directory or remove it")
        write_whole(path, json.dumps(document, indent=1).encode())

    def _write(self) -> None:
        best = self.best
        document = {
            "name": self.sweep.name,
            "objective": self.trials[0].objective.model_dump(),
            "best": None if best is None else best.number,
            "trials": [vars(result) for result in self.results],
        }
        write_whole(self.directory / RESULTS, json.dumps(document, indent=1).encode())


def _folder(number: int) -> Path:
    return Path("trials") / f"{number:05d}"


def _default_workers(sweep: SweepSpec) -> int:
    if sweep.resources.gpus:
        return 1
    return max(1, int(len(os.sched_getaffinity(0)) / sweep.resources.cpus))


def _spawn(assignment: Assignment) -> tuple[Connection, _Running]:
    context = get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(assignment.model_dump_json(), theirs), daemon=True)
    process.start()
    theirs.close()
    return mine, _Running(process, assignment, {slot.trial_id for slot in assignment.slots})


def _work(document: str, connection: Connection) -> None:
    """The process of one pack. Ctrl-C is the parent's to handle; a parent that is gone ends it at the next report."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def send(report: Report) -> None:
        connection.send_bytes(report.model_dump_json().encode())

    with suppress(BrokenPipeError):
        train(Assignment.model_validate_json(document), send)

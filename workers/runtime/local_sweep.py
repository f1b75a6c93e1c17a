"""Run one sweep on this machine without the service: every pack in a process, the results in a directory.

Layout of the directory::

    sweep.json          the sweep
    results.json        the state, objective and last metrics of every trial, and with repeats the spread of every
                        point; rewritten when trials start and end
    trials/00003/       the checkpoints of trial 3 (workers.checkpoints)

A sweep that is run again in the same directory resumes from its checkpoints. There is no early stopping here, because
it belongs to the service: every trial runs to its end.
"""

from __future__ import annotations

import json
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from workers.errors import OtherSweep
from workers.files import write_whole
from workers.protocol import AssignedTrial, Assignment, Checkpointed, Ended, Measured, Report
from workers.runtime.pack_planner import plan
from workers.runtime.train_pack import train
from workers.spec.expand import next_points, objective, plan_trial, trial_count, without_statistics
from workers.spec.point_results import PointResult, RepeatResult, best_point, grouped, ranked_points
from workers.spec.ranking import has_result, rank_key
from workers.spec.samplers import Observation
from workers.spec.search_space import Scalar
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

_REPORT: TypeAdapter[Report] = TypeAdapter(Report)
RESULTS, SWEEP = "results.json", "sweep.json"
UNFINISHED = ("waiting", "running")
"""States of a trial that has not ended."""


@dataclass
class LocalResult:
    """The state and results of one trial, as ``results.json`` has them.

    ``state`` is "waiting", "running" or the outcome of the trial. ``step`` is that of its last report, ``metrics`` has
    its last metrics by name, ``objective`` and ``checkpoint`` are those of its best checkpoint, whose path is relative
    to the sweep's directory, ``reason`` says why it ended early, and ``place`` is its place in the order in which the
    trials ended.
    """

    number: int
    params: dict[str, Any]
    state: str = "waiting"
    step: int = 0
    objective: float | None = None
    checkpoint: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    place: int | None = None


@dataclass
class _PackProcess:
    """A running pack. ``unfinished`` holds the ids of its trials that have not ended yet."""

    process: BaseProcess
    assignment: Assignment
    unfinished: set[str]


class LocalSweep:
    """Runs one sweep in processes on this machine and keeps its results in a directory.

    Args:
        sweep: The sweep.
        directory: The directory for checkpoints and results; it is created if needed.
        workers: The number of processes at a time, each with one pack. By default (None or 0) one for every
            ``resources.cpus`` CPUs that this process may use, or a single one if the sweep uses a GPU.
        data_dir: The directory of the data sets that are read from files; None for the one in the user's cache.

    A sampler that learns from results proposes further trials while the sweep runs: ``trials`` and ``results`` grow.

    Raises:
        OtherSweep: The directory holds the results of another sweep.
        SpecError: A trial of the sweep cannot be trained. ``run`` raises it for trials that are proposed later.
    """

    def __init__(
        self, sweep: SweepSpec, directory: Path, *, workers: int | None = None, data_dir: Path | None = None
    ) -> None:
        self.sweep, self.directory = sweep, directory
        self.trials: list[TrialSpec] = []
        self.results: list[LocalResult] = []
        self._workers = workers or _default_workers(sweep)
        self._data_dir = None if data_dir is None else str(data_dir)
        self._seen: set[tuple[str, int, str]] = set()
        self._pack_count = 0
        self._claim_directory()
        # A resumed sweep keeps its trials: a sampler that learns could propose others now that results are missing.
        for params in self._stored_points():
            self._add_trial(params)
        self._propose()

    @property
    def best(self) -> LocalResult | None:
        """The trial with the best objective so far, the first of equals; None before the first with a result.

        With ``repeats`` it is the best trial of the best point.
        """
        if self.sweep.repeats > 1:
            direction = objective(self.sweep).direction
            point = best_point(self.points, direction)
            repeat = point.best_repeat(direction) if point else None
            return self.results[repeat.number] if repeat else None
        first = self.ranked[0] if self.results else None
        return first if first and has_result(first.state, first.objective) else None

    @property
    def points(self) -> list[PointResult]:
        """The points, each with the spread of its repeats: the best first, those without a result last."""
        trials = (RepeatResult(result.number, result.state, result.objective) for result in self.results)
        found = grouped(trials, self.sweep.repeats, self.sweep.objective.statistic)
        return ranked_points(found, objective(self.sweep).direction)

    @property
    def ranked(self) -> list[LocalResult]:
        """The trials in the order of ``workers.spec.ranking``: the best first, those without a result last."""
        direction = objective(self.sweep).direction
        return sorted(self.results, key=lambda r: rank_key(r.state, r.objective, r.number, direction))

    def run(self) -> Generator[Report, None, None]:
        """Train all trials to their ends.

        If a pack's process is lost, its unfinished trials start again from their checkpoints, up to
        ``retries.infrastructure`` times, and then count as failed. If the iterator is closed, or an exception such as
        Ctrl-C comes through it, the processes are ended; checkpoints stay.

        Yields:
            The reports of all trials as they come, each once. ``trial_id`` is the trial's number in decimal.
        """
        waiting = deque(self._assignments(self.trials))
        running: dict[Connection, _PackProcess] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._workers:
                    connection, started = _spawn(waiting.popleft())
                    running[connection] = started
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)
                    yield from self._receive(ready, running, waiting)
                waiting.extend(self._assignments(self._propose()))
        finally:
            for pack in running.values():
                pack.process.terminate()
            self._write_results()

    def _receive(
        self, ready: Connection, running: dict[Connection, _PackProcess], waiting: deque[Assignment]
    ) -> Iterator[Report]:
        pack = running[ready]
        try:
            report = _REPORT.validate_json(ready.recv_bytes())
        except (EOFError, OSError):
            # The process has ended, by itself or by a signal: only the trials without an Ended report tell which.
            del running[ready]
            ready.close()
            pack.process.join()
            if pack.unfinished:
                yield from self._retry_or_fail(pack, waiting)
            return
        if isinstance(report, Ended):
            pack.unfinished.discard(report.trial_id)
        if self._is_new(report):
            self._record(report)
            yield report

    def _retry_or_fail(self, pack: _PackProcess, waiting: deque[Assignment]) -> Iterator[Report]:
        attempt = pack.assignment.attempt + 1
        trials = [trial for trial in pack.assignment.trials if trial.trial_id in pack.unfinished]
        if attempt <= self.sweep.retries.infrastructure:
            waiting.append(pack.assignment.model_copy(update={"attempt": attempt, "trials": trials}))
            return
        code = pack.process.exitcode
        reason = f"its process was lost in each of its attempts ({attempt}); the last exit code was {code}"
        for trial in trials:
            step = self.results[int(trial.trial_id)].step
            report = Ended(
                seq=0,
                trial_id=trial.trial_id,
                step=step,
                outcome="failed",
                cause="infrastructure",
                reason=reason,
            )
            self._record(report)
            yield report

    def _add_trial(self, params: Mapping[str, Scalar]) -> TrialSpec:
        """Append the trial at a point to ``trials`` and ``results``, and return it."""
        trial = plan_trial(self.sweep, len(self.trials), params).require_spec()
        self.trials.append(trial)
        self.results.append(LocalResult(trial.number, dict(trial.params)))
        return trial

    def _propose(self) -> list[TrialSpec]:
        """Add the trials that the sampler is ready to propose, and return them."""
        if len(self.trials) >= trial_count(self.sweep):
            return []
        earlier = [
            Observation(
                r.number,
                r.params,
                r.objective if has_result(r.state, r.objective) else None,
                r.state not in UNFINISHED,
                r.place,
                r.state == "cancelled",
            )
            for r in self.results
        ]
        added = [self._add_trial(point) for point in next_points(self.sweep, earlier)]
        if added:
            self._write_results()
        return added

    def _stored_points(self) -> list[dict[str, Scalar]]:
        """Return the points of the trials that an earlier run in the directory had, in order."""
        path = self.directory / RESULTS
        return [trial["params"] for trial in json.loads(path.read_bytes())["trials"]] if path.exists() else []

    def _assignments(self, trials: Sequence[TrialSpec]) -> Iterator[Assignment]:
        """Group trials into packs and yield an assignment for each."""
        gpus = self.sweep.resources.gpus
        for pack in plan(trials, self.sweep.resources.pack_size, self._workers, gpus, self.sweep.repeats):
            yield self._assignment(self._pack_count, [trials[position] for position in pack])
            self._pack_count += 1

    def _assignment(self, number: int, trials: list[TrialSpec]) -> Assignment:
        assigned = [
            AssignedTrial(trial_id=str(t.number), spec=t, checkpoint_dir=str(self.directory / _folder(t.number)))
            for t in trials
        ]
        return Assignment(
            pack_id=f"pack-{number}",
            attempt=0,
            term=0,
            trials=assigned,
            cpus=self.sweep.resources.cpus,
            gpus=self.sweep.resources.gpus,
            data_dir=self._data_dir,
            keep_every=self.sweep.checkpoints.keep_every,
        )

    def _is_new(self, report: Report) -> bool:
        """Return whether a report comes for the first time: a resumed trial repeats its earlier ones."""
        key = (report.trial_id, report.step, report.kind)
        new = key not in self._seen
        self._seen.add(key)
        return new

    def _record(self, report: Report) -> None:
        result = self.results[int(report.trial_id)]
        result.step = max(result.step, report.step)
        if isinstance(report, Measured):
            result.state, result.metrics = "running", report.values
        elif isinstance(report, Checkpointed) and report.best:
            result.objective = report.objective
            result.checkpoint = str(Path(report.path).relative_to(self.directory))
        elif isinstance(report, Ended):
            result.state, result.reason = report.outcome, report.reason
            result.place = sum(other.place is not None for other in self.results)
            self._write_results()

    def _claim_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        path, document = self.directory / SWEEP, without_statistics(self.sweep).model_dump(mode="json")
        if path.exists() and _read_sweep(path) != without_statistics(self.sweep):
            raise OtherSweep(
                f"{self.directory} holds another sweep (its {SWEEP} differs); use another directory, or remove this one"
            )
        write_whole(path, json.dumps(document, indent=1).encode())

    def _write_results(self) -> None:
        best = self.best
        document = {
            "name": self.sweep.name,
            "objective": objective(self.sweep).model_dump(),
            "best": None if best is None else best.number,
            "trials": [vars(result) for result in self.results],
        }
        if self.sweep.repeats > 1:
            document["points"] = [
                {"number": point.number, "objective": point.objective, **point.summary._asdict()}
                for point in self.points
            ]
        write_whole(self.directory / RESULTS, json.dumps(document, indent=1).encode())


def _read_sweep(path: Path) -> SweepSpec | None:
    """Return the sweep in a file, also one of an earlier release without today's fields; None if it is no sweep."""
    try:
        return SweepSpec.model_validate_json(path.read_bytes())
    except ValidationError:
        return None


def _folder(number: int) -> Path:
    return Path("trials") / f"{number:05d}"


def _default_workers(sweep: SweepSpec) -> int:
    if sweep.resources.gpus:
        return 1
    return max(1, int(len(os.sched_getaffinity(0)) / sweep.resources.cpus))


def _spawn(assignment: Assignment) -> tuple[Connection, _PackProcess]:
    # Not forked: a forked process would inherit torch's and CUDA's state, and cannot use CUDA.
    context = get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run_pack, args=(assignment.model_dump_json(), theirs), daemon=True)
    process.start()
    theirs.close()
    return mine, _PackProcess(process, assignment, {trial.trial_id for trial in assignment.trials})


def _run_pack(document: str, connection: Connection) -> None:
    """Train one pack, in a process that the sweep has spawned.

    Ctrl-C is ignored here, because the parent handles it. If the parent is gone, the next report ends this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def send(report: Report) -> None:
        connection.send_bytes(report.model_dump_json().encode())

    with suppress(BrokenPipeError):
        train(Assignment.model_validate_json(document), send)

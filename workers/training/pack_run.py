"""The run of a pack, from its assignment to its last report: resume, train, write checkpoints, end trials. No Ray.

A resumed trial first repeats all reports that its checkpoint records, because the previous runner may have died before
they were polled. Receivers recognise a report by its trial and step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from workers.checkpoints import CheckpointFolder
from workers.errors import CheckpointForeign, DataMissing, store_problem
from workers.protocol import AssignedTrial, Cause, Outcome, PackTimes, Report
from workers.tasks.readers.errors import DataWrong
from workers.training.batches import TaskData
from workers.training.checkpoint_writer import CheckpointWriter, DueCheckpoint
from workers.training.pack_reports import PackReports
from workers.training.pack_size import trials_at_once
from workers.training.pack_timer import PackTimer, device_name
from workers.training.trainer import Trainer
from workers.training.trainer_events import Failed, Finished, Reported, TrainerEvent
from workers.training.training_state import TrainingState

log = logging.getLogger(__name__)

OUTCOMES: dict[str, Outcome] = {"prune": "pruned", "pause": "paused", "move": "moved", "cancel": "cancelled"}
"""The outcome of a trial that a command ends, by the command's verb."""
RESUMED = ("pause", "move")
"""The verbs after which another run goes on with the trial, from a checkpoint of its present state."""
FINISH_SECONDS = 3600.0
"""A trial that has done all its steps waits so long for the store to take its last checkpoint; then it fails."""
LOG_SECONDS = 60.0
"""That checkpoints were written is logged the first time, and then so often at most."""
WAIT_SECONDS = 0.1
"""The pause between two looks while nothing is left to do but to write checkpoints again."""
Written = Mapping[str, Sequence[DueCheckpoint]]
"""The checkpoints that are on disk now and have not been reported, by trial."""


class PackRun:
    """Trains the trials of one assignment on one device, writes their checkpoints and reports what happens to them.

    Call ``start`` once, and then ``advance`` until ``ended``. ``add`` brings further trials, also after that.

    Args:
        trials: The assigned trials, at least one.
        emit: Called with every report.
        data_dir: The directory of the data sets that are read from files; None for the one in the user's cache.
        device: A device of torch, for example "cpu" or "cuda".
        keep_every: Checkpoints at multiples of this many steps are kept beside those that training needs.

    Raises:
        ValueError: A trial is assigned twice, the shape keys differ, or mixed precision is requested without a GPU.
    """

    def __init__(
        self,
        trials: Sequence[AssignedTrial],
        emit: Callable[[Report], None],
        *,
        data_dir: Path | None = None,
        device: str = "cpu",
        keep_every: int | None = None,
    ) -> None:
        self._assigned: dict[str, AssignedTrial] = {}  # those that have not ended
        self._known: set[str] = set()
        if len({trial.trial_id for trial in trials}) < len(trials):
            raise ValueError("the assignment has a trial twice; give each trial its own trial_id")
        if len({trial.spec.shape_key for trial in trials}) > 1:
            raise ValueError(
                "the trials of a pack must share one shape key; plan packs with workers.runtime.pack_planner"
            )
        if trials[0].spec.training.dtype == "bfloat16" and not device.startswith("cuda"):
            raise ValueError("training.dtype bfloat16 needs a GPU; give resources.gpus above 0, or use float32")
        self._reports, self._data_dir, self._device = PackReports(emit), data_dir, torch.device(device)
        self._timer = PackTimer(self._device)
        self._keep_every = keep_every
        self._folders: dict[str, CheckpointFolder] = {}
        self._writer = CheckpointWriter(self._folders)
        # Trials that have succeeded as soon as their last checkpoints are on disk: how, and since when they wait.
        self._finishing: dict[str, tuple[Finished, float]] = {}
        self._logged_at: float | None = None
        self._checkpoint_steps: dict[str, int] = {}
        self._steps: dict[str, int] = {}
        # The numbers of the trainer's trials; a trial that could not be resumed, or has ended, is not among them.
        self._numbers: dict[str, int] = {}
        self._trainer: Trainer | None = None
        for trial in trials:
            self._take(trial)

    @property
    def ended(self) -> bool:
        """Whether every trial has ended."""
        return not self._assigned

    @property
    def live(self) -> list[str]:
        """The ids of the trials that have not ended."""
        return list(self._assigned)

    @property
    def takes_trials(self) -> bool:
        """Whether ``add`` may be called: the data are loaded."""
        return self._trainer is not None

    def progress(self) -> dict[str, int]:
        """Return the optimiser steps done, by trial, of the trials that have not ended. Any thread may call this.

        A trial that has ended is left out from the moment on at which its last report has been emitted.
        """
        return dict(self._steps)

    def times(self) -> PackTimes:
        """Return how long the parts of the training took so far."""
        return self._timer.times()

    @property
    def unsaved(self) -> str | None:
        """Why the newest checkpoints of a trial are not on disk yet, for a person to read; None if all are."""
        return self._writer.problem

    def start(self) -> None:
        """Load the data and every trial's newest checkpoint, and repeat the reports that the checkpoints record.

        A trial whose data or checkpoints cannot be used is ended as failed, with a reason.
        """
        resumed = {trial_id: self._resume(trial_id) for trial_id in self.live}
        states = {trial_id: state for trial_id, state in resumed.items() if state is not None}
        if not states:
            return
        spec = next(iter(states.values())).spec
        try:
            data = TaskData(spec.task, self._data_dir, self._device, getattr(torch, spec.training.parameter_dtype))
        except DataMissing as error:
            cause, reason = data_cause(error)
            for trial_id in states:
                self._end(trial_id, "failed", cause, reason)
            return
        self._numbers = {trial_id: number for number, trial_id in enumerate(states)}
        # On a CPU the controller alone decides how many trials are trained at once.
        largest = None if self._device.type == "cpu" else trials_at_once(list(states.values()), data, self._device)
        self._trainer = Trainer(list(states.values()), data, self._device, largest=largest, timer=self._timer)
        self._timer.ready()
        log.info(
            "training begins; trials: %d, task: %s, device: %s, torch: %s, threads: %d",
            *(len(states), spec.task.name, device_name(self._device), torch.__version__, torch.get_num_threads()),
        )
        for trial_id, state in states.items():
            self._steps[trial_id] = state.step
            self._repeat_reports(trial_id, state)

    def add(self, trials: Sequence[AssignedTrial]) -> None:
        """Train further trials beside the others, each from its newest checkpoint on, and repeat its reports.

        A trial that this run was given before is ignored. One whose checkpoints cannot be used is ended as failed, with
        a reason.

        Args:
            trials: Trials of the shape key of the others.
        """
        assert self._trainer is not None
        for trial in trials:
            if trial.trial_id in self._known:
                continue
            self._take(trial)
            state = self._resume(trial.trial_id)
            if state is not None:
                self._numbers[trial.trial_id] = self._trainer.add(state)
                self._steps[trial.trial_id] = state.step
                self._repeat_reports(trial.trial_id, state)

    def _take(self, trial: AssignedTrial) -> None:
        self._known.add(trial.trial_id)
        self._assigned[trial.trial_id] = trial
        self._folders[trial.trial_id] = CheckpointFolder(Path(trial.checkpoint_dir), trial.spec, self._keep_every)
        self._steps[trial.trial_id] = 0

    def advance(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train until the next report of any trial is due, write the checkpoints that are due, and emit the reports.

        Checkpoints that could not be written are tried again. While only such are left, return after a short wait.

        Args:
            should_stop: Called after every optimiser step. If it returns true, training returns early.
        """
        if self._trainer is None:
            return
        self._report_written(self._writer.retry())
        self._finish()
        if not self._trainer.live:
            time.sleep(WAIT_SECONDS if self._finishing else 0)
            return
        events = self._trainer.advance(should_stop)
        self._steps |= {trial_id: self._trainer.step_of(number) for trial_id, number in self._numbers.items()}
        # All checkpoints of this advance are written before the first report, so that they are written in parallel.
        written = self._write_due([event for event in events if isinstance(event, Reported) and event.save])
        for event in events:
            self._emit_event(event, written)

    def end(self, verb: str, trial_ids: Sequence[str], reason: str = "") -> None:
        """End trials on request. Those that have ended already or are not in the pack are ignored.

        Args:
            verb: ``prune``, ``cancel``, ``pause`` or ``move``. A trial that is paused or moved gets a checkpoint first,
                and is ended as failed instead if that cannot be written.
            trial_ids: The trials to end.
            reason: The reason for the trials' last reports.
        """
        for trial_id in trial_ids:
            if trial_id not in self._assigned:
                continue
            if self._trainer is not None:
                self._save_before_end(verb, trial_id)
            if trial_id not in self._assigned:
                continue
            if verb in RESUMED and self._writer.keeps(trial_id):
                self._end_unsaved(trial_id)
            else:
                self._end(trial_id, OUTCOMES[verb], None, reason or None)

    def _save_before_end(self, verb: str, trial_id: str) -> None:
        """Write what a trial needs before it ends: to go on elsewhere its present state, else its best checkpoint.

        A trial that waited for nothing but its last checkpoint has then succeeded.
        """
        assert self._trainer is not None
        state = self._trainer.state(self._numbers[trial_id])
        unsaved = trial_id not in self._finishing and self._checkpoint_steps.get(trial_id) != state.step
        if verb in RESUMED and unsaved:
            self._report_written(self._writer.write({trial_id: DueCheckpoint(state, best=False, objective=None)}))
        elif verb != "cancel":
            self._report_written(self._writer.retry(trial_id))
        self._finish()

    def _finish(self) -> None:
        """End the trials that have waited for their last checkpoints: those that are on disk, or that never will be."""
        for trial_id, (finished, since) in list(self._finishing.items()):
            if not self._writer.keeps(trial_id):
                self._end(trial_id, "succeeded", reason=finished.reason)
            elif time.monotonic() - since > FINISH_SECONDS:
                self._end_unsaved(trial_id)

    def _end_unsaved(self, trial_id: str) -> None:
        """End a trial whose newest checkpoint cannot be written: another attempt goes on from the one before."""
        self._end(trial_id, "failed", "storage", f"its checkpoint cannot be written: {self._writer.problem}")

    def _resume(self, trial_id: str) -> TrainingState | None:
        """Return the state of a trial at its newest usable checkpoint, or its initial state if there is none.

        The trial is ended as failed, and None returned, if all whole checkpoints are another trial's or the folder is
        unreadable.
        """
        try:
            state = TrainingState.resume(self._folders[trial_id], self._assigned[trial_id].spec)
            begins = f"goes on from its checkpoint of step {state.step}" if state.step else "begins at step 0"
            log.info("trial %s: %s", trial_id, begins, extra={"trial_id": trial_id})
            return state
        except CheckpointForeign as error:
            self._end(trial_id, "failed", "user", str(error))
        except OSError as error:
            self._end(trial_id, "failed", "storage", f"its checkpoints cannot be read: {error}")
        return None

    def _repeat_reports(self, trial_id: str, state: TrainingState) -> None:
        """Emit again what was reported up to a resumed trial's checkpoint.

        That is every report of metrics, the best and the newest checkpoint, and the end of the trial if it is complete.
        """
        for report in state.history:
            self._reports.measured(trial_id, report.step, report.values)
        if state.step:
            best, folder = state.best, self._folders[trial_id]
            if best is not None and best.step != state.step:
                self._reports.checkpointed(trial_id, folder, best.step, True, best.objective)
            # A checkpoint of a paused trial may lie between two reports and then has no objective.
            reported = {report.step: report.values[state.spec.objective.metric] for report in state.history[-1:]}
            is_best = best is not None and best.step == state.step
            self._reports.checkpointed(trial_id, folder, state.step, is_best, reported.get(state.step))
            self._checkpoint_steps[trial_id] = state.step
        if state.done:
            self._end(trial_id, "succeeded", reason=state.early_end)

    def _emit_event(self, event: TrainerEvent, written: Written) -> None:
        """Emit the reports about one event of the trainer; ``written`` has the checkpoints that are due."""
        trial_id = self._id_of(event.trial)
        if isinstance(event, Reported):
            self._reports.measured(trial_id, event.step, event.values)
            self._report_written({trial_id: written.get(trial_id, ())})
        elif isinstance(event, Failed):
            self._steps[trial_id] = event.step
            self._end(trial_id, "failed", "user", event.reason, step=event.step)
        elif isinstance(event, Finished):
            self._finishing[trial_id] = event, time.monotonic()
            self._finish()

    def _id_of(self, number: int) -> str:
        return next(trial_id for trial_id, own in self._numbers.items() if own == number)

    def _write_due(self, events: Sequence[Reported]) -> Written:
        """Write the checkpoints of trials that have reported, in parallel, and return those that are on disk now."""
        assert self._trainer is not None
        started, due = time.perf_counter(), {}
        for event in events:
            trial_id = self._id_of(event.trial)
            objective = event.values[self._assigned[trial_id].spec.objective.metric]
            due[trial_id] = DueCheckpoint(self._trainer.state(event.trial), event.best, objective)
        written = self._writer.write(due)
        seconds = time.perf_counter() - started
        self._timer.count_checkpoints(len(due), seconds)
        if written and (self._logged_at is None or started - self._logged_at > LOG_SECONDS):
            self._logged_at = started
            steps = sorted({found.state.step for own in written.values() for found in own})
            of_steps = ", ".join(map(str, steps[-5:]))
            log.info("checkpoints written; trials: %d, at step %s, in %.2f s", len(written), of_steps, seconds)
        return written

    def _report_written(self, written: Written) -> None:
        """Report checkpoints that are on disk."""
        for trial_id, checkpoints in written.items():
            for found in checkpoints:
                step = self._checkpoint_steps[trial_id] = found.state.step
                self._reports.checkpointed(trial_id, self._folders[trial_id], step, found.best, found.objective)

    def _end(
        self,
        trial_id: str,
        outcome: Outcome,
        cause: Cause | None = None,
        reason: str | None = None,
        step: int | None = None,
    ) -> None:
        """Emit the last report of a trial; ``step`` is by default the trial's current one."""
        self._finishing.pop(trial_id, None)
        at = self._steps[trial_id] if step is None else step
        level, why = logging.WARNING if outcome == "failed" else logging.INFO, f": {reason}" if reason else ""
        log.log(level, "trial %s: %s at step %d%s", trial_id, outcome, at, why, extra={"trial_id": trial_id})
        self._writer.drop(trial_id)
        number = self._numbers.pop(trial_id, None)
        if self._trainer is not None and number is not None:
            self._trainer.forget(number)
        self._reports.ended(trial_id, at, outcome, cause, reason)
        del self._assigned[trial_id], self._folders[trial_id], self._steps[trial_id]
        if self.ended:
            self._timer.ended()


def data_cause(error: DataMissing) -> tuple[Cause, str]:
    """Return what a failure needs that data which cannot be used have caused, and the reason for the user.

    Files that are not there may come back, as when a disk is mounted again; wrong ones have to be changed.
    """
    if store_problem(error) is not None:
        return "storage", str(error)
    return "user" if isinstance(error, DataWrong) else "infrastructure", str(error)

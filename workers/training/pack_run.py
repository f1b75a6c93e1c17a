"""The run of a pack, from its assignment to its last report: resume, train, write checkpoints, end trials. No Ray.

Reports are numbered from 1 and emitted in order. A resumed trial first repeats all reports that its checkpoint records,
because the previous runner may have died before they were polled. Receivers recognise a report by its trial and step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from workers.checkpoint_files import bytes_in
from workers.checkpoints import CheckpointFolder
from workers.errors import CheckpointForeign, DataMissing
from workers.protocol import AssignedTrial, Cause, Checkpointed, Ended, Measured, Outcome, Report
from workers.training.batches import TaskData
from workers.training.trainer import Failed, Finished, Reported, Trainer, TrainerEvent
from workers.training.training_state import TrainingState

log = logging.getLogger(__name__)

OUTCOMES: dict[str, Outcome] = {"prune": "pruned", "pause": "paused", "cancel": "cancelled"}
"""The outcome of a trial that a command ends, by the command's verb."""
WRITERS = 8
"""Checkpoints written at the same time; each of them mostly waits for the disk."""

Written = dict[str, Path | OSError]
"""The folder of each trial's new checkpoint, or why it could not be written."""


class PackRun:
    """Trains the trials of one assignment on one device, writes their checkpoints and reports what happens to them.

    Call ``start`` once, and then ``advance`` until ``ended``.

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
        self._assigned = {trial.trial_id: trial for trial in trials}
        if len(self._assigned) < len(trials):
            raise ValueError("the assignment has a trial twice; give each trial its own trial_id")
        if len({trial.spec.shape_key for trial in trials}) > 1:
            raise ValueError(
                "the trials of a pack must share one shape key; plan packs with workers.runtime.pack_planner"
            )
        if trials[0].spec.training.dtype == "bfloat16" and not device.startswith("cuda"):
            raise ValueError("training.dtype bfloat16 needs a GPU; give resources.gpus above 0, or use float32")
        self._emit, self._data_dir, self._device = emit, data_dir, torch.device(device)
        self._folders = {
            trial_id: CheckpointFolder(Path(trial.checkpoint_dir), trial.spec, keep_every)
            for trial_id, trial in self._assigned.items()
        }
        self._seq = 0
        self._ended: set[str] = set()
        self._checkpoint_steps: dict[str, int] = {}
        self._steps = dict.fromkeys(self._assigned, 0)
        # The trainer numbers its trials from 0; a trial that could not be resumed is not among them.
        self._trained_ids: list[str] = []
        self._trainer: Trainer | None = None

    @property
    def ended(self) -> bool:
        """Whether every trial has ended."""
        return len(self._ended) == len(self._assigned)

    @property
    def live(self) -> list[str]:
        """The ids of the trials that have not ended."""
        return [trial_id for trial_id in self._assigned if trial_id not in self._ended]

    def progress(self) -> dict[str, int]:
        """Return the optimiser steps done, by trial."""
        if self._trainer is not None:
            self._steps |= {trial_id: self._trainer.step_of(i) for i, trial_id in enumerate(self._trained_ids)}
        return dict(self._steps)

    def start(self) -> None:
        """Load the data and every trial's newest checkpoint, and repeat the reports that the checkpoints record.

        A trial whose data or checkpoints cannot be used is ended as failed, with a reason.
        """
        resumed = {trial_id: self._resume(trial_id) for trial_id in self._assigned}
        states = {trial_id: state for trial_id, state in resumed.items() if state is not None}
        if not states:
            return
        spec = next(iter(states.values())).spec
        try:
            data = TaskData(spec.task, self._data_dir, self._device, getattr(torch, spec.training.parameter_dtype))
        except DataMissing as error:
            for trial_id in states:
                self._end(trial_id, "failed", "user", str(error))
            return
        self._trained_ids = list(states)
        self._trainer = Trainer(list(states.values()), data, self._device)
        for trial_id, state in states.items():
            self._repeat_reports(trial_id, state)

    def advance(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train until the next report of any trial is due, write the checkpoints that are due, and emit the reports.

        Args:
            should_stop: Called after every optimiser step. If it returns true, training returns early.
        """
        if self._trainer is None:
            return
        events = self._trainer.advance(should_stop)
        # All checkpoints of this advance are written before the first report, so that they are written in parallel.
        due = [self._trained_ids[event.trial] for event in events if isinstance(event, Reported) and event.save]
        written = self._write_checkpoints(due)
        for event in events:
            self._emit_event(event, written)

    def end(self, verb: str, trial_ids: Sequence[str], reason: str = "") -> None:
        """End trials on request. Those that have ended already or are not in the pack are ignored.

        Args:
            verb: ``prune``, ``cancel`` or ``pause``. A paused trial gets a checkpoint first, and is ended as failed
                instead if that cannot be written.
            trial_ids: The trials to end.
            reason: The reason for the trials' last reports.
        """
        for trial_id in trial_ids:
            if trial_id not in self._assigned or trial_id in self._ended:
                continue
            if self._trainer is not None:
                if verb == "pause":
                    written = self._write_checkpoints([trial_id])
                    if not self._report_checkpoint(trial_id, written, best=False, objective=None):
                        continue
                self._trainer.end(self._trained_ids.index(trial_id))
            self._end(trial_id, OUTCOMES[verb], None, reason or None)

    def _resume(self, trial_id: str) -> TrainingState | None:
        """Return the state of a trial at its newest usable checkpoint, or its initial state if there is none.

        The trial is ended as failed, and None returned, if all whole checkpoints are another trial's or the folder is
        unreadable.
        """
        try:
            return TrainingState.resume(self._folders[trial_id], self._assigned[trial_id].spec)
        except CheckpointForeign as error:
            self._end(trial_id, "failed", "user", str(error))
        except OSError as error:
            self._end(trial_id, "failed", "infrastructure", f"its checkpoints cannot be read: {error}")
        return None

    def _repeat_reports(self, trial_id: str, state: TrainingState) -> None:
        """Emit again what was reported up to a resumed trial's checkpoint.

        That is every report of metrics, the best and the newest checkpoint, and the end of the trial if it is complete.
        """
        for report in state.history:
            self._emit(Measured(seq=self._next_seq(), trial_id=trial_id, step=report.step, values=report.values))
        if state.step:
            best, folder = state.best, self._folders[trial_id]
            if best is not None and best.step != state.step:
                self._emit_checkpoint(trial_id, best.step, folder.path(best.step), True, best.objective)
            # A checkpoint of a paused trial may lie between two reports and then has no objective.
            reported = {report.step: report.values[state.spec.objective.metric] for report in state.history[-1:]}
            is_best = best is not None and best.step == state.step
            self._emit_checkpoint(trial_id, state.step, folder.path(state.step), is_best, reported.get(state.step))
            self._checkpoint_steps[trial_id] = state.step
        if state.done:
            self._end(trial_id, "succeeded", reason=state.early_end)

    def _emit_event(self, event: TrainerEvent, written: Written) -> None:
        """Emit the reports about one event of the trainer; ``written`` has the checkpoints that are due."""
        trial_id = self._trained_ids[event.trial]
        if isinstance(event, Reported):
            self._emit(Measured(seq=self._next_seq(), trial_id=trial_id, step=event.step, values=event.values))
            if event.save:
                objective = event.values[self._assigned[trial_id].spec.objective.metric]
                self._report_checkpoint(trial_id, written, best=event.best, objective=objective)
        elif isinstance(event, Failed):
            self._steps[trial_id] = event.step
            self._end(trial_id, "failed", "user", event.reason, step=event.step)
        elif isinstance(event, Finished) and trial_id not in self._ended:
            self._end(trial_id, "succeeded", reason=event.reason)

    def _write_checkpoints(self, trial_ids: Sequence[str]) -> Written:
        """Write the checkpoints of trials at their current steps, in parallel.

        Trials whose checkpoint at that step has been reported already are left out.
        """
        assert self._trainer is not None
        states = {trial_id: self._trainer.state(self._trained_ids.index(trial_id)) for trial_id in trial_ids}
        due = {
            trial_id: state for trial_id, state in states.items() if self._checkpoint_steps.get(trial_id) != state.step
        }
        if not due:
            return {}
        with ThreadPoolExecutor(min(WRITERS, len(due))) as pool:
            jobs = {trial_id: pool.submit(_save, state, self._folders[trial_id]) for trial_id, state in due.items()}
        return {trial_id: _path_or_error(job) for trial_id, job in jobs.items()}

    def _report_checkpoint(self, trial_id: str, written: Written, *, best: bool, objective: float | None) -> bool:
        """Report the checkpoint at a trial's current step, once.

        Returns:
            False if it could not be written; the trial has then ended as failed.
        """
        assert self._trainer is not None
        trial = self._trained_ids.index(trial_id)
        step = self._trainer.step_of(trial)
        if self._checkpoint_steps.get(trial_id) == step:
            return True
        found = written[trial_id]
        if isinstance(found, OSError):
            self._trainer.end(trial)
            self._end(trial_id, "failed", "infrastructure", f"its checkpoint cannot be written: {found}")
            return False
        self._checkpoint_steps[trial_id] = step
        self._emit_checkpoint(trial_id, step, found, best, objective)
        return True

    def _emit_checkpoint(self, trial_id: str, step: int, path: Path, best: bool, objective: float | None) -> None:
        self._emit(
            Checkpointed(
                seq=self._next_seq(),
                trial_id=trial_id,
                step=step,
                path=str(path),
                best=best,
                objective=objective,
                size=bytes_in(path),
                kept=self._folders[trial_id].steps(),
            )
        )

    def _end(
        self,
        trial_id: str,
        outcome: Outcome,
        cause: Cause | None = None,
        reason: str | None = None,
        step: int | None = None,
    ) -> None:
        """Emit the last report of a trial; ``step`` is by default the trial's current one."""
        self._ended.add(trial_id)
        at = self.progress()[trial_id] if step is None else step
        self._emit(Ended(seq=self._next_seq(), trial_id=trial_id, step=at, outcome=outcome, cause=cause, reason=reason))

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq


def _save(state: TrainingState, folder: CheckpointFolder) -> Path:
    """Write a checkpoint and return its folder. Raises OSError."""
    try:
        return state.save(folder)
    except FileNotFoundError:  # somebody has removed the trial's folder while it was being written
        return state.save(folder)


def _path_or_error(job: Future[Path]) -> Path | OSError:
    try:
        return job.result()
    except OSError as error:
        return error

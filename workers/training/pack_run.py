"""A pack from its assignment to its last report: resumes, trains, checkpoints, ends trials on request; no Ray.

Reports go out through ``emit`` in order, numbered from 1. A resumed trial tells again all that its checkpoint recorded:
receivers know a message by (trial, step), and nothing is lost where the last runner died before it was asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from workers.checkpoints import CheckpointFolder
from workers.errors import CheckpointInvalid, DataMissing
from workers.protocol import AssignedTrial, Cause, Checkpointed, Ended, Measured, Outcome, Report
from workers.training.batches import TaskData
from workers.training.trainer import Failed, Finished, Reported, Trainer, TrainerEvent
from workers.training.training_state import TrainingState

log = logging.getLogger(__name__)

OUTCOMES: dict[str, Outcome] = {"prune": "pruned", "pause": "paused", "cancel": "cancelled"}
WRITERS = 8
"""Checkpoints written at once: each mostly waits for the disk."""

Written = dict[str, Path | OSError]


class PackRun:
    """The trials of ``slots``, which share one shape key, on ``device``."""

    def __init__(
        self,
        slots: Sequence[AssignedTrial],
        emit: Callable[[Report], None],
        *,
        data_dir: Path | None = None,
        device: str = "cpu",
    ) -> None:
        self._slots = {slot.trial_id: slot for slot in slots}
        if len(self._slots) < len(slots):
            raise ValueError("a trial stands twice in the assignment; give each its own trial_id")
        if len({slot.spec.shape_key for slot in slots}) > 1:
            raise ValueError("the trials of a pack must share one shape key; plan packs with runtime.pack_planner")
        if slots[0].spec.training.dtype == "bfloat16" and not device.startswith("cuda"):
            raise ValueError("training.dtype bfloat16 needs a GPU; give resources.gpus above 0, or use float32")
        self._emit, self._data_dir, self._device = emit, data_dir, torch.device(device)
        self._stores = {
            name: CheckpointFolder(Path(slot.checkpoint_dir), slot.spec) for name, slot in self._slots.items()
        }
        self._seq = 0
        self._ended: set[str] = set()
        self._saved: dict[str, int] = {}
        self._steps = dict.fromkeys(self._slots, 0)
        self._names: list[str] = []
        self._trainer: Trainer | None = None

    @property
    def ended(self) -> bool:
        """Every trial is over."""
        return len(self._ended) == len(self._slots)

    @property
    def live(self) -> list[str]:
        return [name for name in self._slots if name not in self._ended]

    def progress(self) -> dict[str, int]:
        """Optimiser steps done per trial."""
        if self._trainer is not None:
            self._steps |= {name: self._trainer.step_of(i) for i, name in enumerate(self._names)}
        return dict(self._steps)

    def start(self) -> None:
        """Load the data and every trial's newest checkpoint; a trial that cannot start ends as failed, saying why."""
        states = {name: state for name in self._slots if (state := self._resumed(name)) is not None}
        if not states:
            return
        spec = next(iter(states.values())).spec
        try:
            data = TaskData(spec.task, self._data_dir, self._device, getattr(torch, spec.training.parameter_dtype))
        except DataMissing as error:
            for name in states:
                self._end(name, "failed", "user", str(error))
            return
        self._names = list(states)
        self._trainer = Trainer(list(states.values()), data, self._device)
        for name, state in states.items():
            self._retell(name, state)

    def advance(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the next report of any trial, or until ``stop``, asked after every step, says so."""
        if self._trainer is None:
            return
        events = self._trainer.advance(stop)
        due = [self._names[event.trial] for event in events if isinstance(event, Reported) and event.save]
        written = self._write(due)
        for event in events:
            self._tell(event, written)

    def end(self, verb: str, trial_ids: Sequence[str], reason: str = "") -> None:
        """prune, pause or cancel: those that still run leave at once. pause writes a checkpoint first."""
        for name in trial_ids:
            if name not in self._slots or name in self._ended:
                continue
            if self._trainer is not None:
                if verb == "pause" and not self._save(name, self._write([name]), best=False, objective=None):
                    continue
                self._trainer.end(self._names.index(name))
            self._end(name, OUTCOMES[verb], None, reason or None)

    def fail(self, cause: Cause, reason: str) -> None:
        """Every trial that still runs ends as failed."""
        for name in self.live:
            self._end(name, "failed", cause, reason)

    def _resumed(self, name: str) -> TrainingState | None:
        try:
            return TrainingState.resume(self._stores[name], self._slots[name].spec)
        except CheckpointInvalid as error:
            self._end(name, "failed", "user", str(error))
        except OSError as error:
            self._end(name, "failed", "infrastructure", f"its checkpoints cannot be read: {error}")
        return None

    def _retell(self, name: str, state: TrainingState) -> None:
        for point in state.history:
            self._send(Measured(seq=self._next(), trial_id=name, step=point.step, values=point.values))
        if state.step:
            best, store = state.best, self._stores[name]
            if best is not None and best.step != state.step:
                self._checkpointed(name, best.step, store.path(best.step), True, best.objective)
            reported = {point.step: point.values[state.spec.objective.metric] for point in state.history[-1:]}
            newest_best = best is not None and best.step == state.step
            self._checkpointed(name, state.step, store.path(state.step), newest_best, reported.get(state.step))
            self._saved[name] = state.step
        if state.done:
            self._end(name, "succeeded", reason=state.early_end)

    def _tell(self, event: TrainerEvent, written: Written) -> None:
        name = self._names[event.trial]
        if isinstance(event, Reported):
            self._send(Measured(seq=self._next(), trial_id=name, step=event.step, values=event.values))
            if event.save:
                objective = event.values[self._slots[name].spec.objective.metric]
                self._save(name, written, best=event.best, objective=objective)
        elif isinstance(event, Failed):
            self._steps[name] = event.step
            self._end(name, "failed", "user", event.reason, step=event.step)
        elif isinstance(event, Finished) and name not in self._ended:
            self._end(name, "succeeded", reason=event.reason)

    def _write(self, names: Sequence[str]) -> Written:
        """Checkpoints of trials at their steps, written side by side: where each stands, or why it does not."""
        assert self._trainer is not None
        states = {name: self._trainer.state(self._names.index(name)) for name in names}
        fresh = {name: state for name, state in states.items() if self._saved.get(name) != state.step}
        if not fresh:
            return {}
        with ThreadPoolExecutor(min(WRITERS, len(fresh))) as pool:
            jobs = {name: pool.submit(state.save, self._stores[name]) for name, state in fresh.items()}
        return {name: _path_or_error(job) for name, job in jobs.items()}

    def _save(self, name: str, written: Written, *, best: bool, objective: float | None) -> bool:
        """Tell of the checkpoint at the trial's step; the trial ends as failed where none could be written."""
        assert self._trainer is not None
        trial = self._names.index(name)
        step = self._trainer.step_of(trial)
        if self._saved.get(name) == step:
            return True
        found = written[name]
        if isinstance(found, OSError):
            self._trainer.end(trial)
            self._end(name, "failed", "infrastructure", f"its checkpoint cannot be written: {found}")
            return False
        self._saved[name] = step
        self._checkpointed(name, step, found, best, objective)
        return True

    def _checkpointed(self, name: str, step: int, path: Path, best: bool, objective: float | None) -> None:
        self._send(
            Checkpointed(seq=self._next(), trial_id=name, step=step, path=str(path), best=best, objective=objective)
        )

    def _end(
        self,
        name: str,
        outcome: Outcome,
        cause: Cause | None = None,
        reason: str | None = None,
        step: int | None = None,
    ) -> None:
        self._ended.add(name)
        at = self.progress()[name] if step is None else step
        self._send(Ended(seq=self._next(), trial_id=name, step=at, outcome=outcome, cause=cause, reason=reason))

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _send(self, report: Report) -> None:
        self._emit(report)


def _path_or_error(job: Future[Path]) -> Path | OSError:
    try:
        return job.result()
    except OSError as error:
        return error

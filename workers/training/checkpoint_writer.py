"""Writing the checkpoints of a pack's trials: in parallel, and again later if the store does not take them now.

A checkpoint that cannot be written is kept in memory, and training goes on. It is tried again after pauses that grow,
and together with the trial's next one. Of each trial at most two are kept: the newest, and the newest best one, which
the trial's objective stands for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from workers.checkpoints import CheckpointFolder
from workers.errors import store_problem
from workers.training.training_state import TrainingState

log = logging.getLogger(__name__)

WRITERS = 8
"""Checkpoints written at the same time; each of them mostly waits for the disk."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""The seconds between two tries of a store that fails; the pause doubles."""


@dataclass(frozen=True)
class DueCheckpoint:
    """A checkpoint that is to be written.

    Attributes:
        state: The state of the trial.
        best: Whether its objective is the best one so far.
        objective: The objective at this step; None if it was not measured.
    """

    state: TrainingState
    best: bool
    objective: float | None


@dataclass
class _Outcome:
    """What became of a trial's checkpoints: those on disk, those that are left to be written, and why."""

    written: list[DueCheckpoint] = field(default_factory=list)
    left: list[DueCheckpoint] = field(default_factory=list)
    error: OSError | None = None


class CheckpointWriter:
    """Writes checkpoints, keeps those that could not be written, and tries them again.

    Args:
        folders: The folder of each trial's checkpoints, by the trial's id.

    Attributes:
        problem: Why a checkpoint that is kept could not be written, for a person to read; None if none is kept.
    """

    def __init__(self, folders: Mapping[str, CheckpointFolder]) -> None:
        self._folders = folders
        self._kept: dict[str, list[DueCheckpoint]] = {}
        self._failures = 0
        self._retry_at = 0.0
        self.problem: str | None = None

    def keeps(self, trial_id: str) -> bool:
        """Return whether a checkpoint of the trial is still to be written."""
        return trial_id in self._kept

    @property
    def pause_left(self) -> float:
        """The seconds until ``retry`` tries again; 0 if it would do so now, or if nothing is kept."""
        return max(0.0, self._retry_at - time.monotonic()) if self._kept else 0.0

    def write(self, due: Mapping[str, DueCheckpoint]) -> dict[str, list[DueCheckpoint]]:
        """Write checkpoints of trials at their present steps, each after those of the same trial that are kept.

        What cannot be written is copied, and kept.

        Args:
            due: The new checkpoint of each trial, by the trial's id.

        Returns:
            The checkpoints that are on disk now, by the trial's id, in the order of their steps.
        """
        queues = {trial_id: [*self._kept.get(trial_id, []), new] for trial_id, new in due.items()}
        return self._write_all({trial_id: _worth_keeping(queue) for trial_id, queue in queues.items()})

    def retry(self, trial_id: str | None = None) -> dict[str, list[DueCheckpoint]]:
        """Try what is kept again, if the pause since the last failure is over.

        Args:
            trial_id: Try that of this trial alone, and at once.

        Returns:
            As of ``write``.
        """
        if trial_id is not None:
            return self._write_all({name: kept for name, kept in self._kept.items() if name == trial_id})
        return {} if self.pause_left else self._write_all(dict(self._kept))

    def drop(self, trial_id: str) -> None:
        """Forget the checkpoints of a trial that are kept."""
        self._kept.pop(trial_id, None)
        if not self._kept:
            self.problem, self._failures = None, 0

    def _write_all(self, queues: dict[str, list[DueCheckpoint]]) -> dict[str, list[DueCheckpoint]]:
        if not queues:
            return {}
        with ThreadPoolExecutor(min(WRITERS, len(queues))) as pool:
            found = dict(zip(queues, pool.map(self._write_trial, queues, queues.values()), strict=True))
        failed = {trial_id: outcome for trial_id, outcome in found.items() if outcome.error is not None}
        for trial_id in found.keys() - failed.keys():
            self.drop(trial_id)
        for trial_id, outcome in failed.items():
            self._kept[trial_id] = [_copied(due) for due in outcome.left]
        if failed:
            self._note_failure(*next(iter(failed.items())))
        return {trial_id: outcome.written for trial_id, outcome in found.items() if outcome.written}

    def _write_trial(self, trial_id: str, queue: list[DueCheckpoint]) -> _Outcome:
        outcome = _Outcome()
        for position, due in enumerate(queue):
            try:
                _save(due.state, self._folders[trial_id])
                outcome.written.append(due)
            except OSError as error:
                outcome.left, outcome.error = queue[position:], error
                break
        return outcome

    def _note_failure(self, trial_id: str, outcome: _Outcome) -> None:
        assert outcome.error is not None
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures, 30), LONGEST_PAUSE)
        if self._failures == 0:
            log.warning(
                "trial %s: a checkpoint cannot be written, and is tried again: %s",
                *(trial_id, outcome.error),
                extra={"trial_id": trial_id},
            )
        self._failures += 1
        self._retry_at = time.monotonic() + pause
        self.problem = store_problem(outcome.error) or str(outcome.error.strerror or outcome.error)


def _worth_keeping(queue: list[DueCheckpoint]) -> list[DueCheckpoint]:
    """Return the newest checkpoint of a trial and the newest best one, in the order of their steps."""
    best = [due for due in queue if due.best][-1:]
    return [due for due in queue if due is queue[-1] or due in best]


def _copied(due: DueCheckpoint) -> DueCheckpoint:
    return DueCheckpoint(due.state.copy(), due.best, due.objective)


def _save(state: TrainingState, folder: CheckpointFolder) -> None:
    """Write a checkpoint. Raises OSError."""
    try:
        state.save(folder)
    except FileNotFoundError:  # somebody has removed the trial's folder while it was being written
        state.save(folder)

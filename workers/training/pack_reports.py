"""The reports of a pack: numbered from 1, and emitted in the order of their numbers."""

from __future__ import annotations

from collections.abc import Callable

from workers.checkpoint_files import bytes_in
from workers.checkpoints import CheckpointFolder
from workers.protocol import Cause, Checkpointed, Ended, Measured, Outcome, Report


class PackReports:
    """Makes the reports about the trials of a pack.

    Args:
        emit: Called with every report.
    """

    def __init__(self, emit: Callable[[Report], None]) -> None:
        self._emit, self._seq = emit, 0

    def measured(self, trial_id: str, step: int, values: dict[str, float]) -> None:
        """Report the metrics of a trial at a step."""
        self._emit(Measured(seq=self._next_seq(), trial_id=trial_id, step=step, values=values))

    def checkpointed(
        self, trial_id: str, folder: CheckpointFolder, step: int, best: bool, objective: float | None
    ) -> None:
        """Report a checkpoint that is on disk, with its size and the steps of all that are there beside it."""
        path = folder.path(step)
        self._emit(
            Checkpointed(
                seq=self._next_seq(),
                trial_id=trial_id,
                step=step,
                path=str(path),
                best=best,
                objective=objective,
                size=bytes_in(path),
                kept=_steps_in(folder),
            )
        )

    def ended(self, trial_id: str, step: int, outcome: Outcome, cause: Cause | None, reason: str | None) -> None:
        """Report how a trial has ended."""
        self._emit(
            Ended(seq=self._next_seq(), trial_id=trial_id, step=step, outcome=outcome, cause=cause, reason=reason)
        )

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq


def _steps_in(folder: CheckpointFolder) -> list[int] | None:
    """Return the steps of a trial's checkpoints on disk; None if its folder cannot be listed at this moment."""
    try:
        return folder.steps()
    except OSError:
        return None

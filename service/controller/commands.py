"""Which running trials are to be pruned, paused or cancelled, and which of these instructions are due to be sent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from service.store.tables import Pack, Sweep, Trial

RunnerVerb = Literal["prune", "pause", "cancel"]

RESEND_SECONDS = 5.0
"""An instruction for a trial that has not ended is sent again after this many seconds."""
STOPPED = "stopped by the user"
"""The reason of a trial that a user has pruned, and no rule."""
GRACE_SECONDS = 20.0
"""The process of a runner that has not obeyed a cancel after this many seconds is ended."""


@dataclass(frozen=True)
class Instruction:
    """What a runner has to do with a trial (``prune``, ``pause`` or ``cancel`` it), and why, for a person to read."""

    verb: RunnerVerb
    reason: str


def instruction(
    sweep: Sweep, trial: Trial, to_prune: Mapping[int, str], preempted: str | None = None
) -> Instruction | None:
    """Return whether a running trial is to be cancelled, pruned or paused now; None if it goes on.

    If several apply, the first of these is returned: a cancel of the sweep or the trial, a stop of the trial, a pause
    of the sweep, the pruning rule, the preemption of its pack. A trial that a user stops is pruned, because it keeps
    the result that it has.

    Args:
        sweep: The trial's sweep.
        trial: The running trial.
        to_prune: Why the pruning rule ends a trial, by the trial's number; it lacks the trials that the rule keeps.
        preempted: Why its pack is preempted; None if it is not.
    """
    if sweep.state == "cancelling" or trial.wanted == "cancel":
        return Instruction("cancel", "cancelled by the user")
    if trial.wanted == "stop":
        return Instruction("prune", STOPPED)
    if sweep.state == "paused":
        return Instruction("pause", "its sweep is paused")
    if trial.number in to_prune:
        return Instruction("prune", to_prune[trial.number])
    if preempted is not None:
        return Instruction("pause", preempted)
    return None


@dataclass(frozen=True)
class _Sent:
    """The verb last sent for a trial, with the monotonic times at which it was first and last sent."""

    verb: RunnerVerb
    first: float
    last: float


class CommandLog:
    """Keeps what was sent for each trial and when, so that an instruction is repeated, but not in every tick."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, str], _Sent] = {}

    def take_due(self, pack: Pack, instructions: Mapping[str, Instruction]) -> dict[Instruction, list[str]]:
        """Return the instructions that must be sent now, each with the ids of its trials, and note them as sent.

        An instruction is due if its verb is not the one that was last sent for the trial, or if that was sent at least
        ``RESEND_SECONDS`` ago.

        Args:
            pack: The pack that the trials belong to.
            instructions: The instruction for each trial, by the trial's id.
        """
        now = time.monotonic()
        due: dict[Instruction, list[str]] = {}
        for trial_id, wanted in instructions.items():
            sent = self._sent.get((pack.id, trial_id))
            repeated = sent is not None and sent.verb == wanted.verb
            if sent is not None and repeated and now - sent.last < RESEND_SECONDS:
                continue
            due.setdefault(wanted, []).append(trial_id)
            first = sent.first if sent is not None and repeated else now
            self._sent[pack.id, trial_id] = _Sent(wanted.verb, first, now)
        return due

    def cancel_overdue(self, pack: Pack, open_trials: Iterable[str]) -> bool:
        """Return whether all of these trials were first told to cancel more than ``GRACE_SECONDS`` ago.

        Args:
            pack: The pack that the trials belong to.
            open_trials: The ids of the trials of the pack that have not ended; the answer is False if there are none.
        """
        now = time.monotonic()
        sent = [self._sent.get((pack.id, trial_id)) for trial_id in open_trials]
        return bool(sent) and all(
            found is not None and found.verb == "cancel" and now - found.first > GRACE_SECONDS for found in sent
        )

    def forget(self, pack_id: str) -> None:
        """Drop all notes about the trials of a pack that has ended."""
        self._sent = {key: sent for key, sent in self._sent.items() if key[0] != pack_id}

"""Instructions to the runners: pause, cancel or prune trials."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from service.store.tables import Pack, Sweep, Trial

RunnerVerb = Literal["prune", "pause", "cancel"]

RESEND_SECONDS = 5.0
"""An instruction that has no effect yet is sent again after this time."""
GRACE_SECONDS = 20.0
"""A runner that has not obeyed a cancel after this time is ended with its process."""


@dataclass(frozen=True)
class Instruction:
    """What a runner has to do with a trial, and why."""

    verb: RunnerVerb
    reason: str


def instruction(sweep: Sweep, trial: Trial, to_prune: Mapping[str, str]) -> Instruction | None:
    """Return what the runner has to do with a running trial now; None if the trial goes on.

    A trial that a user stops is pruned, because it keeps the result that it has.

    Args:
        sweep: The trial's sweep.
        trial: The running trial.
        to_prune: The reasons of the pruning rule, by the trial's id.
    """
    if sweep.state == "cancelling" or trial.wanted == "cancel":
        return Instruction("cancel", "cancelled by the user")
    if trial.wanted == "stop":
        return Instruction("prune", "stopped by the user")
    if sweep.state == "paused":
        return Instruction("pause", "its sweep is paused")
    if trial.id in to_prune:
        return Instruction("prune", to_prune[trial.id])
    return None


@dataclass(frozen=True)
class _Sent:
    """An instruction that was sent, with the monotonic times of its first and last sending."""

    verb: RunnerVerb
    first: float
    last: float


class CommandLog:
    """What was sent to each runner and when, so that an instruction is repeated, but not in every tick."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, str], _Sent] = {}

    def take_due(self, pack: Pack, instructions: Mapping[str, Instruction]) -> dict[Instruction, list[str]]:
        """Return the instructions that must be sent now, each with its trials, and log them as sent.

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
        """Return whether the runner was told to cancel all open trials of a pack and has had time to obey."""
        now = time.monotonic()
        sent = [self._sent.get((pack.id, trial_id)) for trial_id in open_trials]
        return bool(sent) and all(
            found is not None and found.verb == "cancel" and now - found.first > GRACE_SECONDS for found in sent
        )

    def forget(self, pack_id: str) -> None:
        """Drop the log of a pack that has ended."""
        self._sent = {key: sent for key, sent in self._sent.items() if key[0] != pack_id}

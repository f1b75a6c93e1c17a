"""What runners are to be told: pause, cancel, prune; by the sweep's state, the users' verbs and the pruning rules."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from service.store.tables import Pack, Sweep, Trial

RunnerVerb = Literal["prune", "pause", "cancel"]

RESEND_SECONDS = 5.0
GRACE_SECONDS = 20.0
"""A runner that has not carried out a cancel by then is ended with its process."""


@dataclass(frozen=True)
class Instruction:
    verb: RunnerVerb
    reason: str


def order(sweep: Sweep, trial: Trial, prune: Mapping[str, str]) -> Instruction | None:
    """What a running trial's runner is to do with it now; None: go on. Stopping a trial keeps the result it has."""
    if sweep.state == "cancelling" or trial.wanted == "cancel":
        return Instruction("cancel", "cancelled by the user")
    if trial.wanted == "stop":
        return Instruction("prune", "stopped by the user")
    if sweep.state == "paused":
        return Instruction("pause", "its sweep is paused")
    if trial.id in prune:
        return Instruction("prune", prune[trial.id])
    return None


class Ledger:
    """What each runner was told and when: an order is sent again until it shows, not with every tick."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[RunnerVerb, float, float]] = {}

    def due(self, pack: Pack, orders: Mapping[str, Instruction]) -> dict[Instruction, list[str]]:
        """The orders to send to a pack now, each with its trials."""
        now = time.monotonic()
        found: dict[Instruction, list[str]] = {}
        for trial_id, wanted in orders.items():
            verb, first, last = self._told.get((pack.id, trial_id), (None, now, 0.0))
            if verb != wanted.verb:
                first, last = now, 0.0
            if verb != wanted.verb or now - last >= RESEND_SECONDS:
                found.setdefault(wanted, []).append(trial_id)
                self._told[pack.id, trial_id] = (wanted.verb, first, now)
        return found

    def overdue(self, pack: Pack, open_trials: Iterable[str]) -> bool:
        """Whether all that still runs in a pack should have been cancelled by now."""
        now = time.monotonic()
        told = [self._told.get((pack.id, trial_id)) for trial_id in open_trials]
        return bool(told) and all(t is not None and t[0] == "cancel" and now - t[1] > GRACE_SECONDS for t in told)

    def forget(self, pack_id: str) -> None:
        self._told = {key: value for key, value in self._told.items() if key[0] != pack_id}

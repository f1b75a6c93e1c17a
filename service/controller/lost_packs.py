"""Lost packs: the runner is gone, its unfinished trials go back to wait, or end where their patience is used up.

Nobody can say which trial of a pack took the process down, so a loss in company is charged to none of them: the next
packs are half as large (``planning``), until the one that does it stands alone. Only a loss alone counts against a
trial's budget, and a loss of all of Ray counts against nobody's.
"""

from __future__ import annotations

import logging

from sqlalchemy.orm import Session

from service.states import TRIAL_ENDED
from service.store import attempts, packs, sweeps, trials
from service.store.tables import Attempt, Pack, Sweep, Trial
from workers.spec.sweep import RetriesSpec

log = logging.getLogger(__name__)


def lose(session: Session, pack: Pack, loss: attempts.FailureDomain, reason: str, retries: RetriesSpec) -> None:
    """End a pack whose runner is known to be gone, and settle each trial that had not ended."""
    sweeps.lock(session, pack.sweep_id)
    open_attempts = attempts.open_of_pack(session, pack.id)
    packs.end(pack, reason)
    if open_attempts:
        log.warning("pack %s is lost with %d unfinished trials: %s", pack.id, len(open_attempts), reason)
    sweep = session.get_one(Sweep, pack.sweep_id)
    for trial_id, attempt in open_attempts.items():
        trial = session.get_one(Trial, trial_id)
        attempts.end(attempt, attempts.LOST, loss, reason)
        if trial.state not in TRIAL_ENDED:
            _settle(session, sweep, trial, attempt, loss == "process" and len(pack.trial_ids) == 1, retries)


def _settle(
    session: Session, sweep: Sweep, trial: Trial, attempt: Attempt, charged: bool, retries: RetriesSpec
) -> None:
    if sweep.state == "cancelling" or trial.wanted == "cancel":
        trials.move(session, trial, "cancelled", "cancelled by the user")
        return
    trial.infrastructure_failures += charged
    if trial.infrastructure_failures > retries.infrastructure:
        reason = (
            f"its process was lost {trial.infrastructure_failures} times, {retries.infrastructure} retries are allowed "
            f"(retries.infrastructure); the last time: {attempt.reason}"
        )
        trials.move(session, trial, "failed", reason)
    else:
        trials.move(session, trial, "waiting", attempt.reason)

"""Lost packs: the runner is gone, so each of its unfinished trials waits for another pack, is cancelled, or fails.

Nobody can say which trial of a pack has ended its process. If several trials were lost together, none of them is
therefore charged. They are packed again in packs of half the size (``placement.retry_packs``), until the trial at fault
is alone in its pack. Only a trial whose pack held no other uses one of its retries. If the whole cluster was lost, or
if somebody had Ray end the runner, no trial is charged.
"""

from __future__ import annotations

import logging
import re

from sqlalchemy.orm import Session

from service.states import TRIAL_ENDED
from service.store import attempts, packs, sweeps, trials
from service.store.attempts import FailureDomain
from service.store.tables import Attempt, Pack, Sweep, Trial
from workers.spec.sweep import RetriesSpec

log = logging.getLogger(__name__)

REASON_LENGTH = 300
"""The largest number of characters that are kept of the reason for which a pack was lost."""


EXITS = {
    "low on memory": "its process was ended because its machine was running out of memory",
    "connection error code": "its process was killed or crashed, for example because memory ran out",
    "end of file": "its process was killed or crashed, for example because memory ran out",
}
"""What Ray writes about the end of a worker, in lower case, and what it means."""


def mark_lost(session: Session, pack: Pack, domain: FailureDomain, reason: str, retries: RetriesSpec) -> None:
    """End a pack whose runner is gone, and decide about each of its unfinished trials.

    A trial that is being cancelled becomes cancelled. A trial that has used up its retries fails. Any other waits for
    another pack.

    Args:
        session: A session in a write transaction.
        pack: The lost pack.
        domain: What was lost: the runner's process alone, or the whole cluster, as which a runner that was ended from
            outside counts too.
        reason: The error message, which may have many lines.
        retries: A trial fails if its infrastructure failures, of which being lost alone is one, exceed
            ``retries.infrastructure``.
    """
    sweeps.lock(session, pack.sweep_id)
    reason = one_line(reason)
    open_attempts = attempts.open_of_pack(session, pack.id)
    packs.end(pack, reason)
    if open_attempts:
        log.warning("Pack %s is lost with %d unfinished trials: %s", pack.id, len(open_attempts), reason)
    sweep = sweeps.get(session, pack.sweep_id)
    charged = domain == "process" and len(pack.trial_ids) == 1
    for trial_id, attempt in open_attempts.items():
        trial = trials.get(session, trial_id)
        attempts.end(attempt, attempts.LOST, domain, reason)
        if trial.state not in TRIAL_ENDED:
            _move_on(session, sweep, trial, attempt, charged, retries)


def one_line(message: str) -> str:
    """Return an error message in one line of at most ``REASON_LENGTH`` characters.

    Of a message in which Ray gives a "Worker exit detail", only this detail is kept, in words if it is a known one.
    """
    line = " ".join(message.split())
    found = re.search(r"Worker exit detail: (.*?)(\. Some common causes|$)", line)
    if found is None:
        return line[:REASON_LENGTH]
    for detail, words in EXITS.items():
        if detail in found[1].lower():
            return words
    return f"its process ended: {found[1]}"[:REASON_LENGTH]


def _move_on(
    session: Session, sweep: Sweep, trial: Trial, attempt: Attempt, charged: bool, retries: RetriesSpec
) -> None:
    if sweep.state == "cancelling" or trial.wanted == "cancel":
        trials.move(session, trial, "cancelled", "cancelled by the user")
        return
    trial.infrastructure_failures += charged
    if trial.infrastructure_failures > retries.infrastructure:
        reason = (
            f"its process, machine or disk failed {trial.infrastructure_failures} times, and retries.infrastructure "
            f"allows {retries.infrastructure}; the last time its process was lost: {attempt.reason}"
        )
        trials.move(session, trial, "failed", reason)
    else:
        trials.move(session, trial, "waiting", attempt.reason)

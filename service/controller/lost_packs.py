"""Lost packs: the runner is gone, so each of its unfinished trials waits for another pack, is cancelled, or fails.

Nobody can say which trial of a pack has ended its process. If several trials were lost together, none of them is
therefore charged. The same pack is tried once more, because most losses are chance; after that the trials are packed
in packs of half the size (``placement.retry_packs``), until the trial at fault is alone in its pack. Only a trial whose
pack held no other uses one of its retries. If somebody had Ray end the runner, or its node was lost, that counts as a
preemption, which has a budget of its own. If the whole cluster was lost, no trial is charged.
"""

from __future__ import annotations

import logging
import re

from sqlalchemy.orm import Session

from service.states import TRIAL_ENDED
from service.store import attempts, packs, sweeps, trials
from service.store.attempts import FailureDomain
from service.store.tables import Attempt, Pack, Sweep, Trial
from workers.runtime.failure_log import shortened
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


def mark_lost(
    session: Session, pack: Pack, domain: FailureDomain, reason: str, retries: RetriesSpec, last_words: str = ""
) -> None:
    """End a pack whose runner is gone, and decide about each of its unfinished trials.

    A trial that is being cancelled becomes cancelled. A trial that has used up its retries fails. Any other waits for
    another pack.

    Args:
        session: A session in a write transaction.
        pack: The lost pack.
        domain: What was lost, and with that, what is counted.
        reason: The error message, which may have many lines.
        retries: A trial fails if its infrastructure failures, of which being lost alone is one, exceed
            ``retries.infrastructure``, or its preemptions ``retries.preemption``.
        last_words: The last lines that the runner's process wrote to its standard error, if they are known. They are
            stored with the attempts, after the error message.
    """
    sweeps.lock(session, pack.sweep_id)
    kept, reason = shortened(f"{reason}\n{last_words}"), one_line(reason)
    open_attempts = attempts.open_of_pack(session, pack.id)
    packs.end(pack, reason)
    if open_attempts:
        log.warning("Pack %s is lost with %d unfinished trials: %s", pack.id, len(open_attempts), reason)
    sweep = sweeps.get(session, pack.sweep_id)
    alone = attempts.count_of_pack(session, pack.id) == 1
    for trial_id, attempt in open_attempts.items():
        trial = trials.get(session, trial_id)
        attempts.end(attempt, attempts.LOST, domain, reason, kept)
        if trial.state not in TRIAL_ENDED:
            trial.infrastructure_failures += domain in ("process", "memory") and alone
            trial.preemptions += domain == "preemption"
            _move_on(session, sweep, trial, attempt, retries)


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


def _move_on(session: Session, sweep: Sweep, trial: Trial, attempt: Attempt, retries: RetriesSpec) -> None:
    if sweep.state == "cancelling" or trial.wanted == "cancel":
        trials.move(session, trial, "cancelled", "cancelled by the user")
        return
    reason = _used_up(trial, retries)
    if reason is None:
        trials.move(session, trial, "waiting", attempt.reason)
        return
    session.flush()
    reason = attempts.with_first_cause(session, trial.id, f"{reason}: {attempt.reason}")
    trials.move(session, trial, "failed", reason)


def _used_up(trial: Trial, retries: RetriesSpec) -> str | None:
    """Return in words which budget of retries a lost trial has used up; None if it may be tried again."""
    if trial.infrastructure_failures > retries.infrastructure:
        return (
            f"its process, machine or disk failed {trial.infrastructure_failures} times, and retries.infrastructure "
            f"allows {retries.infrastructure}; the last time its process was lost"
        )
    if trial.preemptions > retries.preemption:
        return (
            f"it was ended from outside {trial.preemptions} times, and retries.preemption allows {retries.preemption}; "
            "the last time"
        )
    return None

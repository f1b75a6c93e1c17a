"""The state that the polling, advancing and launching steps share during one leadership term."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from service.controller import lost_packs
from service.controller.checkpoint_store import CheckpointStore
from service.controller.cluster import Cluster
from service.controller.commands import CommandLog
from service.controller.recently_used import RecentlyUsed
from service.controller.runners import Runners
from service.settings import ControllerSettings
from service.store import packs, sweeps
from service.store.attempts import FailureDomain
from service.store.database import Database
from service.store.tables import Pack, Trial
from workers.spec.expand import TrialPlan, plan_trial
from workers.spec.field_errors import field_errors
from workers.spec.sweep import SweepSpec

SPECS = 256
"""The number of parsed sweep documents that are kept."""
PLANS = 4_000
"""The number of validated trials that are kept: a few times as many as one round of launching considers of a sweep."""


class InvalidDocument(ValueError):
    """The stored document of a sweep is not valid in this version.

    A ValidationError of pydantic does not say so: it may as well come from a runner's answer or from our own mistake.
    """


def _parsed(document: dict[str, Any]) -> SweepSpec:
    try:
        return SweepSpec.model_validate(document)
    except ValidationError as error:
        problem = field_errors(error)[0]
        raise InvalidDocument(f"its stored document is not valid in this version: {problem}") from error


class ReconcileContext:
    """Gives the steps of a tick the database, the cluster and the facts that one step leaves for another.

    Nothing here must survive the process: the next controller finds all of it again in the database and in Ray.

    Attributes:
        cluster: The connection to Ray, which may be down.
        settings: The controller's settings.
        term: The leadership term that all writes belong to.
        runners: The runners of the open packs.
        command_log: The instructions that were sent for each trial, and when.
        new_metrics: The ids of the open sweeps that have metrics which no pruning rule has seen yet.
        checkpoint_store: Whether checkpoints can be written, as the runners tell it.
        ended: Whether in this tick a runner has finished its pack, or a sweep has ended. A lost pack does not count.
    """

    def __init__(self, database: Database, cluster: Cluster, settings: ControllerSettings, term: int) -> None:
        self.cluster, self.settings, self.term = cluster, settings, term
        self.runners = Runners(cluster, term)
        self.command_log = CommandLog()
        self.checkpoint_store = CheckpointStore()
        self.new_metrics: set[str] = set()
        self.ended = False
        self._database = database
        self._specs: RecentlyUsed[tuple[str, int], SweepSpec] = RecentlyUsed(SPECS)
        self._plans: RecentlyUsed[str, TrialPlan] = RecentlyUsed(PLANS)

    def read(self) -> AbstractContextManager[Session]:
        """Open a session for reading; its changes are not committed."""
        return self._database.read()

    def write(self) -> AbstractContextManager[Session]:
        """Open a write transaction of this term. It raises LeadLost if another controller leads by now."""
        return self._database.write(self.term)

    def spec(self, session: Session, sweep_id: str) -> SweepSpec:
        """Return a sweep's document. It is parsed unless it is among those that were asked for last.

        A user may have extended it since: it is then known by another number of trials.

        Raises:
            NotFound: If there is no such sweep.
            InvalidDocument: If the document is not valid in this version.
        """
        key = (sweep_id, sweeps.trial_count(session, sweep_id))
        return self._specs.get(key, lambda: _parsed(sweeps.get(session, sweep_id).spec))

    def plan(self, session: Session, trial: Trial) -> TrialPlan:
        """Return a trial's specification, or why it cannot be trained. It is made unless it was asked for lately.

        Extending the sweep does not change it.

        Raises:
            NotFound: If there is no such sweep.
            InvalidDocument: If the sweep's document is not valid in this version.
        """

        def made() -> TrialPlan:
            return plan_trial(self.spec(session, trial.sweep_id), trial.number, trial.params)

        return self._plans.get(trial.id, made)

    def forget(self, sweep_id: str) -> None:
        """Drop what is kept of a sweep that has ended."""
        self.new_metrics.discard(sweep_id)

    def mark_lost(self, pack: Pack, domain: FailureDomain, reason: str, last_words: str = "") -> None:
        """End a pack whose runner is gone, in a separate transaction, and move its unfinished trials on.

        Args:
            pack: The lost pack.
            domain: What was lost.
            reason: The error message, which may have many lines.
            last_words: The last lines that the runner's process wrote to its standard error, if they are known.

        Raises:
            LeadLost: If another controller leads by now.
        """
        with self.write() as session:
            spec = self.spec(session, pack.sweep_id)
            lost_packs.mark_lost(session, packs.get(session, pack.id), domain, reason, spec.retries, last_words)
        self.command_log.forget(pack.id)
        self.checkpoint_store.forget(pack.id)

"""The polling step of a tick: ask all runners for reports (``runners``), and store what they answer (``ingest``)."""

from __future__ import annotations

import logging
import time
from functools import partial

from sqlalchemy.orm import Session

from service.controller import ingest
from service.controller.cluster import Death
from service.controller.context import ReconcileContext
from service.controller.cost_records import measured_costs
from service.controller.etas import EtaKeeper
from service.controller.guard import SweepGuard
from service.controller.runner_requests import PollResult
from service.controller.runners import find_runner_name
from service.store import attempts, cost_samples, packs, trials
from service.store.tables import Pack
from workers.protocol import Poll
from workers.spec.expand import objective

log = logging.getLogger(__name__)

SEEN_SECONDS = 5.0
"""The seconds after which a pack's ``seen_at`` is written again while its runner has nothing new to report."""


class RunnerPoller:
    """Polls the runners, stores their reports, and marks packs as lost whose runner is gone."""

    def __init__(self, context: ReconcileContext, guard: SweepGuard, etas: EtaKeeper) -> None:
        self._context, self._guard, self._etas = context, guard, etas
        self._stored_at: dict[str, float] = {}

    def poll(self, wait: float) -> None:
        """Poll the runner of every started pack, and handle the answers that come within ``wait`` seconds.

        A later answer is handled by the next call.
        """
        runners = self._context.runners
        with self._context.read() as session:
            started = [pack for pack in packs.open_packs(session) if pack.state == "started"]
            named = [(pack, find_runner_name(session, pack)) for pack in started]
        by_id = {pack.id: (pack, name) for pack, name in named}
        self._stored_at = {pack_id: at for pack_id, at in self._stored_at.items() if pack_id in by_id}
        for result in runners.poll(named, wait):
            pack, name = by_id.get(result.pack_id, (None, ""))
            if pack is None:
                runners.forget(result.pack_id)
                continue
            self._guard.run(pack.sweep_id, f"poll {pack.id}", partial(self._handle, result, pack, name))

    def _handle(self, result: PollResult, pack: Pack, name: str) -> None:
        if result.poll is None:
            self._handle_problem(result, pack, name)
            return
        self._context.checkpoint_store.note(pack.id, result.poll)
        self._etas.note(pack, result.poll)
        if self._is_worth_storing(result.poll, pack):
            self._store(result.poll, pack, name)

    def _store(self, poll: Poll, pack: Pack, name: str) -> None:
        context = self._context
        with context.write() as session:
            spec, row = context.spec(session, pack.sweep_id), packs.get(session, pack.id)
            if row.state == "ended":  # since it was read, because its sweep was failed
                return
            if ingest.ingest(session, row, poll, objective(spec), spec.retries):
                context.new_metrics.add(pack.sweep_id)
            ended = poll.state == "ended" and not attempts.open_of_pack(session, pack.id)
            if ended:
                packs.end(row)
                self._keep_costs(session, row, poll)
        self._stored_at[pack.id] = time.monotonic()
        if ended:
            # the runner would leave by itself, but the next pack needs its CPUs now
            context.ended = True
            context.runners.end(pack.id, name)
            context.command_log.forget(pack.id)
            self._etas.forget(pack.id)

    def _keep_costs(self, session: Session, pack: Pack, poll: Poll) -> None:
        """Store what a pack that has ended has cost, for the estimates of others."""
        found = trials.some(session, pack.trial_ids)
        specs = [plan.spec for trial in found if (plan := self._context.plan(session, trial)).spec is not None]
        if poll.times is not None and specs:
            cost_samples.add(session, measured_costs(pack, poll.times, specs))

    def _handle_problem(self, result: PollResult, pack: Pack, name: str) -> None:
        if result.problem == "silent":
            log.warning("The runner of pack %s does not answer at the moment: %s", pack.id, result.message)
            return
        death = self._death(result, pack, name)
        self._context.runners.end(pack.id, name)
        self._etas.forget(pack.id)
        self._context.mark_lost(pack, death.domain, death.words or result.message, death.last_words)

    def _death(self, result: PollResult, pack: Pack, name: str) -> Death:
        """Return what was lost with a runner that is dead or given up."""
        if result.problem == "dead":
            return self._context.cluster.death(name)
        if result.problem == "foreign":
            return Death("preemption")
        # a runner that never answered never had its resources: that is the cluster's fault, and no trial's
        return Death("cluster" if pack.seen_at is None else "process")

    def _is_worth_storing(self, poll: Poll, pack: Pack) -> bool:
        """Return whether an answer changes the database: by new reports, by the pack's end, or by an old ``seen_at``.

        The age of ``seen_at`` is counted from when this term stored it, since the wall clock may have been set.
        """
        if poll.state == "ended" or any(report.seq > pack.last_seq for report in poll.reports):
            return True
        stored_at = self._stored_at.get(pack.id)
        return stored_at is None or time.monotonic() - stored_at > SEEN_SECONDS

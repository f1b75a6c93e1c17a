"""The polling step of a tick: ask all runners for reports (``runners``), and store what they answer (``ingest``)."""

from __future__ import annotations

import logging
import time
from functools import partial

from service.controller import ingest
from service.controller.cluster import Death
from service.controller.context import ReconcileContext
from service.controller.cost_records import keep_costs
from service.controller.etas import EtaKeeper
from service.controller.guard import SweepGuard
from service.controller.refilling import PackRefiller
from service.controller.runner_requests import PollResult
from service.controller.runners import find_runner_name
from service.store import attempts, packs
from service.store.tables import Pack
from workers.protocol import Poll
from workers.spec.expand import objective

log = logging.getLogger(__name__)

LINES_SECONDS = 1.0
"""The seconds that lines wait for reports to be stored with: what a runner prints is not written in each tick."""
SEEN_SECONDS = 5.0
"""The seconds after which a pack's ``seen_at`` is written again while its runner has nothing new to report."""


class RunnerPoller:
    """Polls the runners, stores their reports, and marks packs as lost whose runner is gone."""

    def __init__(self, context: ReconcileContext, guard: SweepGuard, refiller: PackRefiller, etas: EtaKeeper) -> None:
        self._context, self._guard, self._refiller, self._etas = context, guard, refiller, etas
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
        self._refiller.note(pack.id, result.poll)
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
                keep_costs(context, session, row, poll.times)
        self._stored_at[pack.id] = time.monotonic()
        if ended:
            context.end_runner(pack.id, name)
            self._etas.forget(pack.id)

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
        """Return whether an answer changes the database: by new reports or lines, the pack's end, an old ``seen_at``.

        The age of ``seen_at`` is counted from when this term stored it, since the wall clock may have been set.
        """
        if poll.state == "ended" or any(report.seq > pack.last_seq for report in poll.reports):
            return True
        stored_at = self._stored_at.get(pack.id)
        limit = LINES_SECONDS if any(line.seq > pack.last_seq for line in poll.lines) else SEEN_SECONDS
        return stored_at is None or time.monotonic() - stored_at > limit

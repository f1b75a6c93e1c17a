"""One tick of the reconcile loop: poll the runners, advance the sweeps that have changed, then launch packs.

Every action is idempotent. A tick may be interrupted anywhere, and the next tick, or the next controller, repeats it.
"""

from __future__ import annotations

from functools import partial

from service.controller.advancing import SweepAdvancer
from service.controller.attention import Attention
from service.controller.cluster import Cluster
from service.controller.context import ReconcileContext
from service.controller.etas import EtaKeeper
from service.controller.guard import SweepGuard
from service.controller.launching import PackLauncher
from service.controller.polling import RunnerPoller
from service.settings import ControllerSettings
from service.store import packs, sweeps
from service.store.database import Database
from service.store.sweeps import OpenSweep


class Reconciler:
    """Makes what runs in Ray agree with the sweeps in the database, tick by tick, during one leadership term.

    While there is no connection to Ray, a tick starts and polls no runner, and launches no pack.
    """

    def __init__(self, database: Database, cluster: Cluster, settings: ControllerSettings, term: int) -> None:
        self._context = ReconcileContext(database, cluster, settings, term)
        self._guard = SweepGuard(self._context)
        self._etas = EtaKeeper(self._context)
        self._poller = RunnerPoller(self._context, self._guard, self._etas)
        self._attention = Attention()
        self._advancer = SweepAdvancer(self._context)
        self.launcher = PackLauncher(self._context, self._guard)

    @property
    def behind(self) -> bool:
        """Whether the last tick left changed sweeps or packs to the next one, which should follow without a pause."""
        return self._attention.behind or self.launcher.behind

    def tick(self, wait: float) -> bool:
        """Poll the runners, advance the sweeps that need it (``attention``), and launch packs.

        Args:
            wait: How many seconds the runners have to answer.

        Returns:
            True if a runner has finished its pack or a sweep has ended, which MLflow should receive at once. A lost
            pack does not count.
        """
        self._context.ended = False
        if self._context.cluster.connected:
            self.launcher.start_planned()
            # what has changed does not wait for slow runners; their answers are handled by the next tick
            self._poller.poll(0.0 if self.behind else wait)
        with self._context.read() as session:
            open_sweeps = sweeps.open_sweeps(session)
        for sweep_id in self._attention.forget_ended(open_sweeps):
            self._forget(sweep_id)
        for sweep in self._attention.choose(open_sweeps):
            self._guard.run(sweep.id, "advance", partial(self._advance, sweep))
        if self._context.cluster.connected:
            self.launcher.launch(open_sweeps)
        self._etas.update()
        return self._context.ended

    @property
    def checkpoint_problem(self) -> str | None:
        """What is wrong with the checkpoint store, for a person to read; None if checkpoints are written."""
        return self._context.checkpoint_store.problem

    def _advance(self, sweep: OpenSweep) -> None:
        unsettled = self._advancer.advance(sweep.id)
        self._attention.looked(sweep, unsettled=unsettled)

    def _forget(self, sweep_id: str) -> None:
        self._advancer.forget(sweep_id)
        self.launcher.forget(sweep_id)
        self._context.forget(sweep_id)

    def mark_all_lost(self, reason: str) -> None:
        """End every open pack as lost with its cluster, and move its trials on; no trial is charged a retry."""
        with self._context.read() as session:
            open_packs = packs.open_packs(session)
        for pack in open_packs:
            act = partial(self._context.mark_lost, pack, "cluster", reason)
            self._guard.run(pack.sweep_id, f"mark {pack.id} lost", act)

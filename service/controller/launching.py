"""The launching step of a tick: carry out, sweep by sweep, what ``scheduling`` and ``placement`` choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from service.controller import scheduling
from service.controller.context import ReconcileContext
from service.controller.guard import SweepGuard
from service.controller.placement import Capacity
from service.controller.runners import assignment
from service.states import SWEEP_ENDED
from service.store import packs, quotas, sweeps
from service.store.tables import Pack


@dataclass
class _Round:
    """One call of ``launch``.

    Attributes:
        capacity: The capacity that is left after the packs planned so far.
        full: Whether the last sweep has trials that could run but were put in no pack.
    """

    capacity: Capacity
    full: bool = False


class PackLauncher:
    """Stores packs of waiting trials in the database while the cluster has room, and starts a runner for each."""

    def __init__(self, context: ReconcileContext, guard: SweepGuard) -> None:
        self._context, self._guard = context, guard

    def start_planned(self) -> None:
        """Start the runner of every pack that is planned and not started, or adopt one that already runs in Ray."""
        with self._context.read() as session:
            planned = [pack for pack in packs.open_packs(session) if pack.state == "planned"]
        for pack in planned:
            self._guard.run(pack.sweep_id, f"start {pack.id}", partial(self.start_runner, pack))

    def start_runner(self, pack: Pack) -> None:
        """Start the runner of a pack, or adopt a living one with its name, then store the pack as started."""
        context = self._context
        with context.read() as session:
            work = assignment(session, pack, context.spec(session, pack.sweep_id), context.settings, context.term)
        context.runners.start(work)
        with context.write() as session:
            packs.mark_started(session, pack.id)

    def launch(self, open_sweeps: Sequence[str]) -> None:
        """Plan packs for the sweeps in order, then start the runner of every planned pack.

        Waiting trials that cannot be trained are failed. A sweep whose packs fit on no node is passed over. A round
        ends at the first other sweep whose waiting trials do not all find room: smaller packs of younger sweeps could
        otherwise keep a large pack waiting for ever.

        Args:
            open_sweeps: The ids of the sweeps that have not ended, the oldest first.
        """
        with self._context.read() as session:
            round_ = _Round(scheduling.free_capacity(session, self._context.cluster.nodes()))
        for sweep_id in open_sweeps:
            self._guard.run(sweep_id, "launch", partial(self._launch_sweep, sweep_id, round_))
            if round_.full:
                break
        self.start_planned()

    def _launch_sweep(self, sweep_id: str, round_: _Round) -> None:
        context = self._context
        with context.read() as session:
            if sweeps.get(session, sweep_id).state in SWEEP_ENDED:
                return
            spec = context.spec(session, sweep_id)
            waiting = quotas.within(session, sweep_id, scheduling.trials_to_run(session, sweep_id))
            # no node is large enough for a pack of this sweep: it waits without holding up the younger ones
            if not waiting or not round_.capacity.can_ever_hold(spec.resources):
                return
            trainable, reasons = scheduling.split_trainable(spec, waiting)
            groups = scheduling.next_packs(session, spec, trainable, round_.capacity)
        if reasons:
            with context.write() as session:
                scheduling.fail_waiting(session, sweep_id, reasons)
        for group in groups:
            with context.write() as session:
                scheduling.plan_pack(session, sweep_id, [trial.id for trial in group], spec, context.term)
            round_.capacity = round_.capacity.minus(spec.resources)
        round_.full = len(trainable) > sum(len(group) for group in groups)

"""The launching step of a tick: carry out, sweep by sweep, what ``scheduling`` and ``placement`` choose."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy.orm import Session

from service.controller import scheduling
from service.controller.context import ReconcileContext
from service.controller.guard import SweepGuard
from service.controller.placement import Capacity
from service.controller.refilling import PackRefiller
from service.controller.retry_pauses import RetryPauses
from service.controller.runners import assignment
from service.store import attempts, packs, quotas
from service.store.sweeps import OpenSweep
from service.store.tables import Pack, Trial

NEVER_LAUNCH = ("paused", "cancelling")
"""The states of open sweeps that start no trial. A queued one may have begun to run since it was read."""
IDLE_SECONDS = 5.0
"""A sweep without a trial to run is asked again after this many seconds, even if nothing has happened in it."""


@dataclass
class _Round:
    """One call of ``launch``.

    Attributes:
        capacity: The capacity that is left after the packs planned so far.
        spent: The ids of the sweeps whose owners may run no further trial now. They need not be asked.
        full: Whether the last sweep has trials that could run but were put in no pack.
    """

    capacity: Capacity
    spent: set[str]
    full: bool = False


class PackLauncher:
    """Stores packs of waiting trials in the database while the cluster has room, and starts a runner for each.

    It keeps, for each sweep without a trial to run, its last event at that time, and until when it need not ask again.

    Attributes:
        refiller: What gives trials to packs that train already.
    """

    def __init__(self, context: ReconcileContext, guard: SweepGuard) -> None:
        self._context, self._guard = context, guard
        self._idle: dict[str, tuple[int, float]] = {}
        self._pauses = RetryPauses()
        self.refiller = PackRefiller(context, guard, self._pauses)

    def start_planned(self) -> None:
        """Start the runner of every pack that is planned and not started, or adopt one that already runs in Ray."""
        with self._context.read() as session:
            planned = [pack for pack in packs.open_packs(session) if pack.state == "planned"]
        for pack in planned:
            self._guard.run(pack.sweep_id, f"start {pack.id}", partial(self.start_runner, pack))

    def start_runner(self, pack: Pack) -> None:
        """Start the runner of a pack, or adopt a living one with its name, then store the pack as started.

        Nothing is done if the pack has ended since it was read, because its sweep was failed.
        """
        context = self._context
        with context.read() as session:
            if packs.get(session, pack.id).state == "ended":
                return
            work = assignment(session, pack, context.spec(session, pack.sweep_id), context.settings, context.term)
        context.runners.start(work)
        with context.write() as session:
            packs.mark_started(session, pack.id)

    def launch(self, open_sweeps: Sequence[OpenSweep]) -> None:
        """Give trials to packs that train, plan packs for the sweeps in order, and start the runners of planned packs.

        Waiting trials that cannot be trained are failed. A sweep whose packs fit on no node is passed over. A round
        ends at the first other sweep whose waiting trials do not all find room: smaller packs of younger sweeps could
        otherwise keep a large pack waiting for ever. While the checkpoint store fails, no pack is planned.

        Args:
            open_sweeps: The sweeps that have not ended, the oldest first, as they were before this tick advanced them.
        """
        self.refiller.refill(open_sweeps)
        if not self._context.checkpoint_store.may_launch:
            return
        with self._context.read() as session:
            capacity = scheduling.free_capacity(session, self._context.cluster.nodes())
            round_ = _Round(capacity, quotas.spent(session))
        for sweep in open_sweeps:
            # with no CPU left, no sweep needs to be asked what it wants
            if round_.full or round_.capacity.cpus <= 0:
                break
            if sweep.state not in NEVER_LAUNCH and sweep.id not in round_.spent and not self._is_idle(sweep):
                self._guard.run(sweep.id, "launch", partial(self._launch_sweep, sweep, round_))
        self.start_planned()

    def forget(self, sweep_id: str) -> None:
        """Drop what is kept of a sweep that has ended."""
        self._idle.pop(sweep_id, None)
        self._pauses.forget(sweep_id)

    def _is_idle(self, sweep: OpenSweep) -> bool:
        """Return whether the sweep had no trial to run a short time ago, and nothing has happened in it since."""
        event_seq, until = self._idle.get(sweep.id, (None, 0.0))
        return event_seq == sweep.event_seq and time.monotonic() < until

    def _mark_idle(self, sweep: OpenSweep, seconds: float = IDLE_SECONDS) -> None:
        self._idle[sweep.id] = (sweep.event_seq, time.monotonic() + min(seconds, IDLE_SECONDS))

    def _launch_sweep(self, sweep: OpenSweep, round_: _Round) -> None:
        context = self._context
        with context.read() as session:
            needs = context.resources(session, sweep.id)
            # no node is large enough for a pack of this sweep: it waits without holding up the younger ones
            if not round_.capacity.can_ever_hold(needs):
                return
            ready = scheduling.trials_to_run(session, sweep.id)
            if not ready:
                self._mark_idle(sweep)
                return
            allowed, pause = self._without_pauses(session, ready)
            if not allowed:
                self._mark_idle(sweep, pause)
                return
            waiting = quotas.within(session, sweep.id, allowed)
            if not waiting:
                return
            # where there is no room, one trial that could run is enough to know that the sweep waits for room
            if not round_.capacity.free_packs(needs) and context.plan(session, waiting[0]).spec is not None:
                round_.full = True
                return
            spec = context.spec(session, sweep.id)
            trainable, reasons = scheduling.split_trainable(waiting, partial(context.plan, session))
            groups = scheduling.next_packs(session, spec, trainable, round_.capacity)
        if reasons:
            with context.write() as session:
                scheduling.fail_waiting(session, sweep.id, reasons)
        for group in groups:
            with context.write() as session:
                scheduling.plan_pack(session, sweep.id, [trial.id for trial in group], spec, context.term)
            round_.capacity = round_.capacity.minus(needs)
        if groups:
            with context.read() as session:
                round_.spent = quotas.spent(session)
        round_.full = len(trainable) > sum(len(group) for group in groups)

    def _without_pauses(self, session: Session, waiting: Sequence[Trial]) -> tuple[list[Trial], float]:
        """Return the trials that need not wait any longer after attempts that went wrong, and the shortest other pause.

        Those that were in one pack wait for one another, so that they can be in one again; and they come first, so that
        a limit on the trials of an owner does not divide them.
        """
        histories = attempts.histories(session, [trial.id for trial in waiting])
        pauses = {history[-1].pack_id: 0.0 for history in histories.values()}
        for history in histories.values():
            pack_id = history[-1].pack_id
            pauses[pack_id] = max(pauses[pack_id], self._pauses.left(history))
        ready = [t for t in waiting if t.id not in histories or not pauses[histories[t.id][-1].pack_id]]
        ready.sort(key=lambda trial: trial.id not in histories)
        return ready, min((left for left in pauses.values() if left), default=0.0)

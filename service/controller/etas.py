"""When each running sweep is expected to end: by the model of dry runs, with the rate of the sweep's own packs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy.orm import Session

from service.controller.context import ReconcileContext
from service.controller.cost_records import measured_costs
from service.estimates.early_ends import EarlyEnds
from service.estimates.estimate import concurrent_trials, workers_of
from service.estimates.pack_costs import PackCosts
from service.estimates.pack_schedule import PackLoad, planned_packs, schedule
from service.estimates.pack_seconds import seconds_of
from service.store import attempts, components, cost_samples, open_trials, packs, sweeps, trials
from service.store.database import LeadLost, is_unavailable
from service.store.tables import Pack, Sweep
from workers.protocol import Poll
from workers.spec.cost import MeasuredCost
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)

ETA_SECONDS = 5.0
"""The least time between two estimates for one sweep."""
SWEEPS_PER_TICK = 2
"""How many sweeps get a new estimate in one tick, at the most."""
MOST_PLANNED = 100
"""So many of the waiting trials are planned; the time of the others follows from theirs."""
MOST_SAMPLES = 1_000
"""So many of the newest measurements are read."""
SAMPLES_SECONDS = 30.0
"""So old may be what is known of other packs."""


class _Look(NamedTuple):
    """The last answer of a pack's runner, and the sweep that the pack belongs to."""

    sweep_id: str
    poll: Poll


@dataclass(frozen=True)
class _RunningPack:
    """A pack that has not ended: the specifications of its trials that are left, and the fewest steps of one of them.

    Attributes:
        measured: What its runner has measured; empty before its first report.
        age: The seconds since it was planned.
    """

    trials: Sequence[TrialSpec]
    done: int
    measured: Sequence[MeasuredCost]
    age: float


class EtaKeeper:
    """Computes when running sweeps are expected to end, some in each tick, and stores it with the sweep."""

    def __init__(self, context: ReconcileContext) -> None:
        self._context = context
        self._looks: dict[str, _Look] = {}
        self._next: dict[str, float] = {}
        self._samples: dict[bool, tuple[float, list[MeasuredCost]]] = {}

    def note(self, pack: Pack, poll: Poll) -> None:
        """Take what a pack's runner has answered."""
        if poll.times is not None:
            self._looks[pack.id] = _Look(pack.sweep_id, poll)

    def forget(self, pack_id: str) -> None:
        """Drop what is kept of a pack that has ended or was lost."""
        self._looks.pop(pack_id, None)

    def update(self) -> None:
        """Store a new estimate for the sweeps whose turn it is, among those of which a pack trains.

        An error that is not the database's is logged, and never raised: no sweep fails because of an estimate.

        Raises:
            LeadLost: If another controller leads by now.
            sqlalchemy.exc.SQLAlchemyError: If the database cannot be used.
        """
        now = time.monotonic()
        training = {look.sweep_id for look in self._looks.values()}
        self._next = {sweep_id: self._next.get(sweep_id, now) for sweep_id in sorted(training)}
        due = sorted((at, sweep_id) for sweep_id, at in self._next.items() if at <= now)
        for _, sweep_id in due[:SWEEPS_PER_TICK]:
            self._next[sweep_id] = now + ETA_SECONDS
            try:
                self._update(sweep_id)
            except LeadLost:
                raise
            except Exception as error:
                if is_unavailable(error):
                    raise
                log.exception("Sweep %s: when it will end cannot be computed", sweep_id)

    def _update(self, sweep_id: str) -> None:
        with self._context.read() as session:
            open_packs = packs.open_packs(session)
            # a pack may have been ended without an answer, and its sweep with it
            self._looks = {pack.id: self._looks[pack.id] for pack in open_packs if pack.id in self._looks}
            if all(pack.sweep_id != sweep_id for pack in open_packs):
                return
            seconds = self._seconds_left(session, sweep_id, open_packs)
        if seconds is not None:
            with self._context.write() as session:
                sweeps.note_eta(session, sweep_id, time.time() + seconds)

    def _seconds_left(self, session: Session, sweep_id: str, open_packs: Sequence[Pack]) -> float | None:
        sweep, spec = sweeps.get(session, sweep_id), self._context.spec(session, sweep_id)
        own = [self._running(session, pack) for pack in open_packs if pack.sweep_id == sweep_id]
        own = [pack for pack in own if pack.trials]
        costs = self._costs(session, spec, [cost for pack in own for cost in pack.measured])
        ends, start = EarlyEnds(spec, sweep.trial_count // spec.repeats), costs.start[0]
        busy = []
        for pack in own:
            left = seconds_of(pack.trials, costs, ends, pack.done)
            if left is None:
                return None
            seconds = left.expected + (0.0 if pack.measured else max(0.0, start - pack.age))
            busy.append(PackLoad(seconds, len(pack.trials), pack.trials[0].shape_key))
        workers = max(1, len(own) + _free_packs(session, spec, open_packs))
        waiting, share = self._waiting(session, sweep, spec)
        begun = self._planned(spec, sweep.max_parallel, waiting, workers, costs, ends)
        if begun is None:
            return None
        alone = max((pack.seconds for pack in busy), default=0.0)
        end, starts = schedule(begun, workers, start, busy, sweep.max_parallel)
        # of many packs of a few shapes, each worker starts one process
        once = min(start, end - alone) if 0 < starts <= workers else 0.0
        return alone + once + (end - alone - once) * share

    def _running(self, session: Session, pack: Pack) -> _RunningPack:
        found = trials.some(session, list(attempts.open_of_pack(session, pack.id)))
        plans = [(trial, self._context.plan(session, trial).spec) for trial in found]
        specs = [spec for _, spec in plans if spec is not None]
        look = self._looks.get(pack.id)
        progress = look.poll.progress if look else {}
        done = min((max(trial.step, progress.get(trial.id, 0)) for trial in found), default=0)
        times = look.poll.times if look else None
        measured = measured_costs(pack, times, specs) if times is not None and specs else []
        return _RunningPack(specs, done, measured, time.time() - pack.created_at)

    def _waiting(self, session: Session, sweep: Sweep, spec: SweepSpec) -> tuple[list[TrialSpec], float]:
        """Return some of the trials that are still to begin, and how many times as many there are.

        Trials that do not exist yet are taken to be like the others.
        """
        if sweep.state != "running":
            return [], 1.0
        ready = open_trials.ready(session, sweep.id, 10 * MOST_PLANNED)
        count = trials.tally(session, [sweep.id])[sweep.id].get("waiting", (0, 0))[0]
        count += max(0, sweep.trial_count - trials.count(session, sweep.id))
        if not ready and count:
            ready = open_trials.in_state(session, sweep.id, "running")
        chosen = ready[:: max(1, len(ready) // MOST_PLANNED)][:MOST_PLANNED]
        specs = [plan.spec for trial in chosen if (plan := self._context.plan(session, trial)).spec is not None]
        if not specs or not count:
            return [], 1.0
        # fewer are planned as they are, with those that do not exist yet; of more, some stand for the others
        some = (specs * (count // len(specs) + 1))[: min(count, MOST_PLANNED)]
        return some, count / len(some)

    def _planned(
        self,
        spec: SweepSpec,
        most: int | None,
        waiting: Sequence[TrialSpec],
        workers: int,
        costs: PackCosts,
        ends: EarlyEnds,
    ) -> list[PackLoad] | None:
        """Return the packs that are to begin, in their order; None if it is unknown how long one of them takes."""
        if any(seconds_of([trial], costs, ends) is None for trial in waiting):
            return None

        def length(positions: Sequence[int]) -> float:
            found = seconds_of([waiting[position] for position in positions], costs, ends)
            assert found is not None, "something is known of each of these trials"
            return found.expected

        needs = spec.resources
        begun = planned_packs(
            waiting, needs.pack_size, workers, needs.gpus, length, concurrent_trials(spec), spec.repeats, most
        )
        return [PackLoad(length(pack), len(pack), waiting[pack[0]].shape_key) for pack in begun]

    def _costs(self, session: Session, spec: SweepSpec, own: Sequence[MeasuredCost]) -> PackCosts:
        """Return what packs cost: by this sweep's own running packs if they are like them, else by others."""
        on_gpu = spec.resources.gpus > 0
        at, known = self._samples.get(on_gpu, (0.0, []))
        if not at or time.monotonic() - at > SAMPLES_SECONDS:
            known = cost_samples.known(session, on_gpu=on_gpu, most=MOST_SAMPLES)
            self._samples[on_gpu] = time.monotonic(), known
        now = {(cost.shape, cost.size) for cost in own}
        return PackCosts([*(cost for cost in known if (cost.shape, cost.size) not in now), *own], spec.resources.cpus)


def _free_packs(session: Session, spec: SweepSpec, open_packs: Sequence[Pack]) -> int:
    """Return how many more packs of a sweep the cluster has room for now, on all nodes together."""
    nodes = components.nodes(session)
    cpus = sum(node.cpus for node in nodes) - sum(pack.cpus for pack in open_packs)
    gpus = sum(node.gpus for node in nodes) - sum(pack.gpus for pack in open_packs)
    return max(0, workers_of(spec.resources, [(max(0.0, cpus), max(0.0, gpus))]))

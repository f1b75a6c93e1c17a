"""The launching step of a tick: carry out what the policy of the queue chooses, pack by pack."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.orm import Session

from service.controller import scheduling
from service.controller.context import ReconcileContext
from service.controller.demand import NEVER_LAUNCH, Demand
from service.controller.fair_share import FairShare, OwnerRules, QueueRules, Turn
from service.controller.guard import SweepGuard
from service.controller.node import Needs, Node
from service.controller.node_room import OpenPack
from service.controller.placement import Capacity
from service.controller.retry_pauses import RetryPauses
from service.controller.runners import assignment
from service.store import attempts, open_trials, packs, quotas
from service.store.owners import OwnerLimits
from service.store.queue import QueueNote, QueueNotes
from service.store.sweeps import OpenSweep
from service.store.tables import Pack, Trial
from workers.spec.sweep import HIGHEST_PRIORITY

MOST_STARTS = 64
"""So many packs at most are planned in one round, so that runners are polled in between."""
NO_STORE = "the checkpoint store, in which nothing can be written at the moment"


@dataclass
class _Round:
    """One call of ``launch``.

    Attributes:
        decision: The policy of the queue, which is asked whose turn it is.
        capacity: The nodes.
        groups: The packs that each sweep which had a turn has yet to start.
        started: How many packs were planned.
    """

    decision: FairShare
    capacity: Capacity
    groups: dict[str, list[list[str]]] = field(default_factory=dict)
    started: int = 0


class PackLauncher:
    """Stores packs of waiting trials in the database while the cluster has room, and starts a runner for each.

    Attributes:
        notes: What each waiting sweep waits for, as it was last decided.
        behind: Whether the last round left packs to the next one, for which there was room.
    """

    def __init__(self, context: ReconcileContext, guard: SweepGuard) -> None:
        self._context, self._guard = context, guard
        self._pauses, self._demand = RetryPauses(), Demand()
        self._seen: dict[str, float] = {}
        self.notes, self.behind = QueueNotes.of([]), False

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
        """Plan the packs that the policy of the queue chooses (``fair_share``), then start the runner of each.

        Waiting trials that cannot be trained are failed. While the checkpoint store fails, no pack is planned.

        Args:
            open_sweeps: The sweeps that have not ended, the oldest first, as they were before this tick advanced them.
        """
        self.behind = False
        if not self._context.checkpoint_store.may_launch:
            self.notes = QueueNotes.of_all(NO_STORE)
            return
        nodes = self._context.cluster.nodes()
        by_id = {sweep.id: sweep for sweep in open_sweeps}
        with self._context.read() as session:
            round_ = _Round(self._decision(session, by_id, nodes), Capacity(nodes))
        while (turn := round_.decision.turn()) is not None:
            sweep = by_id[turn.sweep.id]
            self._guard.run(sweep.id, "launch", partial(self._take_turn, sweep, turn, round_))
            if round_.started >= MOST_STARTS:
                self.behind = True
                break
        if not self.behind:
            self.notes = self._noted(open_sweeps, round_.decision)
        self.start_planned()

    def forget(self, sweep_id: str) -> None:
        """Drop what is kept of a sweep that has ended."""
        self._demand.forget(sweep_id)
        self._pauses.forget(sweep_id)

    def _decision(self, session: Session, by_id: Mapping[str, OpenSweep], nodes: Sequence[Node]) -> FairShare:
        settings, now = self._context.settings, time.monotonic()
        stored, running = packs.open_packs(session), open_trials.running_of_packs(session)
        self._seen = {pack.id: self._seen.get(pack.id, now) for pack in stored}
        return FairShare(
            nodes,
            [self._as_open(pack, by_id.get(pack.sweep_id), running.get(pack.id, 0), now) for pack in stored],
            self._demand.queue(session, list(by_id.values())),
            {name: _rules(limits) for name, limits in quotas.of_owners(session).items()},
            QueueRules(settings.aging_seconds, settings.preempt_after_seconds),
            time.time(),
        )

    def _as_open(self, pack: Pack, sweep: OpenSweep | None, trials: int, now: float) -> OpenPack:
        """Return a pack as the policy sees it. One whose sweep is paused or cancelled is about to leave, too."""
        leaves = pack.preempted is not None or sweep is None or sweep.state in NEVER_LAUNCH
        needs = Needs(pack.cpus, pack.gpus, pack.memory)
        owner, priority = (sweep.owner, sweep.priority) if sweep else ("", HIGHEST_PRIORITY)
        seconds = now - self._seen[pack.id]
        return OpenPack(pack.id, pack.sweep_id, owner, priority, needs, pack.node, trials, seconds, leaves)

    def _noted(self, open_sweeps: Sequence[OpenSweep], decision: FairShare) -> QueueNotes:
        notes = [QueueNote(sweep_id, wait.what, wait.in_line) for sweep_id, wait in decision.waiting.items()]
        rests = [(sweep.id, self._demand.rest_of(sweep)) for sweep in open_sweeps]
        return QueueNotes.of(
            [*notes, *(QueueNote(sweep_id, rest.why, False) for sweep_id, rest in rests if rest and rest.why)]
        )

    def _take_turn(self, sweep: OpenSweep, turn: Turn, round_: _Round) -> None:
        """Start the next pack of a sweep, or keep room for it. A turn that does neither is over for this round."""
        groups = self._groups(sweep, turn, round_)
        if not groups:
            return
        trial_ids = groups.pop(0)
        if turn.most is not None and len(trial_ids) > turn.most:
            groups.insert(0, trial_ids[turn.most :])
            trial_ids = trial_ids[: turn.most]
        if turn.node is None:
            for pack in round_.decision.wait(turn, len(trial_ids)):
                self._guard.run(pack.sweep_id, f"preempt {pack.id}", partial(self._preempt, pack, sweep))
            return
        context = self._context
        with context.write() as session:
            spec = context.spec(session, sweep.id)
            planned = scheduling.plan_pack(session, sweep.id, trial_ids, spec, context.term, turn.node)
            trials = len(planned.trial_ids) if planned else 0
        if trials:
            round_.decision.start(turn, trials)
            round_.started += 1

    def _preempt(self, pack: OpenPack, sweep: OpenSweep) -> None:
        with self._context.write() as session:
            scheduling.preempt(session, pack, sweep.priority)

    def _groups(self, sweep: OpenSweep, turn: Turn, round_: _Round) -> list[list[str]]:
        """Return the ids of the trials of the packs that a sweep can start now, pack by pack.

        Where there is no room and none may come, one trial that could run is enough to know that the sweep waits for
        room: only that one is looked at.
        """
        context = self._context
        if sweep.id in round_.groups:
            return round_.groups[sweep.id]
        with context.read() as session:
            waiting = self._ready(session, sweep)[: turn.most]
            if not waiting:
                return []
            if turn.node is None and not turn.room_may_come and context.plan(session, waiting[0]).spec is not None:
                return [[waiting[0].id]]
            spec = context.spec(session, sweep.id)
            trainable, reasons = scheduling.split_trainable(waiting, partial(context.plan, session))
            groups = scheduling.next_packs(session, spec, trainable, round_.capacity)
        if reasons:
            with context.write() as session:
                scheduling.fail_waiting(session, sweep.id, reasons)
        round_.groups[sweep.id] = [[trial.id for trial in group] for group in groups]
        return round_.groups[sweep.id]

    def _ready(self, session: Session, sweep: OpenSweep) -> list[Trial]:
        """Return the trials of a sweep that could run now. If there is none, the sweep rests."""
        ready = scheduling.trials_to_run(session, sweep.id)
        if not ready:
            self._demand.rest(sweep)
            return []
        allowed, pause = self._without_pauses(session, ready)
        if not allowed:
            self._demand.rest(sweep, pause, "the end of the pause after an attempt that went wrong")
        return allowed

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


def _rules(limits: OwnerLimits) -> OwnerRules:
    return OwnerRules(limits.weight, limits.running_trials, limits.running_cpus, limits.running_gpus)

"""The refilling step of a tick: packs that train get waiting trials in the place of those that have ended.

A trial is given to a pack in the database first, and then sent to its runner. What a controller had no time to send, or
what was lost on the way, is noticed by the runner's answers, which name the trials that it has, and is sent again. A
runner takes a trial once, however often it is sent. One that has ended takes nothing any more; what it had not taken
waits again (``ingest``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.orm import Session

from service.controller import free_places, scheduling
from service.controller.commands import CommandLog, Instruction
from service.controller.context import ReconcileContext
from service.controller.cost_records import keep_costs
from service.controller.demand import NEVER_LAUNCH
from service.controller.fair_share import FairShare, QueuedSweep
from service.controller.free_places import LivePack
from service.controller.guard import SweepGuard
from service.controller.node import Needs
from service.controller.node_room import ClusterRoom, OpenPack
from service.controller.placement import Capacity
from service.controller.retry_pauses import RetryPauses
from service.controller.runners import assigned_trial, find_runner_name
from service.store import attempts, packs, quotas, trials
from service.store.sweeps import OpenSweep
from service.store.tables import Pack, Trial
from workers.protocol import Command, PackTimes, Poll
from workers.spec.resources import ResourcesSpec
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)

TAKING = ("running", "idle")
"""The states of runners that take trials."""
REFILL, MOVE = Instruction("refill", ""), Instruction("move", "it and another pack were half empty, and others wait")


@dataclass(frozen=True)
class _Answer:
    """What the last answer of a runner says: its state, the trials that it has, and what it has measured."""

    state: str
    trials: frozenset[str]
    times: PackTimes | None = None


@dataclass
class _Round:
    """One call of ``refill``.

    Attributes:
        packs: The packs whose runners take trials, by their sweeps.
        open: The ids of the trials of each started pack that have not ended.
        capacity: The nodes of the cluster.
        room: What the open packs leave free on them.
        decided: What the queue's policy decided last; None before the first decision of a term.
    """

    packs: Mapping[str, list[Pack]]
    open: dict[str, set[str]]
    capacity: Capacity
    room: ClusterRoom
    decided: FairShare | None

    def heir(self, sweep: OpenSweep, needs: ResourcesSpec) -> Needs | None:
        """Return what a sweep needs that waits and comes before ``sweep`` for its packs' places; None if none does."""
        holder = QueuedSweep(sweep.id, sweep.owner, Needs.of(needs), sweep.priority)
        found = self.decided.heir(holder) if self.decided else None
        return found.needs if found else None


class PackRefiller:
    """Gives waiting trials to packs that train, merges half empty packs while others wait, and ends idle runners.

    What it keeps is found again by a successor: what each pack trains, the last answer of its runner and what was sent
    to it, which trials are on their way from a pack to another one, and the sweeps that may have such trials.

    Args:
        context: What the steps of a tick share.
        guard: Runs what is done for one sweep.
        pauses: How long trials wait after attempts that went wrong.
    """

    def __init__(self, context: ReconcileContext, guard: SweepGuard, pauses: RetryPauses) -> None:
        self._context, self._guard, self._pauses = context, guard, pauses
        self._answers: dict[str, _Answer] = {}
        self._sent, self._moves = CommandLog(), CommandLog()
        self._leaving: dict[str, set[str]] = {}
        self._specs: dict[str, TrialSpec] = {}
        self._movers: set[str] | None = None

    def note(self, pack_id: str, poll: Poll) -> None:
        """Take over what a runner's answer says of its state and its trials."""
        self._answers[pack_id] = _Answer(poll.state, frozenset(poll.progress), poll.times)

    def refill(self, open_sweeps: Sequence[OpenSweep], decided: FairShare | None) -> None:
        """Give waiting trials to packs, send to the runners what they lack, and end the runners that stay idle.

        A sweep gives its packs no new trials while another one waits for room that comes before it: its packs become
        empty, and their places go to the other sweep. Nor does a pack get any that is preempted, and none does while
        the checkpoint store fails.

        Args:
            open_sweeps: The sweeps that have not ended.
            decided: What the queue's policy decided last, with who waits for room; None before the first decision.
        """
        with self._context.read() as session:
            every = packs.open_packs(session)
            started = [pack for pack in every if pack.state == "started"]
            opened = attempts.open_of_packs(session, [pack.id for pack in started])
        self._forget_all_but({pack.id for pack in started})
        taking: dict[str, list[Pack]] = {}
        for pack in started:
            if self._takes(pack.id) and pack.preempted is None:
                taking.setdefault(pack.sweep_id, []).append(pack)
        if taking and self._context.checkpoint_store.may_launch:
            nodes = self._context.cluster.nodes()
            room = ClusterRoom(nodes, [_taken(pack) for pack in every])
            self._serve(open_sweeps, _Round(taking, opened, Capacity(nodes), room, decided))
        for pack in started:
            self._guard.run(pack.sweep_id, f"send to {pack.id}", partial(self._send, pack, opened[pack.id]))
            if self._answers.get(pack.id, _Answer("", frozenset())).state == "idle" and not opened[pack.id]:
                self._guard.run(pack.sweep_id, f"end {pack.id}", partial(self._end, pack))

    def _takes(self, pack_id: str) -> bool:
        answer = self._answers.get(pack_id)
        return answer is not None and answer.state in TAKING

    def _forget_all_but(self, pack_ids: set[str]) -> None:
        """Drop what is kept of packs that have ended."""
        for pack_id in (self._answers.keys() | self._leaving.keys() | self._specs.keys()) - pack_ids:
            self._answers.pop(pack_id, None)
            self._specs.pop(pack_id, None)
            self._leaving.pop(pack_id, None)
            self._sent.forget(pack_id)
            self._moves.forget(pack_id)

    def _serve(self, open_sweeps: Sequence[OpenSweep], round_: _Round) -> None:
        """Give trials to the packs of the sweeps, and merge two packs of a sweep for whose places another one waits."""
        if self._movers is None:
            self._movers = set(round_.packs)
        others = [sweep for sweep in open_sweeps if sweep.state not in NEVER_LAUNCH]
        if round_.decided is None and len(others) > 1:
            return  # who waits for room is known after the first decision of a term
        for sweep in others:
            own = round_.packs.get(sweep.id, [])
            if not own:
                continue
            self._guard.run(sweep.id, "refill", partial(self._serve_sweep, sweep, own, round_))
            if len(own) > 1 and not any(pack.id in self._leaving for pack in own):
                self._guard.run(sweep.id, "merge packs", partial(self._merge, sweep, own, round_))

    def _serve_sweep(self, sweep: OpenSweep, own: Sequence[Pack], round_: _Round) -> None:
        """Give trials of one sweep to its packs; if another one comes before it, those alone that come from a pack."""
        with self._context.read() as session:
            needs = self._context.spec(session, sweep.id).resources
            given_up = round_.heir(sweep, needs) is not None
            if given_up and sweep.id not in (self._movers or ()):
                return
            live = [self._live(session, pack, round_.open[pack.id]) for pack in own]
            live = [pack for pack in live if pack.id not in self._leaving]
            if not sum(pack.free(needs) for pack in live):
                return
            wanted = Needs.of(needs)
            room = round_.room.find(wanted) is not None
            waiting = self._candidates(session, sweep.id, own, given_up)
            if not waiting:
                return
            live = [self._with_history(session, pack, needs) for pack in live]
            histories = attempts.histories(session, [trial.id for trial in waiting])
            joining = [trial for trial in waiting if free_places.may_join(histories.get(trial.id, []))]
            others = [trial for trial in waiting if trial not in joining]
            if not room and any(self._pauses.is_over(histories[trial.id]) for trial in others):
                # those that had begun, and need a pack of their own, do not wait for those that have not
                joining = [trial for trial in joining if trial.id in histories]
            allowed = quotas.within(session, sweep.id, joining)
            specs = {trial.id: spec for trial in allowed if (spec := self._context.plan(session, trial).spec)}
            were_in = attempts.packs_of(session, specs)
            workers = round_.capacity.total_packs(needs)
            given = free_places.assign(specs, live, were_in, needs, workers, room=room)
        for pack in own:
            if given.get(pack.id):
                self._give(pack, given[pack.id], round_)

    def _candidates(self, session: Session, sweep_id: str, own: Sequence[Pack], movers_alone: bool) -> list[Trial]:
        """Return the waiting trials of a sweep that may go into its packs, or those alone that come from one."""
        assert self._movers is not None
        if not movers_alone:
            return scheduling.trials_to_run(session, sweep_id)
        found = attempts.moved_and_waiting(session, sweep_id)
        if not found and not any(pack.id in self._leaving for pack in own):
            self._movers.discard(sweep_id)
        return found

    def _give(self, pack: Pack, trial_ids: Sequence[str], round_: _Round) -> None:
        with self._context.write() as session:
            given = scheduling.refill_pack(session, packs.get(session, pack.id), trial_ids)
        round_.open[pack.id] |= {trial.id for trial in given}

    def _live(self, session: Session, pack: Pack, opened: set[str]) -> LivePack:
        """Return a pack with what decides whether it has free places."""
        spec = self._specs.get(pack.id)
        if spec is None:
            first = trials.get(session, pack.trial_ids[0])
            spec = self._specs[pack.id] = self._context.plan(session, first).require_spec()
        return LivePack(pack.id, frozenset(opened), spec, planned=len(pack.trial_ids), given=len(opened))

    def _with_history(self, session: Session, pack: LivePack, needs: ResourcesSpec) -> LivePack:
        """Return a pack with what decides which trials it gets. If it is full, no more is asked for than that."""
        if not pack.free(needs):
            return pack
        suspect = any(map(free_places.is_suspect, attempts.histories(session, pack.trials).values()))
        return replace(pack, given=attempts.count_of_pack(session, pack.id), suspect=suspect)

    def _merge(self, sweep: OpenSweep, own: Sequence[Pack], round_: _Round) -> None:
        """Let the trials of a pack go to another one of the sweep, if both are half empty, so that a place is free."""
        assert self._movers is not None
        with self._context.read() as session:
            needs = self._context.spec(session, sweep.id).resources
            wanted = round_.heir(sweep, needs)
            if wanted is None or needs.cpus < wanted.cpus or needs.gpus < wanted.gpus:
                return  # nobody waits, or the place of a pack would not be enough
            live = [self._live(session, pack, round_.open[pack.id]) for pack in own]
            found = free_places.to_merge([self._with_history(session, pack, needs) for pack in live], needs)
        if found is not None:
            left, kept = found
            log.info("The %d trials of pack %s move to pack %s", len(left.trials), left.id, kept.id)
            self._leaving[left.id] = set(left.trials)
            self._movers.add(sweep.id)

    def _send(self, pack: Pack, opened: set[str]) -> None:
        """Send a runner the trials that it does not have yet, and ask it for those that go to another pack."""
        if not self._takes(pack.id):
            return
        lacking = dict.fromkeys(sorted(opened - self._answers[pack.id].trials), REFILL)
        leaving = dict.fromkeys(sorted(opened & self._leaving.get(pack.id, set())), MOVE)
        refill = self._sent.take_due(pack, lacking).get(REFILL, [])
        move = self._moves.take_due(pack, leaving).get(MOVE, [])
        if not refill and not move:
            return
        context = self._context
        # the numbers are stored before the commands go out, so that a successor never uses one again
        with context.write() as session:
            seq, spec = packs.reserve_command_numbers(session, pack.id, 2), context.spec(session, pack.sweep_id)
            sent = [assigned_trial(trials.get(session, trial_id), spec, context.settings) for trial_id in refill]
        if refill:
            context.runners.command(pack, Command(seq=seq, verb="refill", trial_ids=refill, trials=sent))
        if move:
            context.runners.command(pack, Command(seq=seq + 1, verb="move", trial_ids=move, reason=MOVE.reason))

    def _end(self, pack: Pack) -> None:
        """End a pack all of whose trials have ended, and its runner, which waits for others."""
        context = self._context
        with context.write() as session:
            row = packs.get(session, pack.id)
            if row.state == "ended" or attempts.open_of_pack(session, pack.id):
                return
            packs.end(row)
            keep_costs(context, session, row, self._answers[pack.id].times)
            name = find_runner_name(session, row)
        context.end_runner(pack.id, name)


def _taken(pack: Pack) -> OpenPack:
    """Return a pack as what it takes of the cluster."""
    needs = Needs(pack.cpus, pack.gpus, pack.memory)
    return OpenPack(pack.id, pack.sweep_id, "", 0, needs, pack.node, len(pack.trial_ids), 0.0, False)

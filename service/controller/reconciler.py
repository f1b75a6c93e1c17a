"""One look at the world and what follows from it. Level-triggered: every step may be repeated or cut off anywhere."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError
from ray.exceptions import RayError
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from service.controller import commands, ingest, lost_packs, pruning, scheduling, sweep_lifecycle
from service.controller.cluster import Cluster, ClusterGone
from service.controller.placement import Room
from service.controller.polling import Answer
from service.controller.runners import Runners, assignment, runner_name
from service.settings import ControllerSettings
from service.states import SWEEP_ENDED
from service.store import packs, reports, sweeps, trials
from service.store.database import Database, LeadLost
from service.store.tables import Pack, Sweep, Trial
from workers.protocol import Command
from workers.spec.expand import objective
from workers.spec.field_errors import field_errors
from workers.spec.sweep import SweepSpec

log = logging.getLogger(__name__)

PATIENCE = 10
"""A sweep that gives an error nobody foresaw this many times running is failed with it."""


@dataclass
class _Turn:
    """What a round of launching has left. ``full``: a sweep had to wait for room, and those behind it with it."""

    room: Room
    full: bool = False


class Reconciler:
    """The work of one term of leading. ``cluster`` may be out of reach: then what needs no runner goes on."""

    def __init__(self, database: Database, cluster: Cluster, settings: ControllerSettings, term: int) -> None:
        self._database, self._cluster, self._settings, self._term = database, cluster, settings, term
        self._runners = Runners(cluster, term)
        self._ledger = commands.Ledger()
        self._specs: dict[str, SweepSpec] = {}
        self._errors: Counter[tuple[str, str]] = Counter()
        self._rung_news: set[str] = set()
        self._prune: dict[str, dict[str, str]] = {}
        self._first, self._ended = True, False

    def tick(self, wait: float) -> bool:
        """Whether a pack or a sweep has ended, of which MLflow is to hear at once.

        wait: seconds to give runners to answer.
        """
        self._ended = False
        if self._cluster.connected:
            self._start_planned()
            self._poll(wait)
        with self._database.read() as session:
            query = select(Sweep.id).where(Sweep.state.not_in(SWEEP_ENDED)).order_by(Sweep.created_at, Sweep.id)
            open_sweeps = list(session.scalars(query))
        for sweep_id in open_sweeps:
            self._guarded(sweep_id, "advance", self._advance)
        if self._cluster.connected:
            self._launch(open_sweeps)
        self._first = False
        return self._ended

    def _guarded(self, sweep_id: str, what: str, act: Callable[[str], None]) -> None:
        """Do something for a sweep; a mistake in it is the sweep's end, not the loop's.

        what: the act's name. Its errors are counted by themselves, since another act may go well each time.
        """
        try:
            act(sweep_id)
        except (LeadLost, ClusterGone, RayError, OperationalError, InterfaceError):
            raise
        except ValidationError as error:
            self._fail(sweep_id, f"its spec is not valid any more: {field_errors(error)[0]}. Post it again, corrected")
        except Exception as error:
            self._errors[sweep_id, what] += 1
            if self._errors[sweep_id, what] == 1:
                log.exception("sweep %s gave an error (%s), trying again", sweep_id, what)
            if self._errors[sweep_id, what] >= PATIENCE:
                self._fail(sweep_id, f"the controller cannot run it: {type(error).__name__}: {error}")
        else:
            self._errors.pop((sweep_id, what), None)

    def _fail(self, sweep_id: str, reason: str) -> None:
        log.error("sweep %s fails: %s", sweep_id, reason)
        with self._database.read() as session:
            running = [(p.id, self._name(session, p)) for p in packs.open_packs(session) if p.sweep_id == sweep_id]
        for pack_id, name in running:
            if self._cluster.connected:
                self._runners.end(pack_id, name)
        with self._database.write(self._term) as session:
            sweep_lifecycle.fail(session, sweep_id, reason)
        for key in [key for key in self._errors if key[0] == sweep_id]:
            del self._errors[key]

    def _spec(self, session: Session, sweep_id: str) -> SweepSpec:
        if sweep_id not in self._specs:
            self._specs[sweep_id] = SweepSpec.model_validate(sweeps.get(session, sweep_id).spec)
        return self._specs[sweep_id]

    def _name(self, session: Session, pack: Pack) -> str:
        return runner_name(pack.id, packs.attempt_number(session, pack.id))

    # what the runners say

    def _start_planned(self) -> None:
        """Give every planned pack its runner: created now, or adopted where an earlier controller had done it."""
        with self._database.read() as session:
            planned = [pack for pack in packs.open_packs(session) if pack.state == "planned"]
        for pack in planned:
            self._guarded(pack.sweep_id, f"start {pack.id}", lambda _, p=pack: self._start(p))  # type: ignore[misc]

    def _start(self, pack: Pack) -> None:
        with self._database.read() as session:
            given = assignment(session, pack, self._spec(session, pack.sweep_id), self._settings, self._term)
        self._runners.start(given)
        with self._database.write(self._term) as session:
            session.get_one(Pack, pack.id).state = "started"

    def _poll(self, wait: float) -> None:
        with self._database.read() as session:
            started = [pack for pack in packs.open_packs(session) if pack.state == "started"]
            named = [(pack, self._name(session, pack)) for pack in started]
        by_id = {pack.id: (pack, name) for pack, name in named}
        for answer in self._runners.poll(named, wait):
            pack, name = by_id.get(answer.pack_id, (None, ""))
            if pack is None:
                self._runners.forget(answer.pack_id)
                continue
            act = partial(self._answered, answer, pack, name)
            self._guarded(pack.sweep_id, f"answer {pack.id}", lambda _, act=act: act())  # type: ignore[misc]

    def _answered(self, answer: Answer, pack: Pack, name: str) -> None:
        if answer.poll is None:
            self._troubled(answer, pack, name)
            return
        if not self._tells(answer, pack):
            return
        with self._database.write(self._term) as session:
            spec, row = self._spec(session, pack.sweep_id), session.get_one(Pack, pack.id)
            if ingest.take_in(session, row, answer.poll, objective(spec), spec.retries):
                self._rung_news.add(pack.sweep_id)
            ended = answer.poll.state == "ended" and not packs.open_attempts(session, pack.id)
            if ended:
                packs.end(row)
        if ended:  # the runner leaves by itself too, but the room it takes is wanted now
            self._ended = True
            self._runners.end(pack.id, name)
            self._ledger.forget(pack.id)

    def _tells(self, answer: Answer, pack: Pack) -> bool:
        """Whether a poll is worth a transaction."""
        assert answer.poll is not None
        news = any(report.seq > pack.last_seq for report in answer.poll.reports)
        return news or answer.poll.state == "ended" or scheduling.long_ago(pack.seen_at)

    def _troubled(self, answer: Answer, pack: Pack, name: str) -> None:
        if answer.trouble == "silent":
            log.warning("pack %s cannot be reached at the moment: %s", pack.id, answer.message)
            return
        self._runners.end(pack.id, name)
        never_ran = pack.seen_at is None and answer.trouble == "given up"
        self._lose(pack, "cluster" if never_ran else "process", answer.message)

    def _lose(self, pack: Pack, loss: packs.LostCause, reason: str) -> None:
        with self._database.write(self._term) as session:
            spec = self._spec(session, pack.sweep_id)
            lost_packs.lose(session, session.get_one(Pack, pack.id), loss, _in_a_line(reason), spec.retries)
        self._ledger.forget(pack.id)

    # what follows for each sweep

    def _advance(self, sweep_id: str) -> None:
        with self._database.read() as session:
            spec, state = self._spec(session, sweep_id), sweeps.get(session, sweep_id).state
            complete = trials.count(session, sweep_id) >= sweeps.get(session, sweep_id).trial_count
        if state == "queued" or (state == "running" and not complete):
            with self._database.write(self._term) as session:
                sweep_lifecycle.expand(session, sweep_id, spec)
        self._judge(sweep_id, spec)
        self._command(sweep_id)
        with self._database.read() as session:
            due = sweep_lifecycle.due(session, sweeps.get(session, sweep_id))
        if due:
            with self._database.write(self._term) as session:
                sweep_lifecycle.settle(session, sweep_id)
            self._ended = True

    def _judge(self, sweep_id: str, spec: SweepSpec) -> None:
        """Look at the rungs again where there is news."""
        if spec.early_stopping.kind == "none" or not (self._first or sweep_id in self._rung_news):
            return
        self._rung_news.discard(sweep_id)
        with self._database.read() as session:
            running, succeeded = (_steps(session, sweep_id, spec, state) for state in ("running", "succeeded"))
            goal = objective(spec)
            curves = reports.curves_of_sweep(session, sweep_id, goal.metric) if running else {}
        curves = pruning.to_their_ends(curves, succeeded)
        told = {t: reason for t, reason in self._prune.get(sweep_id, {}).items() if t in running}
        judged = {t: steps for t, steps in running.items() if t not in told}
        self._prune[sweep_id] = told | pruning.to_prune(spec.early_stopping, goal, curves, judged)

    def _command(self, sweep_id: str) -> None:
        with self._database.read() as session:
            sweep = sweeps.get(session, sweep_id)
            open_packs = [pack for pack in packs.open_packs(session) if pack.sweep_id == sweep_id]
            wanted = {}
            for pack in open_packs:
                own = [session.get_one(Trial, trial_id) for trial_id in packs.open_attempts(session, pack.id)]
                prune = self._prune.get(sweep_id, {})
                orders = {t.id: o for t in own if (o := commands.order(sweep, t, prune)) is not None}
                wanted[pack.id] = (pack, orders, len(orders) == len(own), self._name(session, pack))
        for pack, orders, all_of_it, name in wanted.values():
            if orders:
                self._order(pack, orders, all_of_it, name)

    def _order(self, pack: Pack, orders: dict[str, commands.Instruction], all_of_it: bool, name: str) -> None:
        due = self._ledger.due(pack, orders)
        never_ran = pack.seen_at is None and all(order.verb != "prune" for order in orders.values())
        if all_of_it and (never_ran or self._ledger.overdue(pack, orders)):
            if self._cluster.connected:
                self._runners.end(pack.id, name)
                self._lose(pack, "cluster", next(iter(orders.values())).reason)
            return
        if not due or pack.state != "started":
            return
        with self._database.write(self._term) as session:
            row = session.get_one(Pack, pack.id)
            first = row.command_seq + 1
            row.command_seq += len(due)
        for seq, (order, trial_ids) in enumerate(due.items(), first):
            self._runners.tell(pack, Command(seq=seq, verb=order.verb, trial_ids=trial_ids, reason=order.reason))

    # what starts next

    def _launch(self, open_sweeps: Sequence[str]) -> None:
        with self._database.read() as session:
            turn = _Turn(scheduling.room(session, self._cluster.nodes()))
        for sweep_id in open_sweeps:
            self._guarded(sweep_id, "launch", partial(self._launch_of, turn))
            if turn.full:
                break  # the oldest sweep first: what comes behind must not keep a large pack waiting for ever
        self._start_planned()

    def _launch_of(self, turn: _Turn, sweep_id: str) -> None:
        with self._database.read() as session:
            if sweeps.get(session, sweep_id).state in SWEEP_ENDED:
                return
            spec = self._spec(session, sweep_id)
            waiting = scheduling.waiting(session, sweep_id)
            if not waiting or not turn.room.possible(spec.resources):
                return
            sound, unsound = scheduling.sorted_out(spec, waiting)
            groups = scheduling.groups(session, spec, sound, turn.room)
        if unsound:
            with self._database.write(self._term) as session:
                scheduling.refuse(session, sweep_id, unsound)
        for group in groups:
            with self._database.write(self._term) as session:
                scheduling.launch(session, sweep_id, [t.id for t in group], spec, self._term)
            turn.room = turn.room.less(spec.resources)
        turn.full = len(sound) > sum(len(group) for group in groups)

    def lose_all(self, reason: str) -> None:
        """The whole cluster is another one: every open pack is lost, at no trial's cost."""
        with self._database.read() as session:
            open_packs = packs.open_packs(session)
        for pack in open_packs:
            self._guarded(pack.sweep_id, f"lose {pack.id}", lambda _, p=pack: self._lose(p, "cluster", reason))  # type: ignore[misc]


def _steps(session: Session, sweep_id: str, spec: SweepSpec, state: str) -> dict[str, int]:
    """Of the trials in a state, how many steps each was to do."""
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state == state)
    return {t.id: int(t.params.get("training.steps", spec.training.steps)) for t in session.scalars(query)}


def _in_a_line(text: str) -> str:
    """Ray's messages run over many lines; what they say of the end tells."""
    line = " ".join(text.split())
    found = re.search(r"Worker exit detail: (.*?)(\. Some common causes|$)", line)
    return f"its process ended: {found[1]}"[:300] if found else line[:300]

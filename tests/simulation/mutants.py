"""Mistakes that somebody could make in the controller or the store. The simulation must notice each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.controller import (
    controller,
    ingest,
    launching,
    lost_packs,
    placement,
    refilling,
    runners,
    sweep_lifecycle,
)
from service.controller.attention import Attention
from service.controller.context import ReconcileContext
from service.controller.node_room import ClusterRoom
from service.controller.polling import RunnerPoller
from service.store import events, open_trials, outbox, packs, reports, sweeps
from service.store.database import Database
from service.store.tables import Attempt, Event, Sweep, Trial, TrialReport

Mutation = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """A mistake, and what brings it to light.

    Attributes:
        make: Makes the mistake during a block.
        kinds: The kinds of faults that the schedules for it are drawn from.
    """

    make: Mutation
    kinds: tuple[str, ...]


MUTANTS: dict[str, Mutant] = {}


def _mutant(*kinds: str) -> Callable[[Mutation], Mutation]:
    def keep(make: Mutation) -> Mutation:
        MUTANTS[make.__name__] = Mutant(make, kinds)
        return make

    return keep


@_mutant("kill controller")
def marks_a_pack_as_started_before_it_starts_the_runner() -> AbstractContextManager[Any]:
    def start_runner(self: launching.PackLauncher, pack: Any) -> None:
        with self._context.write() as session:
            packs.mark_started(session, pack.id)
        original(self, pack)

    original = launching.PackLauncher.start_runner
    return mock.patch.object(launching.PackLauncher, "start_runner", start_runner)


@_mutant("stop controller")
def writes_without_looking_at_the_term() -> AbstractContextManager[Any]:
    def write(self: Database, term: int | None = None) -> Any:
        return original(self)

    original = Database.write
    return mock.patch.object(Database, "write", write)


@_mutant("kill controller")
def names_a_runner_after_the_term() -> AbstractContextManager[Any]:
    """A successor does not find the runner, and starts another."""

    def start(self: runners.Runners, work: Any) -> None:
        name = f"{runners.runner_name(work.pack_id, work.attempt)}-{self._term}"
        self._handles[work.pack_id] = self._cluster.start(work, name)

    return mock.patch.object(runners.Runners, "start", start)


@_mutant("submit")
def forgets_which_reports_it_has() -> AbstractContextManager[Any]:
    def store(session: Session, pack: Any, *rest: Any) -> Any:
        found = original(session, pack, *rest)
        pack.last_seq = 0
        return found

    original = ingest.ingest
    return mock.patch.object(ingest, "ingest", store)


@_mutant("submit")
def acknowledges_a_line_that_it_does_not_store() -> AbstractContextManager[Any]:
    def add(session: Session, pack_id: str, lines: Any) -> None:
        original(session, pack_id, lines[:-1])

    original = ingest.pack_lines.add
    return mock.patch.object(ingest, "pack_lines", _Instead(ingest.pack_lines, add=add))


@_mutant("kill runner")
def stores_a_step_again_for_each_attempt() -> AbstractContextManager[Any]:
    def add_all(session: Session, points: Any, at: float) -> list[TrialReport]:
        rows = []
        for trial_id, own in points.items():
            for step, values in own:
                session.merge(TrialReport(trial_id=trial_id, step=step, values=values, at=at))
                rows.append(TrialReport(trial_id=trial_id, step=step, values=values, at=at))
        session.flush()
        return rows

    return mock.patch.object(reports, "add_all", add_all)


@_mutant("submit")
def looks_at_each_sweep_once() -> AbstractContextManager[Any]:
    def choose(self: Attention, open_sweeps: Any) -> list[Any]:
        return [sweep for sweep in original(self, open_sweeps) if sweep.id not in self._looks]

    original = Attention.choose
    return mock.patch.object(Attention, "choose", choose)


@_mutant("kill runner")
def numbers_events_from_what_it_has_read() -> AbstractContextManager[Any]:
    def record(session: Session, sweep_id: str, kind: str, data: Any, trial_id: str | None = None) -> int:
        sweep = session.get_one(Sweep, sweep_id)
        sweep.event_seq += 1 if kind != "trial.waiting" else 2
        session.add(Event(sweep_id=sweep_id, seq=sweep.event_seq, kind=kind, trial_id=trial_id, data=data))
        return sweep.event_seq

    return mock.patch.object(events, "record", record)


@_mutant("kill runner")
def never_makes_a_lost_pack_smaller() -> AbstractContextManager[Any]:
    return mock.patch.object(placement, "_split", lambda group, histories: [group])


@_mutant("kill runner")
def charges_every_trial_of_a_lost_pack() -> AbstractContextManager[Any]:
    def move_on(session: Any, sweep: Any, trial: Any, *rest: Any) -> None:
        trial.infrastructure_failures += 1
        original(session, sweep, trial, *rest)

    original = lost_packs._move_on
    return mock.patch.object(lost_packs, "_move_on", move_on)


@_mutant("end runner in Ray", "kill head")
def takes_every_loss_for_a_crash() -> AbstractContextManager[Any]:
    def mark_lost(self: ReconcileContext, pack: Any, domain: Any, *rest: Any) -> None:
        original(self, pack, "process", *rest)

    original = ReconcileContext.mark_lost
    return mock.patch.object(ReconcileContext, "mark_lost", mark_lost)


@_mutant("kill head", "head away")
def does_not_notice_another_cluster() -> AbstractContextManager[Any]:
    return mock.patch.object(controller.Controller, "_compare_identity")


@_mutant("kill runner")
def moves_only_the_first_trial_of_a_lost_pack() -> AbstractContextManager[Any]:
    def open_of_pack(session: Session, pack_id: str) -> dict[str, Attempt]:
        return dict(list(original(session, pack_id).items())[:1])

    original = lost_packs.attempts.open_of_pack
    return mock.patch.object(lost_packs, "attempts", _Instead(lost_packs.attempts, open_of_pack=open_of_pack))


@_mutant("submit")
def ends_a_sweep_whose_trials_still_wait() -> AbstractContextManager[Any]:
    def any_unfinished(session: Session, sweep_id: str) -> bool:
        query = select(Trial.id).where(Trial.sweep_id == sweep_id, Trial.state == "running")
        return session.scalar(query.limit(1)) is not None

    return mock.patch.object(open_trials, "any_unfinished", any_unfinished)


@_mutant("verb on sweep", "kill runner")
def cancels_the_lost_trials_of_a_stopping_sweep() -> AbstractContextManager[Any]:
    lost_trials = sweep_lifecycle.attempts.lost_trials
    nobody = _Instead(sweep_lifecycle.attempts, lost_trials=lambda session, ids: lost_trials(session, []))
    return mock.patch.object(sweep_lifecycle, "attempts", nobody)


@_mutant("submit")
def ends_a_pack_in_a_second_transaction() -> AbstractContextManager[Any]:
    """The reports of a pack's end are stored, and the pack's end is left to a transaction that may never come."""

    @contextmanager
    def mutated() -> Iterator[None]:
        def is_worth_storing(self: RunnerPoller, poll: Any, pack: Any) -> bool:
            return any(report.seq > pack.last_seq for report in poll.reports)

        def end(pack: Any, reason: str | None = None) -> None:
            if reason is not None:
                original(pack, reason)

        original = packs.end
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(packs, "end", end))
            stack.enter_context(mock.patch.object(RunnerPoller, "_is_worth_storing", is_worth_storing))
            yield

    return mutated()


@_mutant("kill controller")
def sends_a_trial_to_a_runner_before_that_is_stored() -> AbstractContextManager[Any]:
    """A successor does not know it, and starts the trial elsewhere."""

    def give(self: refilling.PackRefiller, pack: Any, trial_ids: Any, round_: Any) -> None:
        self._send(pack, round_.open[pack.id] | set(trial_ids))
        original(self, pack, trial_ids, round_)

    original = refilling.PackRefiller._give
    return mock.patch.object(refilling.PackRefiller, "_give", give)


@_mutant("kill controller", "controller away for long")
def leaves_a_trial_with_a_runner_that_never_took_it() -> AbstractContextManager[Any]:
    """What was given to a runner and not sent, or came when it had ended, is neither sent again nor given back."""

    @contextmanager
    def mutated() -> Iterator[None]:
        def note(self: refilling.PackRefiller, pack_id: str, poll: Any) -> None:
            original(self, pack_id, poll)
            with self._context.read() as session:
                given = frozenset(refilling.attempts.open_of_pack(session, pack_id))
            self._answers[pack_id] = refilling._Answer(poll.state, given)

        original = refilling.PackRefiller.note
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(refilling.PackRefiller, "note", note))
            stack.enter_context(mock.patch.object(ingest, "_give_back"))
            yield

    return mutated()


@_mutant("kill runner")
def charges_the_last_trial_of_a_lost_pack() -> AbstractContextManager[Any]:
    """As if it had been alone there, although others were with it before."""

    def count_of_pack(session: Session, pack_id: str) -> int:
        return len(lost_packs.attempts.open_of_pack(session, pack_id))

    return mock.patch.object(lost_packs.attempts, "count_of_pack", count_of_pack)


@_mutant("rerun or extend")
def keeps_the_document_of_a_sweep_that_was_extended() -> AbstractContextManager[Any]:
    return mock.patch.object(sweeps, "trial_count", return_value=0)


@_mutant("rerun or extend")
def forgets_that_a_trial_was_given_more_steps() -> AbstractContextManager[Any]:
    def plan_longer(spec: Any, number: int, params: Any, added_steps: int) -> Any:
        return original(spec, number, params, 0)

    original = runners.plan_longer
    return mock.patch.object(runners, "plan_longer", plan_longer)


@_mutant("rerun or extend")
def leaves_the_first_end_of_a_trial_in_the_outbox() -> AbstractContextManager[Any]:
    return mock.patch.object(outbox, "_drop_ends")


@_mutant("change", "submit")
def charges_trials_that_made_room() -> AbstractContextManager[Any]:
    def store_end(session: Session, trial: Trial, attempt: Attempt, report: Any, *rest: Any) -> None:
        original(session, trial, attempt, report, *rest)
        trial.preemptions += attempt.cause == "preemption"

    original = ingest._store_end
    return mock.patch.object(ingest, "_store_end", store_end)


@_mutant("submit", "verb on trial")
def preempts_packs_of_equal_priority() -> AbstractContextManager[Any]:
    def reserve(self: ClusterRoom, needs: Any, below: int | None, seconds: float) -> Any:
        return original(self, needs, 1_000, seconds)

    original = ClusterRoom.reserve
    return mock.patch.object(ClusterRoom, "reserve", reserve)


@_mutant("submit")
def tells_mlflow_of_an_end_twice() -> AbstractContextManager[Any]:
    def trial_ended(session: Session, trial: Trial) -> None:
        original(session, trial)
        original(session, trial)

    original = outbox.trial_ended
    return mock.patch.object(outbox, "trial_ended", trial_ended)


@_mutant("submit")
def proposes_points_that_no_seed_decides() -> AbstractContextManager[Any]:
    def next_points(spec: Any, earlier: Any, most: int) -> Any:
        return list(reversed(original(spec, earlier, most)))

    original = sweep_lifecycle.next_points
    return mock.patch.object(sweep_lifecycle, "next_points", next_points)


class _Instead:
    """A module with some of its functions replaced, for one module that uses it."""

    def __init__(self, module: Any, **functions: Any) -> None:
        self._module = module
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

"""What must hold after every schedule. Each rule is in one place, and returns what breaks it, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import states
from service.states import SWEEP_ENDED, TRIAL_ENDED
from service.store import packs
from service.store.tables import Attempt, Event, OutboxEntry, Pack, PackLine, Sweep, Trial, TrialReport
from tests.simulation.faults import SLACK
from tests.simulation.runner import STEPS_PER_SECOND, loss_at
from tests.simulation.schedule import Schedule, points_for, row_of, spec_of
from tests.simulation.user import MORE_STEPS
from tests.simulation.world import World

SECONDS_OF_A_TRIAL = 8.0
"""How long a trial may take alone beside its steps: start-up, and the ticks before, between and after them."""

PREEMPTION_SECONDS = 30.0
"""How long packs of one sweep may be put off by another, and may take to be started again."""


def time_limit(schedule: Schedule) -> float:
    """Return within how many seconds after the last fault all sweeps must have ended."""
    work = sum(row_of(position)[1] * _seconds_of_a_trial(position) for position in schedule.sweeps)
    again = 1 + sum("runner" in fault.kind or "head" in fault.kind or "away" in fault.kind for fault in schedule.faults)
    slack = sum(SLACK[fault.kind] for fault in schedule.faults)
    beside = PREEMPTION_SECONDS * (len(schedule.sweeps) - 1)
    return 20.0 + slack + work * again + beside + (60.0 if schedule.poison else 0.0)


def _seconds_of_a_trial(position: int) -> float:
    return SECONDS_OF_A_TRIAL + spec_of(position).training.steps / STEPS_PER_SECOND


def violations(world: World) -> list[str]:
    """Return what must not be after a schedule: empty if everything is as it must be."""
    found = list(world.violations)
    with world.database.read() as session:
        open_ones = [sweep.id for sweep in session.scalars(select(Sweep)) if sweep.state not in SWEEP_ENDED]
        if open_ones:
            # of a sweep that has not ended, only the one thing is to be said
            late = f"not ended {time_limit(world.schedule):.0f} s after the last fault: {', '.join(open_ones)}"
            return [*found, late]
        for sweep in session.scalars(select(Sweep).order_by(Sweep.id)):
            of_sweep = list(session.scalars(select(Trial).where(Trial.sweep_id == sweep.id).order_by(Trial.number)))
            found += _events(session, sweep)
            found += _sweep_end(world, sweep, of_sweep)
            own = select(Pack.id).where(Pack.sweep_id == sweep.id)
            size = Counter(session.scalars(select(Attempt.pack_id).where(Attempt.pack_id.in_(own))))
            for trial in of_sweep:
                found += _trial(session, world, sweep, trial, size)
        priorities = {spec_of(position).priority for position in world.user.sweep_ids.values()}
        if not world.user.changed and len(priorities) == 1:
            preempted = session.scalars(select(Pack.id).where(Pack.preempted.is_not(None)))
            found += [f"pack {pack_id} was preempted among sweeps of equal priority" for pack_id in preempted]
        found += _output(session, world)
        found += [f"pack {pack.id} is open after all sweeps have ended" for pack in packs.open_packs(session)]
    found += _runners(world)
    return found


def may_be_charged(world: World, trial: Trial, attempts_of_it: list[Attempt], size: Counter[str]) -> int:
    """Return how many infrastructure failures a trial may have at most. This is the one place for the rule.

    A lost process charges the trial that was alone in it. A runner that somebody ended and a lost head charge nobody.
    A runner that is given up because it is silent counts as a lost process.
    """
    silenced = {r.assignment.pack_id for r in world.runners if r.stopped_until}
    crashed = {r.assignment.pack_id for r in world.runners if r.death and r.death.cause == "process"}
    lost = [a for a in attempts_of_it if a.outcome == "lost" and a.pack_id in silenced | crashed]
    return sum(size[attempt.pack_id] == 1 for attempt in lost)


def _trial(session: Session, world: World, sweep: Sweep, trial: Trial, size: Counter[str]) -> Iterator[str]:
    position = world.user.sweep_ids[sweep.id]
    spec, points = spec_of(position), points_for(position)
    if trial.params != points[trial.number]:
        yield f"trial {trial.id} has the point {trial.params}, and without faults {points[trial.number]}"
    yield from _reports(session, trial, spec.training.report_interval)
    rows = list(session.scalars(select(Attempt).where(Attempt.trial_id == trial.id).order_by(Attempt.number)))
    if [row.number for row in rows] != list(range(1, len(rows) + 1)):
        yield f"the attempts of {trial.id} have the numbers {[row.number for row in rows]}"
    if any(row.ended_at is None for row in rows):
        yield f"an attempt of {trial.id} is open after its sweep has ended"
    allowed = may_be_charged(world, trial, rows, size)
    if trial.infrastructure_failures > allowed:
        yield f"{trial.id} is charged {trial.infrastructure_failures} losses, and had {allowed} that charge it"
    counted = [row for row in rows if row.number > trial.attempts_before]
    ordered = sum(row.outcome == "lost" and row.cause == "preemption" for row in counted)
    failed = sum(row.outcome == "failed" for row in counted)
    if (trial.preemptions, trial.user_failures) != (ordered, failed):
        found = f"{trial.preemptions} ends from outside and {trial.user_failures} failures"
        yield f"{trial.id} is charged {found}, and had {ordered} and {failed}"
    used_up = trial.infrastructure_failures > spec.retries.infrastructure
    if trial.state == "failed" and trial.id not in world.failing and not used_up:
        yield f"{trial.id} has failed, with retries left: {trial.reason}"
    steps = spec.training.steps + MORE_STEPS * world.user.longer[trial.id]
    if trial.state == "succeeded" and trial.step != steps:
        yield f"{trial.id} has succeeded at step {trial.step} of {steps}"
    lost = sum(row.outcome in ("lost", "failed") for row in rows) + world.user.reruns[trial.id]
    trained = sum(runner.trained.get(trial.id, 0) for runner in world.runners)
    if trained > steps + lost * spec.training.checkpoint_interval:
        yield f"{trial.id} trained {trained} steps with {lost} losses, failures and reruns: too many were redone"


def _reports(session: Session, trial: Trial, interval: int) -> Iterator[str]:
    rows = list(session.scalars(select(TrialReport).where(TrialReport.trial_id == trial.id).order_by(TrialReport.step)))
    steps = [row.step for row in rows]
    if steps != list(range(interval, trial.step + 1, interval)):
        yield f"{trial.id} at step {trial.step} has reports of {steps}"
    if any(row.values != {"val/loss": loss_at(trial.number, row.step)} for row in rows):
        yield f"{trial.id} has other values than without faults"
    sent = select(OutboxEntry).where(OutboxEntry.trial_id == trial.id).order_by(OutboxEntry.id)
    entries = list(session.scalars(sent))
    if sorted(entry.payload["step"] for entry in entries if entry.kind == "metrics") != steps:
        yield f"the outbox does not have each report of {trial.id} once"
    kinds = Counter(entry.kind for entry in entries)
    if (kinds["trial"], kinds["ended"]) != (1, 1):
        yield f"the outbox has {kinds['trial']} beginnings and {kinds['ended']} ends of {trial.id}"


def _events(session: Session, sweep: Sweep) -> Iterator[str]:
    rows = list(session.scalars(select(Event).where(Event.sweep_id == sweep.id).order_by(Event.seq)))
    if [row.seq for row in rows] != list(range(1, sweep.event_seq + 1)):
        yield f"the events of {sweep.id} have gaps"
    state = "queued"
    of_trial: dict[str, str] = {}
    for row in rows[1:]:
        noun, _, to = row.kind.partition(".")
        if noun == "sweep" and to in states.SWEEP_MOVES:
            if row.data["from"] != state or to not in states.SWEEP_MOVES[state]:  # type: ignore[index]
                yield f"{sweep.id} went from {state} to {to}"
            state = to
        if noun == "trial" and to in states.TRIAL_MOVES and row.trial_id:
            before = of_trial.get(row.trial_id, "waiting")
            if row.data["from"] != before or to not in states.TRIAL_MOVES[before]:  # type: ignore[index]
                yield f"{row.trial_id} went from {before} to {to}"
            of_trial[row.trial_id] = to
    if state != sweep.state:
        yield f"the last event of {sweep.id} is {state}, and its state {sweep.state}"


def _sweep_end(world: World, sweep: Sweep, of_sweep: list[Trial]) -> Iterator[str]:
    every = [verb for subject, verb in world.user.verbs if subject == sweep.id]
    # what was asked for before the sweep went on after an end has had its effect
    before = len(every) - every[::-1].index("reopened") if "reopened" in every else 0
    verbs, broken_off = every[before:], bool({"stop", "cancel"} & set(every[:before]))
    on_trials = {subject for subject, _ in world.user.verbs if subject.startswith(f"{sweep.id}-")}
    ended = {"cancel": "cancelled", "stop": "stopped"}
    expected = ended["cancel"] if "cancel" in verbs else ended["stop"] if "stop" in verbs else None
    if expected is not None and sweep.state != expected:
        yield f"{sweep.id} ended as {sweep.state} after an acknowledged {verbs}"
    if expected is None:
        result = any(t.state == "succeeded" or (t.state == "pruned" and t.objective is not None) for t in of_sweep)
        if sweep.state != ("succeeded" if result else "failed"):
            yield f"{sweep.id} ended as {sweep.state}: {sweep.reason}"
        if len(of_sweep) != sweep.trial_count:
            yield f"{sweep.id} ended with {len(of_sweep)} of {sweep.trial_count} trials"
        asked = row_of(world.user.sweep_ids[sweep.id])[1] + world.user.added[sweep.id]
        if not broken_off and sweep.trial_count != asked:
            yield f"{sweep.id} has {sweep.trial_count} trials, and was submitted and extended to {asked}"
    for trial in of_sweep:
        if trial.state not in TRIAL_ENDED:
            yield f"{sweep.id} ended while {trial.id} is {trial.state}"
        began = trial.started_at is not None and not world.user.reruns[trial.id]
        unasked = not broken_off and (expected is None or (expected == "stopped" and began))
        if trial.state == "cancelled" and trial.id not in on_trials and unasked:
            yield f"{trial.id} is cancelled in a sweep that is {sweep.state}, and nobody asked for it"
        never = _prunes_never(world, sweep.id) or world.user.longer[trial.id]
        if trial.state == "pruned" and trial.id not in on_trials and never:
            yield f"{trial.id} was pruned, and nobody asked for it"


def _output(session: Session, world: World) -> Iterator[str]:
    """Lines come with the reports, once each: all that were printed before the last thing that was taken."""
    for runner in world.runners:
        pack = packs.get(session, runner.assignment.pack_id)
        rows = session.scalars(select(PackLine).where(PackLine.pack_id == pack.id).order_by(PackLine.seq))
        found = [(row.seq, row.trial_id, row.text) for row in rows]
        if found != [(line.seq, line.trial_id, line.text) for line in runner.printed if line.seq <= pack.last_seq]:
            yield f"the output of pack {pack.id} is not what its runner has printed: {found}"


def _prunes_never(world: World, sweep_id: str) -> bool:
    """Return whether a sweep has no pruning rule."""
    return spec_of(world.user.sweep_ids[sweep_id]).early_stopping.kind == "none"


def _runners(world: World) -> Iterator[str]:
    for runner in world.living_runners():
        yield f"the runner of pack {runner.assignment.pack_id} still lives a while after all sweeps have ended"
    # a report is sent once, unless a controller or an answer was lost before the next poll acknowledged it
    lost = sum(fault.kind.endswith(("controller", "for long", "error", "answers")) for fault in world.schedule.faults)
    for runner in world.runners:
        if runner.clash is not None:
            yield f"command number {runner.clash} of pack {runner.assignment.pack_id} was used twice"
        most = max(runner.deliveries.values(), default=0)
        if most > 1 + 3 * lost:  # one fault loses up to three answers
            yield f"a report of pack {runner.assignment.pack_id} was asked for {most} times"

"""Starting what waits: which sweeps and trials, in which packs, in one transaction per pack."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.controller.cluster import Node
from service.controller.placement import Room, fresh_packs, suspects
from service.store import packs, sweeps, trials
from service.store.tables import Pack, Sweep, Trial
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

LOOK_AHEAD = 1_000
"""Waiting trials looked at in a tick."""
SEEN_SECONDS = 5.0


def long_ago(at: float | None) -> bool:
    return at is None or time.time() - at > SEEN_SECONDS


def room(session: Session, nodes: Sequence[Node]) -> Room:
    return Room.left(nodes, packs.open_packs(session))


def waiting(session: Session, sweep_id: str) -> list[Trial]:
    """The trials of a sweep that are to run now; of a stopping one those that were lost: ``settling`` ends the rest."""
    if session.get_one(Sweep, sweep_id).state not in ("running", "stopping"):
        return []
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state == "waiting", Trial.wanted.is_(None))
    return list(session.scalars(query.order_by(Trial.number).limit(LOOK_AHEAD)))


Resolved = list[tuple[Trial, TrialSpec]]


def sorted_out(spec: SweepSpec, candidates: Sequence[Trial]) -> tuple[Resolved, dict[str, str]]:
    """The trials that can be trained, and by id why others cannot: values in the space that do not go together."""
    sound, unsound = [], {}
    for trial in candidates:
        plan = plan_trial(spec, trial.number, trial.params)
        if plan.spec is None:
            unsound[trial.id] = plan.reason
        else:
            sound.append((trial, plan.spec))
    return sound, unsound


def refuse(session: Session, sweep_id: str, reasons: Mapping[str, str]) -> None:
    """End trials that cannot be trained, each with its reason; ``settling`` then ends a sweep that has no others."""
    sweeps.hold(session, sweep_id)
    for trial_id, reason in reasons.items():
        trial = session.get_one(Trial, trial_id)
        if trial.state == "waiting":
            trials.move(session, trial, "failed", reason)


def groups(session: Session, spec: SweepSpec, sound: Resolved, free: Room) -> list[list[Trial]]:
    """The next packs, as many as there is room for: lost trials first, since they hold up their sweep's end."""
    candidates = [trial for trial, _ in sound]
    last = packs.last_attempts(session, [trial.id for trial in candidates])
    ids = {attempt.pack_id for attempt in last.values()}
    sizes = {pack.id: len(pack.trial_ids) for pack in session.scalars(select(Pack).where(Pack.id.in_(ids)))}
    lost = suspects(candidates, last, sizes)
    known = {trial.id for group in lost for trial in group}
    fresh = [(trial, resolved) for trial, resolved in sound if trial.id not in known]
    return [*lost, *fresh_packs(fresh, spec.resources, free)][: free.count(spec.resources)]


def launch(session: Session, sweep_id: str, trial_ids: Sequence[str], spec: SweepSpec, term: int) -> Pack | None:
    """Plan a pack, with attempts, and move its trials to running; None where a verb came in between."""
    sweeps.hold(session, sweep_id)
    sweep = session.get_one(Sweep, sweep_id)
    if sweep.state not in ("running", "stopping"):
        return None
    chosen = [session.get_one(Trial, trial_id) for trial_id in trial_ids]
    chosen = [trial for trial in chosen if trial.state == "waiting" and trial.wanted is None]
    if not chosen:
        return None
    pack = packs.plan(session, chosen, spec.resources.cpus, spec.resources.gpus, term)
    for trial in chosen:
        trials.move(session, trial, "running")
    return pack


def stalled(session: Session, nodes: Sequence[Node]) -> list[str]:
    """Sweeps whose packs no node could hold, for a message; they wait for a larger node."""
    query = select(Sweep).where(Sweep.state == "running").order_by(Sweep.created_at)
    found = []
    for sweep in session.scalars(query):
        needs = sweep.spec.get("resources", {})
        cpus, gpus = float(needs.get("cpus", 1.0)), float(needs.get("gpus", 0.0))
        open_trials = select(func.count()).where(Trial.sweep_id == sweep.id, Trial.state == "waiting")
        if not any(n.cpus >= cpus and n.gpus >= gpus for n in nodes) and session.scalar(open_trials):
            found.append(f"{sweep.id} needs {cpus:g} CPUs and {gpus:g} GPUs on one node")
    return found

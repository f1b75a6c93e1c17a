"""Turn the rows of sweeps and trials into the documents with which the API answers.

The documents are plain dicts that are written as JSON once. A test compares those of every call with its schema.
A sweep is shown from its row's facts, never by reading its document with the classes of this version: a document that
an earlier release stored is shown for ever.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from service import schemas
from service.api import dry_run, points, queue_words
from service.schemas.times import rfc3339
from service.settings import ApiSettings
from service.states import SWEEP_ENDED, TRIAL_ENDED, TRIAL_STATES
from service.store import best_objectives, checkpoints, components, projections, queue, sweeps, tags, trials
from service.store import points as stored_points
from service.store.sweep_summary import advice_on
from service.store.tables import Projection, Sweep, Trial
from workers.spec.ranking import Direction
from workers.spec.sweep import SweepSpec

TRAINING = "?workflowType=machine_learning"
"""The query of a run's address that makes MLflow show its training runs; without it MLflow opens its GenAI side."""
TIMES = ("created_at", "started_at", "ended_at")

_SHOWN = ("id", "name", "owner", "state", "reason", "priority", "max_parallel", "archived", "planned_steps")
_TRIAL = tuple(
    name for name in schemas.TrialView.model_fields if name not in ("links", "waiting_for") and name not in TIMES
)
Tally = dict[str, tuple[int, int]]
"""The number of trials in each state, and the steps that they have done."""
_NO_TRIALS = dict.fromkeys(TRIAL_STATES, 0)


def sweep(session: Session, row: Sweep, settings: ApiSettings) -> dict[str, Any]:
    """Return a ``SweepView``. While the sweep has not ended, its warnings say which resources no node has."""
    point = stored_points.best(session, row)
    best = stored_points.best_trial(session, row, point)
    run, lacks = projections.of_view(session, row.id)
    tally = trials.tally(session, [row.id])[row.id]
    over = trials.planned_steps_of_ended(session, [row.id]).get(row.id, 0) if row.steps_vary else 0
    added = trials.added_steps_to_come(session, [row.id]).get(row.id, 0)
    shown = _summary(row, tally, over, added) | _beside(session, [row], {row.id: tally})[row.id]
    return shown | {
        "best": trial(session, best) if best else None,
        "best_point": points.views(session, row, [point])[0] if point else None,
        "mlflow_url": mlflow_url(settings, run) if run else None,
        "mlflow_lacks": lacks,
        "checkpoint_bytes": checkpoints.bytes_of_sweeps(session, [row.id]).get(row.id, 0),
        "warnings": _warnings(session, row),
        "spec": _shown_document(row),
    }


def new_sweep(session: Session, row: Sweep) -> dict[str, Any]:
    """Return the ``SweepView`` of a sweep that was stored just now: it has no trials, and MLflow does not know it."""
    nothing: dict[str, Any] = {
        "best": None,
        "best_point": None,
        "mlflow_url": None,
        "mlflow_lacks": {},
        "checkpoint_bytes": 0,
    }
    shown = _summary(row, {}, 0) | _beside(session, [row], {row.id: {}})[row.id]
    return shown | nothing | {"warnings": _warnings(session, row), "spec": _shown_document(row)}


def sweep_list(session: Session, rows: Sequence[Sweep]) -> list[dict[str, Any]]:
    """Return a ``SweepSummary`` for each sweep."""
    ids = [row.id for row in rows]
    tallies = trials.tally(session, ids)
    vary = [row.id for row in rows if row.steps_vary]
    over = trials.planned_steps_of_ended(session, vary) if vary else {}
    added, beside = trials.added_steps_to_come(session, ids), _beside(session, rows, tallies)
    return [_summary(row, tallies[row.id], over.get(row.id, 0), added.get(row.id, 0)) | beside[row.id] for row in rows]


def trial(session: Session, row: Trial) -> dict[str, Any]:
    """Return a ``TrialView``, with the paths of the trial's metrics, checkpoint, model and logs."""
    return trials_of(session, sweeps.get(session, row.sweep_id), [row])[0]


def trials_of(session: Session, of: Sweep, rows: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return a ``TrialView`` for each of these trials of a sweep."""
    waits = any(row.state == "waiting" for row in rows)
    text = queue_words.of_waiting_trials(of, queue.read(session)) if waits else None
    return [_trial_view(row, text) for row in rows]


def _trial_view(row: Trial, waiting_for: str | None) -> dict[str, Any]:
    base = f"/v1/trials/{row.id}"
    if row.wanted is not None:
        waiting_for = queue_words.TO_END
    return {
        **{name: getattr(row, name) for name in _TRIAL},
        **_times(row),
        "waiting_for": waiting_for if row.state == "waiting" else None,
        "links": {
            "self": base,
            "metrics": f"{base}/metrics",
            "checkpoint": f"{base}/checkpoint",
            "model": f"{base}/model",
            "logs": f"{base}/logs",
        },
    }


def objective(row: Sweep) -> dict[str, str]:
    """Return an ``ObjectiveView``."""
    return {"metric": row.metric, "direction": row.direction}


def mlflow_url(settings: ApiSettings, run: Projection) -> str:
    """Return the address of a run's page, as a browser reaches it."""
    return f"{settings.mlflow_public_url.rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.run_id}{TRAINING}"


def spec_of(row: Sweep) -> SweepSpec | None:
    """Return a sweep's document; None if an earlier release stored one that this version does not read."""
    try:
        return SweepSpec.model_validate(row.spec)
    except ValidationError:
        return None


def direction(row: Sweep) -> Direction:
    """Return which objectives are better."""
    return stored_points.direction_of(row)


def _shown_document(row: Sweep) -> dict[str, Any]:
    """Return a sweep's document without the results of earlier sweeps, which may be a thousand."""
    warm = row.spec.get("search", {}).get("warm_start")
    if not warm:
        return row.spec
    return row.spec | {"search": row.spec["search"] | {"warm_start": {**warm, "results": []}}}


def _warnings(session: Session, row: Sweep) -> list[dict[str, Any]]:
    advice = row.advice
    if advice is None:
        spec = spec_of(row)
        advice = advice_on(spec) if spec else {"data": [], "values": []}
    found = [*advice["data"], *advice["values"]]
    if row.state not in SWEEP_ENDED:
        nodes = components.nodes(session)
        found += [w.as_dict() for w in dry_run.no_room(row.spec.get("resources", {}), nodes)]
    return found


def _beside(session: Session, rows: Sequence[Sweep], tallies: Mapping[str, Tally]) -> dict[str, dict[str, Any]]:
    """Return the fields of ``SweepSummary`` that are read beside the rows of sweeps, by id.

    They are the names of their tasks, their tags, their best objectives, and what they wait for. Their documents are
    not loaded.
    """
    tagged = tags.of_sweeps(session, [row.id for row in rows])
    names, notes = sweeps.tasks_and_samplers(session, [row.id for row in rows]), queue.read(session)
    best = best_objectives.best(session, best_objectives.rules_of(session, [row.id for row in rows]))
    found = {}
    for row in rows:
        task, sampler = names.get(row.id, (None, None))
        counts = {state: count for state, (count, _) in tallies[row.id].items()}
        waits = queue_words.of_sweep(row, sampler, counts, notes)
        best_objective = best.get(row.id)
        found[row.id] = {"task": task or "", "tags": tagged[row.id], "best_objective": best_objective, **waits}
    return found


def _summary(row: Sweep, tally: Tally, over: int, added: int = 0) -> dict[str, Any]:
    """Return a ``SweepSummary``.

    Args:
        row: The sweep.
        tally: The number of its trials in each state, and the steps that they have done.
        over: The steps that its ended trials had before them at first, if trials differ in their steps.
        added: The steps that users have added to trials that have not ended.
    """
    base = f"/v1/sweeps/{row.id}"
    counts = _NO_TRIALS | {state: count for state, (count, _) in tally.items()}
    counts["cancelled" if row.state in SWEEP_ENDED else "waiting"] += row.trial_count - sum(counts.values())
    return {
        **{name: getattr(row, name) for name in _SHOWN},
        **_times(row),
        "trials": {"total": row.trial_count} | counts,
        "progress": _progress(row, tally, over, added),
        **_eta(row, counts["running"]),
        "objective": objective(row),
        "last_event": row.event_seq,
        "links": {
            "self": base,
            "trials": f"{base}/trials",
            "events": f"{base}/events",
            "report": f"{base}/report",
            "points": f"{base}/points",
            "data": f"{base}/data",
        },
    }


def _progress(row: Sweep, tally: dict[str, tuple[int, int]], over: int, added: int) -> dict[str, int]:
    done = sum(steps for _, steps in tally.values())
    ended = [(count, steps) for state, (count, steps) in tally.items() if state in TRIAL_ENDED]
    if not row.steps_vary:
        over = sum(count for count, _ in ended) * row.planned_steps // max(1, row.trial_count)
    left = 0 if row.state in SWEEP_ENDED else max(0, row.planned_steps - over) + added
    return {"done": done, "total": sum(steps for _, steps in ended) + left}


def _eta(row: Sweep, running: int) -> dict[str, Any]:
    """Return when a sweep is expected to end, and the seconds until then, or why that cannot be said."""
    why = {
        "queued": "it has not begun",
        "paused": "it is paused",
        "cancelling": "it is being cancelled",
    }.get(row.state)
    if row.state in SWEEP_ENDED:
        return {"eta_at": None, "seconds_left": None, "eta_reason": None}
    left = None if row.eta_at is None else row.eta_at - time.time()
    if why is None and not running:
        why = "none of its trials runs at the moment: they wait for room in the cluster, or for results"
    if why is None and left is None:
        why = "nothing is known of the speed of its packs yet; that takes until their first reports"
    if why is None and left is not None and left < 0:
        why = "it takes longer than was expected; the next estimate follows in some seconds"
    if why is not None or left is None or row.eta_at is None:
        return {"eta_at": None, "seconds_left": None, "eta_reason": why}
    return {"eta_at": rfc3339(row.eta_at), "seconds_left": round(left, 1), "eta_reason": None}


def _times(row: Sweep | Trial) -> dict[str, str | None]:
    moments = ((name, getattr(row, name)) for name in TIMES)
    return {name: None if moment is None else rfc3339(moment) for name, moment in moments}

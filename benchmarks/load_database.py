"""A full database for the load benchmark: thousands of sweeps with their trials, reports, events and attempts."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from service.api.submission import stored
from service.store.database import Database
from service.store.sweep_summary import facts_of
from service.store.tables import Attempt, Base, Event, Pack, Projection, Sweep, Trial, TrialReport
from workers.spec.expand import points_of, trial_count
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec

ROWS = 5_000
"""Rows of one insert statement."""
ENDED = ("succeeded", "failed", "stopped", "cancelled")
DAY = 86_400.0


class Filling(NamedTuple):
    """How much is stored: sweeps of ``few`` trials, of which each ``nth`` has ``many``, and the reports of a trial."""

    sweeps: int
    few: int
    many: int
    nth: int
    reports: int


FULL = Filling(sweeps=5_000, few=8, many=508, nth=250, reports=2)
"""5,000 sweeps, 50,000 trials and 98,000 reports; every fiftieth trial has none."""
QUICK = Filling(sweeps=100, few=8, many=58, nth=50, reports=2)


def document(number: int, trials: int) -> dict[str, Any]:
    """Return a sweep document with ``trials`` trials, as a user posts it; documents of different numbers differ."""
    kinds: tuple[dict[str, Any], ...] = (
        {"task": {"name": "adding", "length": 100}, "training": {"steps": 600}},
        {"task": {"name": "copy", "length": 50}, "training": {"steps": 1000, "batch_size": 64}},
        {"task": {"name": "adding", "length": 50}, "model": {"hidden_size": 64}, "training": {"steps": 300}},
    )
    space = {
        "model.margin": {"low": 0.001, "high": 0.1, "log": True},
        "model.reflectors": {"values": [2, 4, 8, 16]},
        "training.lr": {"low": 0.0001, "high": 0.01, "log": True},
    }
    search = {"sampler": "random", "trials": trials, "seed": number}
    return {"name": f"load {number}", "space": space, "search": search, **kinds[number % len(kinds)]}


def fill(database: Database, filling: Filling, seed: int = 0) -> list[str]:
    """Store sweeps with all that belongs to them, without the outbox, and return the sweeps' ids, the oldest first.

    Nine sweeps of ten have ended. Every call with the same arguments stores the same, but for the ids.
    """
    numbers = random.Random(seed)
    kinds: dict[tuple[int, int], SweepSpec] = {}
    ids: list[str] = []
    for chunk in _batches(range(filling.sweeps), 100):
        rows: dict[type[Base], list[dict[str, Any]]] = {
            kind: [] for kind in (Sweep, Pack, Trial, Attempt, TrialReport, Event, Projection)
        }
        for number in chunk:
            trials = filling.many if number % filling.nth == 0 else filling.few
            spec = kinds.get((number % 3, trials)) or kinds.setdefault(
                (number % 3, trials), parse_sweep(document(number, trials))
            )
            ids.append(_add(rows, spec, number, filling, numbers))
        with database.write() as session:
            _store(session, rows)
    if database.url.get_backend_name() == "postgresql":
        with database.write() as session:
            session.execute(text("ANALYZE"))  # as its autovacuum does within a minute; before, it reads whole tables
    return ids


def _store(session: Session, rows: dict[type[Base], list[dict[str, Any]]]) -> None:
    for kind, found in rows.items():
        for some in _batches(found, ROWS):
            session.execute(insert(kind), some)


def _add(
    rows: dict[type[Base], list[dict[str, Any]]], spec: SweepSpec, number: int, filling: Filling, numbers: random.Random
) -> str:
    """Append the rows of one sweep, and return its id."""
    id = f"sw{secrets.token_hex(5)}"
    state = numbers.choice(ENDED) if number % 10 else "running"
    began = time.time() - DAY + number
    trials = list(_trials(id, spec, state, began, numbers))
    rows[Sweep].append(
        {
            "id": id,
            "name": f"load {number}",
            "state": state,
            "trial_count": trial_count(spec),
            "event_seq": 2 + len(trials),
            "created_at": began,
            "started_at": began + 1,
            "ended_at": began + 60 if state in ENDED else None,
            "spec": stored(spec),
            **facts_of(spec)._asdict(),
        }
    )
    pack = {"id": f"{id}-p0", "sweep_id": id, "state": "ended", "trial_ids": [], "cpus": 1.0, "gpus": 0.0, "term": 1}
    rows[Pack].append(pack | {"created_at": began, "seen_at": began + 50, "ended_at": began + 60})
    rows[Trial] += trials
    rows[Projection].append({"subject_id": id, "experiment_id": "1", "run_id": secrets.token_hex(16), "deleted": False})
    seqs = count(1)
    happened = [("sweep.queued", None), ("sweep.running", None), *(("trial.metrics", trial["id"]) for trial in trials)]
    for kind, trial_id in happened:
        event = {"sweep_id": id, "seq": next(seqs), "kind": kind, "trial_id": trial_id, "at": began}
        rows[Event].append(event | {"data": {"step": 100, "values": {"val/loss": 0.5}}})
    for trial in trials:
        attempt = {"trial_id": trial["id"], "number": 1, "pack_id": pack["id"], "from_step": 0, "outcome": "succeeded"}
        rows[Attempt].append(attempt | {"started_at": began, "ended_at": began + 60})
        for step in range(1, filling.reports + 1 if trial["number"] % 50 != 49 else 1):
            values = {"train/loss": numbers.random(), "val/loss": numbers.random(), "steps_per_second": 120.0}
            rows[TrialReport].append(
                {"trial_id": trial["id"], "step": 100 * step, "values": values, "at": began + step}
            )
    return id


def _batches(items: Sequence[Any], size: int) -> Iterator[Any]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _trials(id: str, spec: SweepSpec, state: str, began: float, numbers: random.Random) -> Iterator[dict[str, Any]]:
    for number, params in enumerate(points_of(spec)):
        ended = state in ENDED or number % 2 == 0
        yield {
            "id": f"{id}-{number:04d}",
            "sweep_id": id,
            "number": number,
            "params": params,
            "state": numbers.choice(("succeeded", "succeeded", "pruned", "failed")) if ended else "waiting",
            "pack_id": f"{id}-p0",
            "step": 200,
            "objective": numbers.random() if number % 50 != 49 else None,
            "best_step": 200 if number % 50 != 49 else None,
            "created_at": began,
            "started_at": began + 1,
            "ended_at": began + 60 if ended else None,
        }

"""Times in answers are RFC 3339 strings in UTC; the rows that they come from keep seconds."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.client import timestamp
from service.schemas.times import rfc3339
from service.store import components, sweeps, trials
from service.store.database import Database
from service.store.tables import Attempt, Pack, Sweep, Trial, TrialReport

Running = tuple[Sweep, list[Trial]]
WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1795691045.1234, "2026-11-26T11:04:05.123Z"),
        (59.9996, "1970-01-01T00:01:00.000Z"),
    ],
)
def test_seconds_become_utc_with_milliseconds(seconds: float, expected: str) -> None:
    assert rfc3339(seconds) == expected
    assert timestamp(expected) == pytest.approx(seconds, abs=5e-4)


def times(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of every field that holds a time, at any depth."""
    if isinstance(document, list):
        for item in document:
            yield from times(item)
    elif isinstance(document, dict):
        for name, value in document.items():
            if name == "at" or name.endswith("_at"):
                yield name, value
            else:
                yield from times(value)


def test_every_time_in_every_answer(api: httpx.Client, database: Database, running: Running) -> None:
    sweep, made = running
    trial, before = made[0].id, time.time() - 60
    with database.write() as session:
        components.note(session, "ray", True, "1 node")
        session.add(Pack(id="p", sweep_id=sweep.id, state="ended", trial_ids=[trial], cpus=1.0, gpus=0.0, term=1))
        session.add(TrialReport(trial_id=trial, step=10, values={"val/loss": 0.5}))
        session.flush()
        session.add(Attempt(trial_id=trial, number=0, pack_id="p", from_step=0))
        row = trials.get(session, trial)
        row.objective = 0.5
        trials.move(session, row, "running")
        sweeps.move(session, sweep.id, "stopping")
        trials.move(session, row, "pruned")
        sweeps.move(session, sweep.id, "stopped")
    base = f"/v1/trials/{trial}"
    paths = ["/v1/sweeps", f"/v1/sweeps/{sweep.id}", f"/v1/sweeps/{sweep.id}/trials", f"/v1/sweeps/{sweep.id}/report"]
    paths += [base, f"{base}/metrics", f"{base}/logs", "/v1/cluster", "/health/ready"]
    answers = {path: list(times(api.get(path).json())) for path in paths}
    stream = api.get(f"/v1/sweeps/{sweep.id}/events").text.splitlines()
    answers["events"] = list(times([json.loads(line[5:]) for line in stream if line.startswith("data:")]))
    for path, found in answers.items():
        written = [value for _, value in found if value is not None]
        assert written, path
        assert all(WRITTEN.fullmatch(value) and before < timestamp(value) < time.time() + 1 for value in written), path
    names = {name for found in answers.values() for name, _ in found}
    assert names == {"at", "created_at", "started_at", "ended_at", "eta_at"}
    assert dict(answers[base])["ended_at"] is not None


def test_the_schema_says_that_they_are_times(api: httpx.Client) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["SweepView"]["properties"]["created_at"]["format"] == "date-time"
    assert schemas["EventView"]["properties"]["at"]["format"] == "date-time"

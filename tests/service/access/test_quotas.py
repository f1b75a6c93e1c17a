"""What an owner may have at a time: requests, open sweeps and trials, running trials. Keys belong to their owner."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from service.access.administration import limit_owner
from service.access.rate_limits import RateLimits
from service.api.submission import stored
from service.client import ApiError, RestClient
from service.store import owners, quotas, sweeps, trials
from service.store.database import Database
from service.store.errors import NotFound, QuotaExceeded
from service.store.tables import LOCAL_OWNER, Sweep, TrialCheckpoint
from tests.service.access.conftest import NewToken
from tests.service.api.test_errors import problem
from workers.spec.expand import trial_count
from workers.spec.parse import parse_sweep

Call = Callable[..., httpx.Response]
BACKENDS = ["sqlite", "postgresql"]


def stored_sweep(session: Session, document: dict[str, Any], owner: str) -> Sweep:
    spec = parse_sweep(document)
    return sweeps.create(session, spec.name, stored(spec), trial_count(spec), owner=owner)


def test_a_bucket_refills_with_time_and_never_holds_more_than_two_seconds() -> None:
    now = [0.0]
    limits = RateLimits(lambda: now[0])
    assert [limits.wait("ada", 5) for _ in range(10)] == [0.0] * 10
    assert limits.wait("ada", 5) == pytest.approx(0.2)
    assert limits.wait("eve", 5) == 0.0
    now[0] += 0.2
    assert [limits.wait("ada", 5) == 0.0, limits.wait("ada", 5) == 0.0] == [True, False]
    now[0] += 1_000
    assert sum(limits.wait("ada", 5) == 0.0 for _ in range(50)) == 10
    assert limits.wait("slow", 0.1) == 0.0
    assert limits.wait("slow", 0.1) == pytest.approx(10.0)


def test_too_many_requests_of_one_owner_are_told_when_to_come_again(
    call: Call, database: Database, new_token: NewToken
) -> None:
    first, second, other = new_token("ada"), new_token("ada"), new_token("eve")
    limit_owner(database, "ada", {"requests_per_second": 0.1})
    assert call("GET", "/v1/sweeps", first).status_code == 200
    answer = call("GET", "/v1/sweeps", second)
    assert problem(answer, 429)["title"] == "Too many requests"
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert call("GET", "/v1/sweeps", other).status_code == 200
    assert call("GET", "/health/live", first).status_code == 200
    limit_owner(database, "ada", {"requests_per_second": None})
    assert call("GET", "/v1/sweeps", first).status_code in (200, 429)


def test_a_client_comes_again_when_it_may(base_url: str, database: Database, new_token: NewToken) -> None:
    token = new_token("ada")
    limit_owner(database, "ada", {"requests_per_second": 2})
    with RestClient(base_url, token=token, patience=60) as client:
        assert [list(client.sweeps()) for _ in range(8)] == [[]] * 8
    with RestClient(base_url, token=token, patience=0) as client, pytest.raises(ApiError, match="429"):
        [list(client.sweeps()) for _ in range(1000)]


def test_open_sweeps_and_trials_are_bounded_and_an_end_makes_room(
    call: Call, database: Database, new_token: NewToken, document: dict[str, Any]
) -> None:
    ada, eve = new_token("ada"), new_token("eve")
    limit_owner(database, "ada", {"open_sweeps": 2, "open_trials": 9})
    first = call("POST", "/v1/sweeps", ada, json=document, headers={"Idempotency-Key": "k"}).json()["id"]
    assert call("POST", "/v1/sweeps", ada, json=document).status_code == 202
    refused = problem(call("POST", "/v1/sweeps", ada, json=document), 403)
    assert refused["title"] == "Quota exceeded"
    assert "ada has 2 sweeps that have not ended, of 2 allowed" in refused["detail"]
    again = call("POST", "/v1/sweeps", ada, json=document, headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == first, "a repeated submission is no new sweep"
    limit_owner(database, "ada", {"open_sweeps": None})
    assert "at most 9" in problem(call("POST", "/v1/sweeps", ada, json=document), 403)["detail"]
    assert call("POST", "/v1/sweeps", eve, json=document).status_code == 202
    with database.write() as session:
        sweeps.move(session, first, "failed")
    assert call("POST", "/v1/sweeps", ada, json=document).status_code == 202


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_submissions_at_once_do_not_share_the_last_place(
    backend: str, database: Database, document: dict[str, Any]
) -> None:
    with database.write() as session:
        owners.ensure(session, "ada")
        owners.limit(session, "ada", {"open_sweeps": 3})

    def submit(_: int) -> bool:
        try:
            with database.write() as session:
                quotas.admit(session, "ada", 1)
                stored_sweep(session, document, "ada")
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(16))) == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_owner_s_running_trials_are_counted_over_all_their_sweeps(
    backend: str, database: Database, document: dict[str, Any]
) -> None:
    with database.write() as session:
        owners.ensure(session, "ada")
        own = [stored_sweep(session, document, "ada") for _ in range(2)]
        other = stored_sweep(session, document, LOCAL_OWNER)
        made = {sweep.id: trials.create(session, sweep, 0, [{}] * 5) for sweep in (*own, other)}
        first, second = (sweep.id for sweep in own)
        assert quotas.within(session, second, made[second]) == made[second], "without a limit all may run"
        owners.limit(session, "ada", {"running_trials": 3})
        assert quotas.within(session, second, made[second]) == made[second][:3]
        for trial in made[first][:2]:
            trials.move(session, trial, "running")
        session.flush()
        assert quotas.within(session, second, made[second]) == made[second][:1]
        trials.move(session, made[first][2], "running")
        session.flush()
        assert quotas.within(session, second, made[second]) == []
        owners.limit(session, "ada", {"running_trials": 1})
        assert quotas.within(session, second, made[second]) == []
        assert quotas.within(session, other.id, made[other.id]) == made[other.id]
        trials.move(session, made[first][0], "succeeded")
        owners.limit(session, "ada", {"running_trials": 4})
        session.flush()
        assert quotas.within(session, first, made[first][3:]) == made[first][3:]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_new_sweep_needs_room_among_the_stored_bytes_of_its_owner(
    backend: str, database: Database, document: dict[str, Any]
) -> None:
    with database.write() as session:
        owners.ensure(session, "ada")
        owners.limit(session, "ada", {"stored_bytes": 10**10})
        for owner, size in (("ada", 6 * 10**9), ("ada", None), ("eve", 10**12)):
            sweep = stored_sweep(session, document, owner)
            (trial,) = trials.create(session, sweep, 0, [{}])
            session.add(TrialCheckpoint(trial_id=trial.id, step=10, path="p", size=size))
            session.add(TrialCheckpoint(trial_id=trial.id, step=5, path="p", size=10**12, removed_at=1.0))
        quotas.admit(session, "ada", 1)
        owners.limit(session, "ada", {"stored_bytes": 6 * 10**9})
        with pytest.raises(QuotaExceeded, match="take 6,000,000,000 bytes, of 6,000,000,000 allowed"):
            quotas.admit(session, "ada", 1)


def test_who_never_had_a_token_has_no_limits_and_no_row(database: Database) -> None:
    with database.write() as session:
        quotas.admit(session, LOCAL_OWNER, 10**9)
        with pytest.raises(NotFound, match="begins with their first token"):
            owners.limit(session, LOCAL_OWNER, {"open_sweeps": 1})


def test_the_key_of_one_owner_has_nothing_to_do_with_that_of_another(
    call: Call, new_token: NewToken, document: dict[str, Any]
) -> None:
    ada, eve = new_token("ada"), new_token("eve")
    key = {"Idempotency-Key": "nightly"}
    mine = call("POST", "/v1/sweeps", ada, json=document, headers=key).json()["id"]
    theirs = call("POST", "/v1/sweeps", eve, json=document | {"name": "other"}, headers=key)
    assert (theirs.status_code, theirs.json()["name"]) == (202, "other")
    assert theirs.json()["id"] != mine
    assert call("POST", "/v1/sweeps", ada, json=document, headers=key).json()["id"] == mine
    conflict = call("POST", "/v1/sweeps", eve, json=document, headers=key)
    assert mine not in conflict.text
    assert problem(conflict, 409)
    assert call("POST", "/v1/sweeps", new_token("ada"), json=document, headers=key).json()["id"] == mine

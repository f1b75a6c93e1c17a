"""Sweeps whose checkpoints do not fit into the checkpoint store are refused ahead; what they take is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.store import checkpoint_room, checkpoints, components, trials
from service.store.checkpoint_room import StoreRoom
from service.store.database import Database
from service.store.tables import Component, Sweep, Trial, TrialCheckpoint

MB = 10**6


@pytest.fixture
def seen(database: Database) -> Callable[..., None]:
    """A function that notes what the controller has seen of the checkpoint store."""

    def see(*, free: int, limit: int | None = None, used: int = 0, age: float = 0.0) -> None:
        room = StoreRoom(used=used, free=free, reserve=MB, limit=limit, to_come=0)
        with database.write() as session:
            components.note(session, checkpoint_room.COMPONENT, True, room.message, room.detail())
            session.get_one(Component, checkpoint_room.COMPONENT).at -= age

    return see


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ({"free": MB + 10_000}, ["1.01 MB free on its disk, of which 1 MB stay free", "10 kB left"]),
        ({"free": 0}, ["0 bytes free on its disk", "0 bytes left"]),
        (
            {"free": 900 * MB, "limit": 20 * MB, "used": 19 * MB + 990_000},
            ["20 MB used of the 20 MB that SPECTRAL_CHECKPOINT_BYTES allows", "10 kB left"],
        ),
    ],
)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_sweep_that_cannot_fit_is_refused_and_not_stored(
    backend: str,
    room: dict[str, Any],
    words: list[str],
    api: httpx.Client,
    seen: Callable[..., None],
    document: dict[str, Any],
) -> None:
    seen(**room)
    answer = api.post("/v1/sweeps", json=document)
    assert answer.status_code == 507
    problem = answer.json()
    assert (problem["title"], problem["status"]) == ("Insufficient storage", 507)
    assert all(part in problem["detail"] for part in words), problem["detail"]
    assert "need about 2" in problem["detail"]
    assert "fewer trials" in problem["detail"]
    assert [error["field"] for error in problem["errors"]] == ["checkpoints"]
    assert api.get("/v1/sweeps").json()["sweeps"] == []
    dry = api.post("/v1/sweeps/validate", json=document).json()
    assert dry["checkpoint_bytes"] > 100_000
    assert [warning["field"] for warning in dry["warnings"]].count("checkpoints") == 1


def test_a_sweep_that_fits_is_taken_and_its_need_is_counted_for_the_next(
    api: httpx.Client, seen: Callable[..., None], document: dict[str, Any]
) -> None:
    needed = api.post("/v1/sweeps/validate", json=document).json()["checkpoint_bytes"]
    seen(free=MB + needed + needed // 2)
    first = api.post("/v1/sweeps", json=document)
    assert first.status_code == 202
    assert api.post("/v1/sweeps", json=document).status_code == 507
    assert api.post(f"{first.headers['Location']}/cancel").is_success


def test_a_repeated_submit_is_answered_although_the_disk_is_full_now(
    api: httpx.Client, seen: Callable[..., None], document: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = api.post("/v1/sweeps", json=document, headers=headers)
    seen(free=0)
    assert api.post("/v1/sweeps", json=document, headers=headers).json()["id"] == first.json()["id"]


def test_nothing_is_refused_while_nobody_knows_the_store(
    api: httpx.Client, seen: Callable[..., None], document: dict[str, Any]
) -> None:
    assert api.post("/v1/sweeps", json=document).status_code == 202
    seen(free=0, age=1000.0)
    assert api.post("/v1/sweeps", json=document).status_code == 202


def test_what_the_checkpoints_take_is_shown(
    api: httpx.Client, seen: Callable[..., None], database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, (first, second, *_) = running
    seen(free=5 * MB, used=300)
    with database.write() as session:
        for trial, step, removed in ((first, 10, 1.0), (first, 20, None), (second, 20, None)):
            row = TrialCheckpoint(trial_id=trial.id, step=step, path="x", size=100 + step, removed_at=removed)
            checkpoints.add(session, row)
    assert api.get(f"/v1/sweeps/{sweep.id}").json()["checkpoint_bytes"] == 240
    store = api.get("/v1/cluster").json()["parts"]["checkpoints"]
    assert (store["detail"]["used_bytes"], store["detail"]["free_bytes"]) == (300, 5 * MB)
    assert store["message"] == "300 bytes used, 5 MB free"


def test_a_checkpoint_that_was_removed_is_gone_even_if_this_server_never_saw_the_store(
    api: httpx.Client, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    trial = running[1][0]
    with database.write() as session:
        trials.get(session, trial.id)
        path = f"/nowhere/store/{running[0].id}/{trial.id}/step-000000010"
        checkpoints.add(session, TrialCheckpoint(trial_id=trial.id, step=10, path=path, best=True, removed_at=1.0))
    answer = api.get(f"/v1/trials/{trial.id}/checkpoint?download=1")
    assert answer.status_code == 410
    shown = api.get(f"/v1/trials/{trial.id}/checkpoint").json()
    assert "was removed" in shown["last"]["missing"]

"""Estimates over HTTP: in dry runs, with and without a calibration, and of sweeps that run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from service.api import estimating
from service.estimates import calibrating
from service.estimates.calibrating import CalibrationBusy, CalibrationFailed
from service.settings import ApiSettings
from service.store import components, cost_samples, sweeps, trials
from service.store.database import Database
from service.store.tables import CostSample, Sweep, Trial
from tests.service.api.test_sweeps import rows
from tests.service.conftest import serving
from tests.service.estimates.examples import measured
from workers.spec.cost import Calibration
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep
from workers.spec.trial import TrialSpec

PATH = "/v1/sweeps/validate"


def trials_of(document: dict[str, Any]) -> list[TrialSpec]:
    return [plan.require_spec() for plan in plan_trials(parse_sweep(document))]


def note_nodes(database: Database, cpus: float, memory: int | None = None) -> None:
    node = {"name": "a", "cpus": cpus, "gpus": 0.0} | ({} if memory is None else {"memory": memory})
    with database.write() as session:
        components.note(session, "ray", True, "1 node", {"nodes": [node]})


def texts(estimate: dict[str, Any]) -> str:
    return "; ".join(reason["reason"] for reason in estimate["reasons"])


def test_a_dry_run_knows_what_earlier_sweeps_took(
    api: httpx.Client, database: Database, document: dict[str, Any]
) -> None:
    note_nodes(database, 1)
    unknown = api.post(PATH, json=document).json()["estimate"]
    assert (unknown["seconds"], unknown["packs"], unknown["workers"]) == (None, 1, 1)
    pack = trials_of(document)
    with database.write() as session:
        cost_samples.add(session, [measured(pack)])
    known = api.post(PATH, json=document).json()["estimate"]
    # 100 steps of 0.1 s, 20 reports of 0.5 s with 4 checkpoints of 0.01 s, 4 s to start and 1 s for the service
    assert known["seconds"]["expected"] == pytest.approx(10 + 20 * (0.5 + 0.04) + 4 + 1, abs=0.1)
    assert known["seconds"]["low"] < known["seconds"]["expected"] < known["seconds"]["high"]
    assert known["device_hours"]["cpu"] == pytest.approx((10 + 10.8 + 4) / 3600)
    assert known["peak_memory_bytes"] == 400_000_000
    assert rows(database, Sweep) == 0


def test_memory_that_a_node_lacks_is_warned_of(api: httpx.Client, database: Database, document: dict[str, Any]) -> None:
    for memory, fields in ((None, []), (8_000_000_000, []), (500_000_000, ["resources.cpus"])):
        note_nodes(database, 2, memory)
        warnings = api.post(PATH, json=document).json()["warnings"]
        assert [warning["field"] for warning in warnings] == fields
    assert "2 packs run on a node at the same time" in warnings[0]["problem"]
    assert "a node has 0.5 GB" in warnings[0]["allowed"]


def test_a_calibration_trains_for_a_moment_and_is_kept(
    url: str, database: Database, document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "STEP_SECONDS", 0.2)
    note_nodes(database, 1)
    settings = ApiSettings(database_url=url, calibrate=True, checkpoint_dir=tmp_path / "checkpoints")
    with serving(settings) as address, httpx.Client(base_url=address, timeout=120) as client:
        assert client.post(PATH, json=document).json()["estimate"]["seconds"] is None
        first = client.post(f"{PATH}?calibrate=true", json=document).json()["estimate"]
        again = client.post(PATH, json=document).json()["estimate"]
    assert first["seconds"]["expected"] > 1
    assert "1 pack as in a short trial run of packs like them" in texts(first)
    # the notes on the trial run itself belong to the first answer alone
    assert {name: again[name] for name in again if name != "reasons"} == {
        name: first[name] for name in first if name != "reasons"
    }
    with database.read() as session:
        (kept,) = cost_samples.known(session, on_gpu=False)
    assert (kept.source, kept.trials, kept.kind) == ("calibration", 4, "spectral_rnn")
    assert [path for path in tmp_path.iterdir() if "calibration" in path.name] == []


def test_a_calibration_is_not_made_where_it_may_not_be_or_is_not_needed(
    api: httpx.Client, url: str, database: Database, document: dict[str, Any]
) -> None:
    refused = api.post(f"{PATH}?calibrate=true", json=document)
    assert refused.status_code == 200
    assert estimating.NOT_ALLOWED in texts(refused.json()["estimate"])
    note_nodes(database, 1)
    with database.write() as session:
        cost_samples.add(session, [measured(trials_of(document))])
    with serving(ApiSettings(database_url=url, calibrate=True)) as address, httpx.Client(base_url=address) as client:
        known = client.post(f"{PATH}?calibrate=true", json=document).json()["estimate"]
    assert "no trial run was made: earlier runs of such packs are known" in texts(known)
    assert rows(database, CostSample) == 1
    assert api.post(f"{PATH}?calibrate=perhaps", json=document).status_code == 422
    assert api.post(f"{PATH}?calibrated=true", json=document).status_code == 422


def test_a_calibration_that_fails_is_said_and_one_under_way_is_waited_for(
    url: str, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> Calibration:
        raise error

    monkeypatch.setattr(estimating, "calibrate", fail)
    with serving(ApiSettings(database_url=url, calibrate=True)) as address, httpx.Client(base_url=address) as client:
        error: Exception = CalibrationFailed("the disk is on fire")
        found = client.post(f"{PATH}?calibrate=true", json=document)
        assert found.status_code == 200
        assert "a trial run has failed: the disk is on fire" in texts(found.json()["estimate"])
        error = CalibrationBusy("later")
        busy = client.post(f"{PATH}?calibrate=true", json=document)
    assert busy.status_code == 503
    assert "retry-after" in busy.headers


@pytest.mark.parametrize(("busy", "said"), [(0.4, True), (0.97, False)])
def test_a_calibration_on_a_busy_machine_says_so(
    url: str, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch, busy: float, said: bool
) -> None:
    found = Calibration(costs=[measured(trials_of(document), source="calibration")], busy=busy)
    monkeypatch.setattr(estimating, "calibrate", lambda *_arguments: found)
    with serving(ApiSettings(database_url=url, calibrate=True)) as address, httpx.Client(base_url=address) as client:
        estimate = client.post(f"{PATH}?calibrate=true", json=document).json()["estimate"]
    assert ("the trial run had 40% of a processor" in texts(estimate)) is said
    assert estimate["seconds"] is not None


def test_a_running_sweep_says_when_it_ends_or_why_that_is_not_known(
    api: httpx.Client, database: Database, running: tuple[Sweep, list[Trial]], new_sweep: Callable[..., Sweep]
) -> None:
    sweep, made = running

    def shown(sweep_id: str = sweep.id) -> dict[str, Any]:
        (listed,) = (row for row in api.get("/v1/sweeps").json()["sweeps"] if row["id"] == sweep_id)
        found: dict[str, Any] = api.get(f"/v1/sweeps/{sweep_id}").json()
        names = ("eta_at", "eta_reason")
        assert [listed[name] for name in names] == [found[name] for name in names]
        return found

    assert shown(new_sweep().id)["eta_reason"] == "it has not begun"
    assert "none of its trials runs" in shown()["eta_reason"]
    with database.write() as session:
        trials.move(session, trials.get(session, made[0].id), "running")
    assert "nothing is known of the speed" in shown()["eta_reason"]
    with database.write() as session:
        sweeps.note_eta(session, sweep.id, time.time() + 600)
    found = shown()
    assert 500 < found["seconds_left"] <= 600
    assert found["eta_at"].endswith("Z")
    assert found["eta_reason"] is None
    with database.write() as session:
        sweeps.note_eta(session, sweep.id, time.time() - 1)
    found = shown()
    assert (found["eta_at"], found["seconds_left"]) == (None, None)
    assert "longer than was expected" in found["eta_reason"]
    for verb, reason in (("pause", "it is paused"), ("cancel", "it is being cancelled")):
        api.post(f"/v1/sweeps/{sweep.id}/{verb}").raise_for_status()
        assert shown()["eta_reason"] == reason
    with database.write() as session:
        trials.move(session, trials.get(session, made[0].id), "cancelled")
        sweeps.move(session, sweep.id, "cancelled")
    found = shown()
    assert (found["eta_at"], found["seconds_left"], found["eta_reason"]) == (None, None, None)


def test_estimates_in_a_list_take_no_query_for_each_sweep(
    settings: ApiSettings, database: Database, new_sweep: Callable[..., Sweep]
) -> None:
    from service.api import presenters

    def queries(count: int) -> int:
        for _ in range(count):
            new_sweep()
        seen: list[str] = []
        event.listen(database.engine, "before_cursor_execute", lambda *call: seen.append(call[2]))
        with database.read() as session:
            presenters.sweep_list(session, sweeps.page(session, [], 100, None, None))
        return len(seen)

    assert queries(1) == queries(20)

"""Pause, resume, stop and cancel over HTTP, on sweeps that are under way."""

from __future__ import annotations

import os
from typing import Any

import psutil
import pytest

from service.background_work import MOST, NICENESS
from service.client import RestClient
from service.stack import Stack
from tests.end_to_end.small_sweep import STEPS, SWEEP, Json, first_report, runners, told
from tests.waiting import until


@pytest.fixture
def running(client: RestClient) -> str:
    sweep_id: str = client.submit(SWEEP)["id"]
    first_report(client, sweep_id)
    return sweep_id


def states(client: RestClient, sweep_id: str) -> list[str]:
    return [trial["state"] for trial in client.trials(sweep_id)]


def test_a_paused_sweep_goes_on_where_it_was(client: RestClient, stack: Stack, running: str, undisturbed: Json) -> None:
    client.pause(running)
    until(lambda: "running" not in states(client, running))
    before: dict[str, Any] = {trial["id"]: trial["step"] for trial in client.trials(running)}
    assert client.sweep(running)["state"] == "paused"
    assert "waiting" in states(client, running)
    until(lambda: not runners(stack))
    client.resume(running)
    assert client.wait(running)["state"] == "succeeded"
    assert all(trial["step"] >= before[trial["id"]] for trial in client.trials(running))
    assert told(client, running) == told(client, undisturbed["id"])


def test_trainers_are_as_important_as_the_api_and_mlflow_comes_after_them(
    client: RestClient, stack: Stack, running: str
) -> None:
    until(lambda: bool(runners(stack)))
    api, mlflow, ray = (stack.pid(part) for part in ("api", "mlflow", "ray"))
    assert {process.nice() for process in runners(stack)} == {psutil.Process(api).nice()}
    lowered = min(MOST, psutil.Process(api).nice() + NICENESS)
    assert {process.nice() for process in psutil.Process(mlflow).children()} == {lowered}
    assert {os.getsid(process.pid) for process in runners(stack)} == {os.getsid(api or 0)} == {os.getsid(ray or 0)}


def test_a_cancelled_sweep_leaves_nothing_running(client: RestClient, stack: Stack, running: str) -> None:
    client.cancel(running)
    assert client.wait(running)["state"] == "cancelled"
    assert set(states(client, running)) <= {"cancelled", "succeeded"}
    assert "cancelled" in states(client, running)
    until(lambda: not runners(stack))


def test_a_stopped_sweep_lets_its_running_trials_finish(client: RestClient) -> None:
    document = SWEEP | {"space": SWEEP["space"] | {"training.seed": {"values": [0, 1, 2]}}}
    sweep_id = client.submit(document)["id"]
    first_report(client, sweep_id)
    under_way = {trial["id"] for trial in client.trials(sweep_id, state=["running"])}
    client.stop(sweep_id)
    assert client.wait(sweep_id)["state"] == "stopped"
    ended = {trial["id"]: trial["state"] for trial in client.trials(sweep_id)}
    assert {ended[trial_id] for trial_id in under_way} == {"succeeded"}
    assert "cancelled" in ended.values()


def test_a_cancelled_and_a_stopped_trial_leave_the_others_alone(client: RestClient, running: str) -> None:
    first, second, *others = [trial["id"] for trial in client.trials(running)]
    client.cancel(first)
    client.stop(second)
    assert client.wait(running)["state"] == "succeeded"
    ended = {trial["id"]: trial for trial in client.trials(running)}
    assert ended[first]["state"] == "cancelled"
    assert ended[second]["state"] == "pruned"
    assert ended[second]["reason"] == "stopped by the user"
    assert [(ended[other]["state"], ended[other]["step"]) for other in others] == [("succeeded", STEPS[-1])] * 2

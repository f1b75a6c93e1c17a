"""Processes killed in the middle of a sweep: every trial ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal

from service.client import RestClient
from service.stack import Stack
from tests.end_to_end.mlflow_side import MlflowSide
from tests.end_to_end.small_sweep import PLOTS, SWEEP, Json, first_report, runners, told
from tests.waiting import until


def attempts(client: RestClient, sweep_id: str) -> list[list[str | None]]:
    """By trial the outcome of each attempt."""
    return [
        [attempt["outcome"] for attempt in client._json("GET", f"/v1/trials/{trial['id']}/logs")["attempts"]]
        for trial in client.trials(sweep_id)
    ]


def test_a_killed_runner_is_replaced_and_nothing_is_lost_or_doubled(
    stack: Stack, client: RestClient, undisturbed: Json
) -> None:
    sweep_id = client.submit(SWEEP)["id"]
    first_report(client, sweep_id)
    runners(stack)[0].kill()
    assert client.wait(sweep_id)["state"] == "succeeded"
    outcomes = attempts(client, sweep_id)
    assert ["lost", "succeeded"] in outcomes
    assert all(outcome[-1] == "succeeded" for outcome in outcomes)
    assert told(client, sweep_id) == told(client, undisturbed["id"])
    MlflowSide(stack, client, sweep_id).assert_tells_what_the_api_tells()


def test_a_killed_controller_is_replaced_and_adopts_the_runners(
    stack: Stack, client: RestClient, undisturbed: Json
) -> None:
    sweep_id = client.submit(SWEEP)["id"]
    first_report(client, sweep_id)
    before = stack.pid("controller")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert client.wait(sweep_id)["state"] == "succeeded"
    assert stack.pid("controller") not in (None, before)
    assert attempts(client, sweep_id) == [["succeeded"]] * 4
    assert told(client, sweep_id) == told(client, undisturbed["id"])
    MlflowSide(stack, client, sweep_id).assert_tells_what_the_api_tells()


def test_mlflow_away_during_a_sweep_misses_nothing(stack: Stack, client: RestClient, undisturbed: Json) -> None:
    sweep_id = client.submit(SWEEP)["id"]
    first_report(client, sweep_id)
    away = stack.pid("mlflow")
    assert away is not None
    os.killpg(away, signal.SIGKILL)
    assert client.wait(sweep_id)["state"] == "succeeded"
    assert attempts(client, sweep_id) == [["succeeded"]] * 4
    assert told(client, sweep_id) == told(client, undisturbed["id"])
    MlflowSide(stack, client, sweep_id).assert_tells_what_the_api_tells()


def test_a_lost_ray_head_costs_no_trial_its_retries(stack: Stack, client: RestClient, undisturbed: Json) -> None:
    sweep_id = client.submit(SWEEP | {"retries": {"infrastructure": 0}})["id"]
    first_report(client, sweep_id)
    head = stack.pid("ray")
    assert head is not None
    os.killpg(head, signal.SIGKILL)
    assert client.wait(sweep_id)["state"] == "succeeded"
    assert ["lost", "succeeded"] in attempts(client, sweep_id)
    assert told(client, sweep_id) == told(client, undisturbed["id"])
    until(lambda: client._json("GET", "/health/ready")["ready"])


def test_a_wiped_mlflow_is_told_everything_anew(stack: Stack, client: RestClient, undisturbed: Json) -> None:
    before = MlflowSide(stack, client, undisturbed["id"]).parent.info.run_id
    server = stack.pid("mlflow")
    assert server is not None
    os.killpg(server, signal.SIGSTOP)
    shutil.rmtree(stack.home.mlflow)
    (stack.home.mlflow / "artifacts").mkdir(parents=True)
    os.killpg(server, signal.SIGKILL)
    until(lambda: stack.pid("mlflow") not in (None, server))
    until(lambda: (client.sweep(undisturbed["id"])["mlflow_url"] or before).rpartition("/")[2] != before, 90)
    side = MlflowSide(stack, client, undisturbed["id"])
    assert side.count == 5
    side.assert_tells_what_the_api_tells()
    assert side.artifacts(side.parent, "plots") == PLOTS

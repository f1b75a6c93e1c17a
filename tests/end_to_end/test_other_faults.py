"""Faults that no closed port tells: another head behind the same one, a lost pack of unlike trials, a full store."""

from __future__ import annotations

import os
import signal
import time

import psutil
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from service.client import RestClient
from service.stack import Stack
from service.states import SWEEP_ENDED
from tests.end_to_end.small_sweep import SWEEP, Json, first_report, runners, told
from tests.end_to_end.test_failures import attempts
from tests.waiting import until


def execute(stack: Stack, statement: str) -> int:
    """Execute a statement on the stack's database, and return how many rows it has changed."""
    engine = create_engine(stack.layout.database_url)
    with engine.begin() as connection:
        changed: int = connection.execute(text(statement)).rowcount
    engine.dispose()
    return changed


def freeze(stack: Stack, pid: int, statement: str) -> int:
    """Stop a process, execute a statement, and return how many rows it has changed.

    A process that was stopped while it wrote holds the database. Then it goes on, and is stopped again.
    """
    for _ in range(20):
        os.kill(pid, signal.SIGSTOP)
        try:
            return execute(stack, statement)
        except OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.3)
    raise AssertionError("the process is always in a write transaction")


def ended(client: RestClient, sweep_id: str) -> str:
    """Return the state in which a sweep ends. It must do so within five minutes."""
    state: str = until(lambda: s if (s := client.sweep(sweep_id)["state"]) in SWEEP_ENDED else None, 300)
    return state


def gcs(stack: Stack) -> psutil.Process | None:
    """Return the process of Ray's head that knows all actors; None while it is being replaced."""
    ray = stack.pid("ray")
    try:
        children = psutil.Process(ray).children(recursive=True) if ray else []
        return next((child for child in children if child.name().startswith("gcs_server")), None)
    except psutil.NoSuchProcess:
        return None


def test_a_head_that_was_replaced_between_two_looks_is_noticed_by_its_identity(
    stack: Stack, client: RestClient, undisturbed: Json
) -> None:
    """The controller sleeps meanwhile, and wakes with a pack to start: its port is open again, its cluster is gone."""
    sweep_id = client.submit(SWEEP | {"retries": {"infrastructure": 0, "preemption": 0}})["id"]
    first_report(client, sweep_id)
    controller, head = stack.pid("controller"), gcs(stack)
    assert controller is not None
    assert head is not None
    # as after a death between plan and start
    assert freeze(stack, controller, "UPDATE packs SET state = 'planned' WHERE state = 'started'")
    try:
        head.kill()
        until(lambda: (new := gcs(stack)) is not None and new.pid != head.pid, 120)
        until(lambda: answers(stack), 120)
    finally:
        os.kill(controller, signal.SIGCONT)
    assert ended(client, sweep_id) == "succeeded"
    assert all(outcomes[-1] == "succeeded" for outcomes in attempts(client, sweep_id))
    assert told(client, sweep_id) == told(client, undisturbed["id"])
    until(lambda: client._json("GET", "/health/ready")["ready"])
    log = (stack.home.logs / "controller.log").read_text(errors="replace")
    assert log.count("Unexpected error") == 0


def answers(stack: Stack) -> bool:
    """Return whether the raylet of the new head runs, too."""
    ray = stack.pid("ray")
    try:
        names = [child.name() for child in psutil.Process(ray).children(recursive=True)] if ray else []
    except psutil.NoSuchProcess:
        return False
    return any(name.startswith("raylet") for name in names)


def test_a_lost_runner_changes_no_bit_of_a_pack_of_unlike_trials(stack: Stack, client: RestClient) -> None:
    """Trials of different sizes are padded alike only in the same pack; so the pack is made again as it was."""
    sweep = SWEEP | {
        "model": {"hidden_size": 16},
        "training": SWEEP["training"] | {"dtype": "float64", "steps": 1200, "report_every": 50, "lr": 0.01},
        "space": {"model.reflectors": {"values": [2, 7]}},
    }
    undisturbed = client.submit(sweep)
    assert ended(client, undisturbed["id"]) == "succeeded"
    sweep_id = client.submit(sweep)["id"]
    first_report(client, sweep_id)
    before = told(client, sweep_id)
    runners(stack)[0].kill()
    assert ended(client, sweep_id) == "succeeded"
    assert attempts(client, sweep_id) == [["lost", "succeeded"]] * 2
    after = told(client, sweep_id)
    assert after == told(client, undisturbed["id"])
    assert all(after[number][step] == values for number, told_ in before.items() for step, values in told_.items())
    first = next(iter(client.trials(sweep_id)))["id"]
    (lost, _) = client._json("GET", f"/v1/trials/{first}/logs")["attempts"]
    assert lost["cause"] == "process"
    assert lost["log"]


def test_a_checkpoint_store_that_takes_nothing_fails_no_trial(
    stack: Stack, client: RestClient, undisturbed: Json
) -> None:
    """A file lies where the folder of all checkpoints belongs: every write fails until it is taken away."""
    away = stack.home.checkpoints.with_name("checkpoints.away")
    sweep_id = client.submit(SWEEP | {"retries": {"infrastructure": 0, "user": 0}})["id"]
    first_report(client, sweep_id)
    stack.home.checkpoints.rename(away)
    stack.home.checkpoints.write_text("in the way")
    try:
        late = client.submit(SWEEP | {"training": SWEEP["training"] | {"steps": 40}})["id"]
        until(lambda: "checkpoint_writes" in client._json("GET", "/health/ready")["parts"], 120)
        ready = client._json("GET", "/health/ready")
        assert "checkpoints cannot be written: Not a directory" in ready["parts"]["checkpoint_writes"]["message"]
        assert (ready["ready"], ready["degraded"]) == (True, True)
        assert client.sweep(sweep_id)["state"] == client.sweep(late)["state"] == "running"
    finally:
        stack.home.checkpoints.unlink()
        away.rename(stack.home.checkpoints)
    for id in (sweep_id, late):
        assert ended(client, id) == "succeeded"
    assert told(client, sweep_id) == told(client, undisturbed["id"])
    assert {outcome for outcomes in attempts(client, sweep_id) for outcome in outcomes} == {"succeeded"}
    until(lambda: not client._json("GET", "/health/ready")["degraded"], 120)

"""The runner as a Ray actor on a real local cluster: adopted, killed, resumed, and gone by itself."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from ray.exceptions import ActorDiedError, RayActorError

from tests.waiting import until
from tests.workers.examples import make_assignment, make_trial
from workers.protocol import Ended, Measured, OutputLine, Poll, Report, StaleTerm
from workers.runtime import ray_actor

PATIENCE = 120.0
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start a cluster for this file and yield its namespace."""
    kept = dict(os.environ)
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0", RAY_AUTH_MODE="disabled")
    paths = {"PYTHONPATH": str(ROOT)}
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        namespace="spectral-test",
        log_to_driver=False,
        runtime_env={"env_vars": paths},
        logging_level=logging.ERROR,
    )
    yield "spectral-test"
    ray.shutdown()
    os.environ.clear()
    os.environ.update(kept)


def poll(handle: Any, after: int, term: int = 1) -> Poll:
    return Poll.model_validate(ray.get(handle.poll.remote(after, term), timeout=PATIENCE))


def to_end(handle: Any, printed: list[OutputLine] | None = None) -> list[Report]:
    reports: list[Report] = []
    lines: list[OutputLine] = [] if printed is None else printed

    def ended() -> bool:
        found = poll(handle, max((told.seq for told in (*reports, *lines)), default=0))
        reports.extend(found.reports)
        lines.extend(found.lines)
        return found.state == "ended" and not found.reports and not found.lines

    until(ended)
    return reports


def actor_process() -> psutil.Process:
    """Return the process of the only runner in this test's cluster, whose processes are descendants of this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it died since it was listed, or is not collected yet
            if "ray::PackRunnerActor" in "".join(process.cmdline()):
                found.append(process)
    (only,) = found
    return only


def recorded(reports: list[Report]) -> dict[tuple[str, int], dict[str, float]]:
    found: dict[tuple[str, int], dict[str, float]] = {}
    for report in reports:
        if isinstance(report, Measured):
            found.setdefault(
                (report.trial_id, report.step),
                {k: v for k, v in report.values.items() if not k.startswith(("throughput/", "time/", "system/"))},
            )
    return found


def test_a_killed_runner_is_taken_up_again_and_nothing_is_lost(cluster: str, tmp_path: Path) -> None:
    specs = [make_trial(seed=s, steps=120, reflectors=s + 1) for s in range(2)]
    printed: list[OutputLine] = []
    whole = to_end(ray_actor.start(make_assignment(tmp_path / "a", specs), "pack-a-a0", cluster), printed)
    undisturbed = recorded(whole)
    assert len(undisturbed) == 60
    numbers = [told.seq for told in (*whole, *printed)]
    assert len(numbers) == len(set(numbers))
    assert [line.text for line in printed if line.trial_id == "t1"] == [
        "trial t1: begins at step 0", "trial t1: succeeded at step 120",
    ]  # fmt: skip
    assert [line.level for line in printed if f"torch: {torch.__version__}" in line.text] == ["INFO"]

    assignment = make_assignment(tmp_path / "b", specs)
    first = ray_actor.start(assignment, "pack-b-a0", cluster)
    until(lambda: len(poll(first, 0).reports) > 20)
    before = poll(first, 0).reports
    actor_process().send_signal(signal.SIGKILL)
    with pytest.raises(RayActorError):
        poll(first, 0)

    second = ray_actor.start(assignment.model_copy(update={"attempt": 1}), "pack-b-a1", cluster)
    after = to_end(second)
    assert not any(isinstance(report, Ended) for report in before)
    reported = [(r.trial_id, r.step) for r in after if isinstance(r, Measured)]
    assert len(reported) == len(set(reported)) == 60
    assert recorded(before).items() <= recorded(after).items()
    assert recorded(after) == undisturbed
    assert {r.outcome for r in after if isinstance(r, Ended)} == {"succeeded"}


def test_an_actor_is_adopted_by_name_obeys_and_exits(cluster: str, tmp_path: Path) -> None:
    assignment = make_assignment(tmp_path, [make_trial(steps=1_000_000)])
    handle = ray_actor.start(assignment, "pack-c-a0", cluster)
    again = ray_actor.start(assignment, "pack-c-a0", cluster)
    until(lambda: poll(handle, 0).progress["t0"] > 0)
    assert poll(again, 0).progress["t0"] > 0
    assert handle._actor_id == again._actor_id
    with pytest.raises(StaleTerm):
        ray.get(handle.poll.remote(0, 0))
    command = {"seq": 1, "verb": "prune", "trial_ids": ["t0"]}
    assert ray.get(handle.command.remote(1, command)) is True
    assert ray.get(again.command.remote(1, command)) is False
    printed: list[OutputLine] = []
    reports = to_end(handle, printed)
    assert [r.outcome for r in reports if isinstance(r, Ended)] == ["pruned"]

    def gone() -> bool:
        try:
            poll(handle, max(reports[-1].seq, printed[-1].seq))
        except ActorDiedError:
            return True
        return False

    until(gone)
    with pytest.raises(ValueError, match="pack-c-a0"):
        ray.get_actor("pack-c-a0", namespace=cluster)

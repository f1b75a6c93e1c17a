"""Two sweeps of different priority on one node: the higher one takes the place of the lower, which loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client import RestClient, timestamp
from service.stack import Stack
from tests.end_to_end.small_sweep import SWEEP, Json, first_report, told
from tests.waiting import until

LOW: Json = SWEEP | {
    "name": "low",
    "training": SWEEP["training"] | {"steps": 4000, "report_every": 100},
    "resources": {"pack_size": 4},
    "retries": {"user": 0, "infrastructure": 0, "preemption": 0},
}
HIGH: Json = SWEEP | {"name": "high", "priority": 5}
SECONDS = 1.0
"""How long a pack runs before it can be preempted."""


@pytest.fixture(scope="module")
def one_cpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestClient]:
    """A service on a node with a single CPU, on which a pack can soon be preempted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRAL_PREEMPT_AFTER_SECONDS", str(SECONDS))
        home: Path = tmp_path_factory.mktemp("one-cpu") / "home"
        with Stack(home, 0, 0, cpus=1, say=print) as running, RestClient(running.url) as client:
            yield client


@pytest.mark.timeout(600)
def test_a_sweep_that_is_preempted_ends_with_the_results_of_an_undisturbed_one(one_cpu: RestClient) -> None:
    client = one_cpu
    undisturbed = client.wait(client.submit(LOW)["id"])
    assert undisturbed["state"] == "succeeded"
    low = client.submit(LOW)["id"]
    first_report(client, low)
    high = client.submit(HIGH)["id"]

    def preempted() -> Json | None:
        sweep = client.sweep(low)
        return sweep if sweep["trials"]["waiting"] == 4 and sweep["queue_position"] else None

    waiting = until(preempted)
    assert "room for 1 CPU: 1 of 1 CPU" in waiting["waiting_for"]
    assert waiting["waiting_for"].endswith("1 sweep is before it")
    assert {trial["reason"] for trial in client.trials(low)} == {"preempted by a sweep of priority 5"}
    ended = client.wait(high)
    assert ended["state"] == "succeeded"
    again = client.wait(low)
    assert again["state"] == "succeeded"
    assert told(client, low) == told(client, undisturbed["id"]), "the same bits"
    histories = [client.logs(trial["id"]) for trial in client.trials(low)]
    for history in histories:
        outcomes = [(attempt["outcome"], attempt["cause"]) for attempt in history["attempts"]]
        assert outcomes[0] == ("paused", "preemption")
        assert outcomes[-1] == ("succeeded", None)
        assert history["attempts"][1]["from_step"] > 0, "it goes on where it was"
    # while trials of the higher one ran, they had the only CPU, and each pack of the lower one had its time before
    of_high = [client.logs(trial["id"])["attempts"][0] for trial in client.trials(high)]
    taken = [(timestamp(attempt["started_at"]), timestamp(attempt["ended_at"])) for attempt in of_high]
    for history in histories:
        for attempt in history["attempts"]:
            began, left = timestamp(attempt["started_at"]), timestamp(attempt["ended_at"])
            assert all(left <= start or began >= end for start, end in taken)
            assert left - began >= SECONDS
    assert [event["kind"] for event in client.events(low)].count("pack.preempted") == len(histories[0]["attempts"]) - 1


@pytest.mark.timeout(600)
def test_two_sweeps_of_equal_priority_take_turns_on_one_cpu(one_cpu: RestClient) -> None:
    client = one_cpu
    document = SWEEP | {"resources": {"pack_size": 1}}
    names = {client.submit(document | {"name": name})["id"]: name for name in ("one", "other")}
    assert all(client.wait(id)["state"] == "succeeded" for id in names)
    started = [
        (timestamp(attempt["started_at"]), name)
        for id, name in names.items()
        for trial in client.trials(id)
        for attempt in client.logs(trial["id"])["attempts"]
    ]
    order = [name for _, name in sorted(started)]
    # the first pack may start before the second sweep is there
    shares = [abs(order[:n].count("one") - order[:n].count("other")) for n in range(1, len(order) + 1)]
    assert len(order) == 8
    assert max(shares) <= 2, order

"""The cluster is known by its identity: another head behind the same port is not believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from ray.core.generated import common_pb2

from service.controller.cluster import Cluster, ClusterUnreachable, _death
from tests.service.controller.ray_head import connect, ray_head

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::FutureWarning"
)
LOOKS: list[Callable[[Cluster], object]] = [
    lambda cluster: cluster.check(),
    lambda cluster: cluster.nodes(),
    lambda cluster: cluster.find("pack-x-a1"),
    lambda cluster: cluster.death("pack-x-a1"),
    lambda cluster: cluster.kill("pack-x-a1"),
]
"""What must not be answered by a head that was replaced: that there is no such runner is no answer either."""


def test_a_head_that_was_replaced_at_the_same_port_is_not_believed(tmp_path: Path) -> None:
    with ray_head(tmp_path / "home") as (head, address):
        clusters = Cluster(address, "test")
        connect(clusters, head)
        seen = [clusters.identity]
        for look in LOOKS:
            assert clusters.nodes()
            assert clusters.find("pack-x-a1") is None
            head.finish(0)
            head.start()
            await_port(clusters)
            with pytest.raises(ClusterUnreachable):
                look(clusters)
            assert not clusters.connected
            connect(clusters, head)
            assert clusters.identity not in seen
            seen.append(clusters.identity)
        clusters.close()


def await_port(cluster: Cluster) -> None:
    """Wait until the new head accepts connections, which is all that an open port tells."""
    end = time.monotonic() + 60
    while True:
        try:
            return cluster._probe(cluster._head)
        except ClusterUnreachable:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_a_head_that_never_was_is_unreachable() -> None:
    cluster = Cluster("127.0.0.1:1", "test")
    with pytest.raises(ClusterUnreachable, match="no Ray head answers"):
        cluster.connect()
    with pytest.raises(ClusterUnreachable, match="no connection"):
        cluster.check()


@pytest.mark.parametrize(
    ("given", "domain", "words"),
    [
        ({"oom_context": {"error_message": "x"}}, "memory", "running out of memory"),
        ({"actor_died_error_context": {"reason": "NODE_DIED"}}, "preemption", "its node was drained or lost"),
        (
            {"actor_died_error_context": {"reason": "RAY_KILL", "error_message": "It was killed by `ray.kill`."}},
            "preemption",
            "ended from outside",
        ),
        ({"actor_died_error_context": {"reason": "WORKER_DIED", "error_message": "End of file"}}, "process", ""),
        ({}, "process", ""),
    ],
)
def test_what_was_lost_follows_from_ray_s_cause_of_death(given: dict[str, Any], domain: str, words: str) -> None:
    cause = ParseDict(given, common_pb2.ActorDeathCause())  # type: ignore[attr-defined]
    found = _death(cause)
    assert found.domain == domain
    assert words in found.words

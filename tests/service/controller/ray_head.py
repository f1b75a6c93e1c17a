"""A Ray head for tests, which can be replaced by another one at the same port."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from service.controller.cluster import Cluster, ClusterUnreachable
from service.stack import Stack, guard
from service.stack.child import Child
from service.stack.processes import managed_processes

LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""The variable by which Ray's processes listen on, and connect to, 127.0.0.1 alone, if it is 0."""


@contextmanager
def ray_head(home: Path) -> Iterator[tuple[Child, str]]:
    """Start a head with two CPUs and give its process and its address; end all of it afterwards.

    It has no token, and no port that is closed to other machines, because the process that connects to it would have to
    know of both before it imports Ray.
    """
    stack = Stack(home, 0, 0, cpus=2)
    stack.home.claim({"url": ""})
    stack.home.prepare()
    part = managed_processes(stack.layout)[0]
    known = {name: value for name, value in part.environment.items() if name != LOOPBACK_ONLY}
    part = replace(part, environment=known | {"RAY_AUTH_MODE": "disabled"})
    head = Child(part, stack.home.logs / "ray.log", print)
    head.start()
    try:
        yield head, f"127.0.0.1:{stack.layout.ray_port}"
    finally:
        head.terminate()
        head.finish(time.monotonic() + 10)
        guard.end_all(str(stack.home.path))
        stack.home.release()


def connect(cluster: Cluster, head: Child) -> None:
    """Connect to a head that has just been started, as soon as it accepts that."""
    end = time.monotonic() + 60
    while not cluster.connected:
        try:
            cluster.connect()
        except ClusterUnreachable:
            if time.monotonic() > end:
                print(head.last_words())
                raise
            time.sleep(0.1)

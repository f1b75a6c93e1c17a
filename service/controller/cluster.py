"""The Ray cluster as the controller sees it: reachable or gone, its nodes, its runners by name."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import uuid
from dataclasses import dataclass
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from workers.protocol import Assignment
from workers.runtime import ray_actor

log = logging.getLogger(__name__)

IDENTITY = b"spectral-cluster"
PROBE_SECONDS = 3.0


class ClusterGone(RuntimeError):
    """Ray's head cannot be reached."""


@dataclass(frozen=True)
class Node:
    name: str
    cpus: float
    gpus: float


class Cluster:
    """One connection to Ray. ``identity`` is new whenever the cluster is: a head without its memory is another one."""

    def __init__(self, address: str, namespace: str) -> None:
        self._wanted, self._namespace = address, namespace
        self._head: tuple[str, int] | None = None
        self.identity = ""

    @property
    def connected(self) -> bool:
        return bool(self.identity)

    def connect(self) -> None:
        """Raises ClusterGone with what to do."""
        if self._wanted != "auto":
            self._probe(_split(self._wanted))
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            ray.init(self._wanted, namespace=self._namespace, log_to_driver=False, logging_level=logging.WARNING)
        except Exception as error:
            ray.shutdown()
            raise ClusterGone(
                f"cannot connect to Ray at {self._wanted} ({error}). Start it, or set SPECTRAL_RAY_ADDRESS"
            ) from error
        finally:
            _restore(handlers)
        self._head = _split(ray.get_runtime_context().gcs_address)
        _internal_kv_put(IDENTITY, uuid.uuid4().hex.encode(), overwrite=False)
        self.identity = (_internal_kv_get(IDENTITY) or b"").decode()

    def check(self) -> None:
        """Raises ClusterGone, having let go of the connection, where the head does not answer any more."""
        try:
            self._probe(self._head)
        except ClusterGone:
            self.close()
            raise

    def close(self) -> None:
        self.identity, self._head = "", None
        ray.shutdown()

    def nodes(self) -> list[Node]:
        """The living nodes and what they have."""
        found = []
        for node in ray.nodes():  # type: ignore[no-untyped-call]  # decorated without types
            if node["Alive"]:
                has = node["Resources"]
                found.append(Node(node["NodeManagerHostname"], float(has.get("CPU", 0)), float(has.get("GPU", 0))))
        return found

    def find(self, name: str) -> Any | None:
        """The runner's handle; None where no living runner has the name."""
        try:
            return ray.get_actor(name, self._namespace)
        except ValueError:
            return None

    def start(self, assignment: Assignment, name: str) -> Any:
        """The runner's handle, created unless it is there."""
        return self.find(name) or ray_actor.start(assignment, name, self._namespace)

    def kill(self, name: str) -> None:
        """End a runner's process; nothing happens where there is none."""
        handle = self.find(name)
        if handle is not None:
            ray.kill(handle, no_restart=True)

    def runners(self) -> list[str]:
        """The names of all living runners of this namespace."""
        named = ray.util.list_named_actors(all_namespaces=True)
        return [actor["name"] for actor in named if actor["namespace"] == self._namespace]

    def _probe(self, head: tuple[str, int] | None) -> None:
        if head is None:
            raise ClusterGone("not connected to Ray")
        try:
            socket.create_connection(head, timeout=PROBE_SECONDS).close()
        except OSError as error:
            raise ClusterGone(
                f"no Ray head answers at {head[0]}:{head[1]} ({error}). Start it, or set SPECTRAL_RAY_ADDRESS"
            ) from error


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Ray takes the signals for itself, in Python and in C++; this process has its own way to end."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)

"""The connection to the Ray cluster: its nodes, and its runners by name."""

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

IDENTITY = b"spectral-cluster"
"""The key in Ray's key-value store under which the cluster's identity lies."""
PROBE_SECONDS = 3.0
"""How long the head has to accept a connection."""


class ClusterUnreachable(RuntimeError):
    """Ray's head does not accept a connection."""


@dataclass(frozen=True)
class Node:
    """A living node of the cluster, with all of its CPUs and GPUs, used or not."""

    name: str
    cpus: float
    gpus: float


class Cluster:
    """One connection to Ray.

    Args:
        address: The head as ``host:port``, or ``auto`` for the one on this machine.
        namespace: The Ray namespace of the runners.

    Attributes:
        identity: A random name of the cluster, empty while there is no connection. A restarted head, which has lost its
            actors, gets a new one.
    """

    def __init__(self, address: str, namespace: str) -> None:
        self._address, self._namespace = address, namespace
        self._head: tuple[str, int] | None = None
        self.identity = ""

    @property
    def connected(self) -> bool:
        """Whether there is a connection. The head may have gone since the last ``check``."""
        return bool(self.identity)

    def connect(self) -> None:
        """Connect to the head. Raise ClusterUnreachable, with advice, if that fails."""
        if self._address != "auto":
            self._probe(_split(self._address))
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            ray.init(self._address, namespace=self._namespace, log_to_driver=False, logging_level=logging.WARNING)
        except Exception as error:
            ray.shutdown()
            raise ClusterUnreachable(
                f"cannot connect to Ray at {self._address} ({error}). Start Ray, or set SPECTRAL_RAY_ADDRESS"
            ) from error
        finally:
            _restore(handlers)
        self._head = _split(ray.get_runtime_context().gcs_address)
        # only the first controller to reach a new head sets its identity
        _internal_kv_put(IDENTITY, uuid.uuid4().hex.encode(), overwrite=False)
        self.identity = (_internal_kv_get(IDENTITY) or b"").decode()

    def check(self) -> None:
        """Close the connection and raise ClusterUnreachable if the head no longer answers."""
        try:
            self._probe(self._head)
        except ClusterUnreachable:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection. The runners go on."""
        self.identity, self._head = "", None
        ray.shutdown()

    def nodes(self) -> list[Node]:
        """Return the living nodes."""
        found = []
        for node in ray.nodes():  # type: ignore[no-untyped-call]  # decorated without types
            if node["Alive"]:
                resources = node["Resources"]
                found.append(
                    Node(node["NodeManagerHostname"], float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))
                )
        return found

    def find(self, name: str) -> Any | None:
        """Return a runner's handle; None if no living runner has the name."""
        try:
            return ray.get_actor(name, self._namespace)
        except ValueError:
            return None

    def start(self, assignment: Assignment, name: str) -> Any:
        """Return a runner's handle. The runner is created unless one with this name is alive."""
        return self.find(name) or ray_actor.start(assignment, name, self._namespace)

    def kill(self, name: str) -> None:
        """End a runner's process. Do nothing if it has ended already."""
        handle = self.find(name)
        if handle is not None:
            ray.kill(handle, no_restart=True)

    def runners(self) -> list[str]:
        """Return the names of all living runners in the namespace."""
        named = ray.util.list_named_actors(all_namespaces=True)
        return [actor["name"] for actor in named if actor["namespace"] == self._namespace]

    def _probe(self, head: tuple[str, int] | None) -> None:
        if head is None:
            raise ClusterUnreachable("not connected to Ray")
        try:
            socket.create_connection(head, timeout=PROBE_SECONDS).close()
        except OSError as error:
            raise ClusterUnreachable(
                f"no Ray head answers at {head[0]}:{head[1]} ({error}). Start Ray, or set SPECTRAL_RAY_ADDRESS"
            ) from error


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Take the signals back from Ray, which handles them in Python and in C++, so that this process can end cleanly."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)

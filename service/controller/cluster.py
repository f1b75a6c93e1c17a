"""The connection to the Ray cluster: which nodes it has, and how runners are found, started and killed by name."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import uuid
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import state
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from workers.protocol import Assignment
from workers.runtime import ray_actor

IDENTITY = b"spectral-cluster"
"""The key in Ray's key-value store under which the cluster's identity lies."""
ORDERED_ENDS = ("killed by `ray.kill`", "INTENDED_USER_EXIT")
"""What Ray says of an actor that somebody has killed, or asked to exit."""
PROBE_SECONDS = 3.0
"""How many seconds Ray's head has to accept a TCP connection before it counts as unreachable."""


class ClusterUnreachable(RuntimeError):
    """There is no connection to Ray's head: it does not accept one, ``ray.init`` failed, or none was made yet."""


@dataclass(frozen=True)
class Node:
    """A living node of the cluster: its host name, and all of its CPUs and GPUs, used or not."""

    name: str
    cpus: float
    gpus: float


class Cluster:
    """Connects this process to one Ray cluster, lists its nodes, and finds, starts and kills runners.

    Args:
        address: The head as ``host:port``, or ``auto`` for the one on this machine.
        namespace: The Ray namespace of the runners.

    Attributes:
        identity: A random name of the cluster, kept in its head; empty while there is no connection. A restarted head,
            which has lost its actors, gets a new name.
    """

    def __init__(self, address: str, namespace: str) -> None:
        self._address, self._namespace = address, namespace
        self._head: tuple[str, int] | None = None
        self.identity = ""

    @property
    def connected(self) -> bool:
        """Whether ``connect`` has succeeded since the last ``close``. The head may have gone after that."""
        return bool(self.identity)

    def connect(self) -> None:
        """Connect to the head, and give it an identity if it has none.

        Raises:
            ClusterUnreachable: If the head does not accept a connection, or if ``ray.init`` fails.
            ValueError: If the address is neither ``auto`` nor ends in a colon and a port number.
        """
        if self._address != "auto":
            self._probe(_split(self._address))
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            ray.init(self._address, namespace=self._namespace, log_to_driver=False, logging_level=logging.WARNING)
        except Exception as error:
            ray.shutdown()
            raise ClusterUnreachable(
                f"cannot connect to Ray at {self._address} ({error}). Start Ray, of the version installed here, or set "
                "SPECTRAL_RAY_ADDRESS to the host:port of a running head"
            ) from error
        finally:
            _restore(handlers)
        self._head = _split(ray.get_runtime_context().gcs_address)
        # only the first controller to reach a new head sets its identity
        _internal_kv_put(IDENTITY, uuid.uuid4().hex.encode(), overwrite=False)
        self.identity = (_internal_kv_get(IDENTITY) or b"").decode()

    def check(self) -> None:
        """Return if the head still accepts connections; else close the connection.

        Raises:
            ClusterUnreachable: If the head does not accept a connection, or if there was no connection to check.
        """
        try:
            self._probe(self._head)
        except ClusterUnreachable:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if there is one. The runners go on training."""
        self.identity, self._head = "", None
        ray.shutdown()

    def nodes(self) -> list[Node]:
        """Return the living nodes of the cluster. There must be a connection."""
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
        """End the process of the runner with this name at once, without a checkpoint. Do nothing if there is none."""
        handle = self.find(name)
        if handle is not None:
            ray.kill(handle, no_restart=True)

    def was_killed(self, name: str) -> bool:
        """Return whether the runner with this name was ended by an order to Ray, and not by its own doing.

        False is returned for a runner that lives, and for one of which Ray knows nothing any more.
        """
        for actor in state.actor_table(None, actor_state_name="DEAD").values():
            if actor["Name"] == name:
                message = actor["DeathCause"].actor_died_error_context.error_message
                return any(words in message for words in ORDERED_ENDS)
        return False

    def runners(self) -> list[str]:
        """Return the names of all living runners in the namespace."""
        named = ray.util.list_named_actors(all_namespaces=True)
        return [actor["name"] for actor in named if actor["namespace"] == self._namespace]

    def _probe(self, head: tuple[str, int] | None) -> None:
        if head is None:
            raise ClusterUnreachable("there is no connection to Ray to check; it has to be made first")
        try:
            socket.create_connection(head, timeout=PROBE_SECONDS).close()
        except OSError as error:
            raise ClusterUnreachable(
                f"no Ray head answers at {head[0]}:{head[1]} ({error}). Start Ray there, or set SPECTRAL_RAY_ADDRESS "
                "to the host:port of a running head"
            ) from error


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Take the signals back from Ray, which handles them in Python and in C++, so that this process can end cleanly."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)

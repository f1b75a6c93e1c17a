"""The connection to the Ray cluster: which nodes it has, and how runners are found, started and killed by name."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray._private import worker
from ray._private.state import state
from ray.core.generated import common_pb2, gcs_pb2
from ray.exceptions import RayError
from ray.experimental.internal_kv import internal_kv_get_gcs_client

from service.controller.node import Node
from service.controller.runner_logs import last_words
from service.store.attempts import FailureDomain
from workers.protocol import Assignment
from workers.runtime import ray_actor

IDENTITY = b"spectral-cluster"
"""The key in Ray's key-value store under which the cluster's identity lies."""
ORDERED_ENDS = ("killed by `ray.kill`", "INTENDED_USER_EXIT")
"""What Ray says of an actor that somebody has killed, or asked to exit."""
ALIVE = gcs_pb2.GcsNodeInfo.GcsNodeState.ALIVE  # type: ignore[attr-defined]  # generated, without types
NODE_DIED = common_pb2.ActorDiedErrorContext.Reason.NODE_DIED  # type: ignore[attr-defined]
ORDERED = "its runner was ended from outside, by an order to Ray"
PROBE_SECONDS = 3.0
"""How many seconds Ray's head has to accept a TCP connection, and to answer, before it counts as unreachable."""


class ClusterUnreachable(RuntimeError):
    """There is no connection to the Ray cluster: none was made, its head does not answer, or is another one now."""


@dataclass(frozen=True)
class Death:
    """What was lost with a runner that is dead.

    Attributes:
        domain: What was lost.
        words: Why; empty if only Ray's message says it.
        last_words: The last lines that its process wrote to its standard error; empty if this machine has none.
    """

    domain: FailureDomain
    words: str = ""
    last_words: str = ""


class Cluster:
    """Connects this process to one Ray cluster, lists its nodes, and finds, starts and kills runners.

    Args:
        address: The head as ``host:port``, or ``auto`` for the one on this machine.
        namespace: The Ray namespace of the runners.

    Attributes:
        identity: A random name of the cluster, kept in its head; empty while there is no connection. A restarted head,
            which has lost its actors, gets a new name. A new head often listens where the old one did, so that only the
            name tells them apart.

        connections: How often a connection was made. What Ray gave through an earlier one is of no use any more.

    What Ray answers through a connection to a head that was replaced is wrong: it knows no runner, and some calls abort
    the process. Therefore every method here checks the identity before it believes that something is not there.
    """

    def __init__(self, address: str, namespace: str) -> None:
        self._address, self._namespace = address, namespace
        self._head: tuple[str, int] | None = None
        self.identity = ""
        self.connections = 0

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
        self.connections += 1
        try:
            self._head = _split(ray.get_runtime_context().gcs_address)
            # only the first controller to reach a new head sets its identity
            own = uuid.uuid4().hex.encode()
            _client().internal_kv_put(IDENTITY, own, False, None, timeout=PROBE_SECONDS)
            self.identity = self._read_identity()
            if not self.identity:
                raise ClusterUnreachable("it keeps no identity")
        except (ClusterUnreachable, RayError) as error:
            self.close()
            raise ClusterUnreachable(
                f"Ray's head went away while it was being connected to ({_line(error)})"
            ) from error

    def check(self) -> None:
        """Return if the cluster that this process is connected to is still there; else close the connection.

        An open port is not enough: it may be a new head's, which knows nothing of our runners.

        Raises:
            ClusterUnreachable: If the head does not answer in time, if it is another one than that which was connected
                to, or if there was no connection to check.
        """
        try:
            self._probe(self._head)
            found = self._read_identity()
            if found != self.identity:
                raise ClusterUnreachable(_replaced(self._head))
        except ClusterUnreachable:
            self.close()
            raise

    def _read_identity(self) -> str:
        """Return the identity that the head has stored; empty if it has none.

        Ray's client, which stays the one of the cluster that was connected to, is refused by any other cluster.
        """
        try:
            found = _client().internal_kv_get(IDENTITY, None, timeout=PROBE_SECONDS)
        except RayError as error:
            raise ClusterUnreachable(f"{_replaced(self._head)}: {_line(error)}") from error
        return (found or b"").decode()

    def close(self) -> None:
        """Close the connection, if there is one. The runners go on training."""
        self.identity, self._head = "", None
        ray.shutdown()

    def nodes(self) -> list[Node]:
        """Return the living nodes of the cluster.

        Raises:
            ClusterUnreachable: If there is no connection, or if Ray's head does not answer.
        """
        self.check()
        try:
            # not ray.nodes(), which ends the process if the head has gone in between
            infos = _client().get_all_node_info(timeout=PROBE_SECONDS).values()
        except RayError as error:
            self.close()
            raise ClusterUnreachable(f"Ray's head does not answer: {_line(error)}") from error
        living = [info for info in infos if info.state == ALIVE]
        return [
            Node(
                info.node_manager_hostname,
                float(info.resources_total.get("CPU", 0)),
                float(info.resources_total.get("GPU", 0)),
                int(info.resources_total.get("memory", 0)),
                dict(info.labels),
                info.node_id.hex(),
            )
            for info in living
        ]

    def find(self, name: str) -> Any | None:
        """Return a runner's handle; None if no living runner has the name.

        Raises:
            ClusterUnreachable: If the cluster that knows its runners is gone.
        """
        try:
            return ray.get_actor(name, self._namespace)
        except ValueError:
            self.check()  # a head that was replaced knows no runner either
            return None

    def start(self, assignment: Assignment, name: str) -> Any:
        """Return a runner's handle. The runner is created unless one with this name is alive."""
        return self.find(name) or ray_actor.start(assignment, name, self._namespace)

    def kill(self, name: str) -> None:
        """End the process of the runner with this name at once, without a checkpoint. Do nothing if there is none."""
        handle = self.find(name)
        if handle is not None:
            ray.kill(handle, no_restart=True)

    def death(self, name: str) -> Death:
        """Return what was lost with the runner of this name, which does not live any more.

        It is ``preemption`` if somebody ordered Ray to end it, or if its node was drained or lost; ``memory`` if Ray
        ended it because its machine ran out of memory; and else ``process``, also if Ray knows nothing of it.

        Raises:
            ClusterUnreachable: If the whole cluster is gone.
        """
        self.check()
        for actor in state.actor_table(None, actor_state_name="DEAD").values():
            if actor["Name"] == name:
                found = _death(actor["DeathCause"])
                return replace(found, last_words=last_words(Path(_node().get_logs_dir_path()), actor["Pid"]))
        return Death("process")

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


def _death(cause: Any) -> Death:
    """Return what Ray's ``ActorDeathCause`` means."""
    if cause.WhichOneof("context") == "oom_context":
        return Death("memory", "its process was ended because its machine was running out of memory")
    died = cause.actor_died_error_context
    if died.reason == NODE_DIED:
        why = f": {died.node_death_info.reason_message}" if died.node_death_info.reason_message else ""
        return Death("preemption", f"its node was drained or lost{why}")
    if any(words in died.error_message for words in ORDERED_ENDS):
        return Death("preemption", ORDERED)
    return Death("process")


def _node() -> Any:
    """Return Ray's own description of the node on this machine, through which this process is connected."""
    return worker._global_node


def _client() -> Any:
    """Return Ray's own client of the head, every call of which has a time limit and aborts no process."""
    return internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]


def _replaced(head: tuple[str, int] | None) -> str:
    host, port = head or ("?", 0)
    return f"the Ray head at {host}:{port} is not the one that was connected to, or does not answer"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    """Take the signals back from Ray, which handles them in Python and in C++, so that this process can end cleanly."""
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)

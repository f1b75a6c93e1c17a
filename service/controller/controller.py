"""The controller's main loop: try to become the leader again and again, and reconcile while leading."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from ray.exceptions import RayError
from sqlalchemy.orm import Session

from service.controller import scheduling
from service.controller.backoff import Backoff
from service.controller.checkpoint_keeper import CheckpointKeeper
from service.controller.cluster import Cluster, ClusterUnreachable
from service.controller.leadership import EXIT_STATUS, Leadership
from service.controller.node import Node
from service.controller.reconciler import Reconciler
from service.controller.sweep_remover import SweepRemover
from service.settings import ControllerSettings
from service.store import components, leases, packs
from service.store.database import Database, LeadLost, is_unavailable
from service.store.queue import QueueNotes
from service.store.tables import Pack
from service.tracking.projector import Projector
from service.webhooks.deliverer import Deliverer
from service.webhooks.targets import read_targets

log = logging.getLogger(__name__)

HEALTH_SECONDS = 3.0
"""The least time, in seconds, between two notes of the controller's and Ray's health in the database."""
RETRY_SECONDS = 1.0
"""The pause, in seconds, between two attempts to become the leader while another one leads."""
MAX_TERMS, MAX_SECONDS = 5, 30.0
"""So many terms in a row, over so many seconds, may end with an unexpected error; then the process ends."""


NO_RAY = "Ray, which does not answer"


class Controller:
    """Reconciles sweeps while it is the leader among the controllers of a database, and waits for that otherwise.

    Args:
        settings: The controller's settings.
        stop: Set by the caller to end ``run``.

    Raises:
        WrongWebhooks: The file of webhooks that the settings name cannot be used.
    """

    def __init__(self, settings: ControllerSettings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._database = Database(settings.database_url)
        self._leadership = Leadership(self._database, settings.lease_seconds)
        self._cluster = Cluster(settings.ray_address, settings.ray_namespace)
        self._terms, self._ray_errors = Backoff(), Backoff()
        self._connections = Backoff(first=settings.tick_seconds, longest=5.0)
        self._database_away = Backoff(first=RETRY_SECONDS, longest=5.0)
        self._webhooks = read_targets(settings.webhooks_file) if settings.webhooks_file else []
        self._health_at = 0.0
        self._last_message = ""
        self._notes: QueueNotes | None = None

    def run(self) -> int:
        """Reconcile while this controller is the leader, and otherwise try again and again to become it.

        Errors of the database and unexpected errors are logged, and never raised: they end the term, and the controller
        tries to become the leader again, after pauses that grow. An unexpected error closes the connection to Ray too,
        since it may be what is wrong. Runners go on training.

        Returns:
            0 once ``stop`` is set; then the lease is released and the connections are closed. ``EXIT_STATUS`` if
            ``MAX_TERMS`` terms in a row have ended with an unexpected error: another process has to go on.
        """
        try:
            while not self._stop.is_set():
                self._stop.wait(self._try_to_lead())
                if self._terms.exhausted(MAX_TERMS, MAX_SECONDS):
                    log.critical("%d terms have failed in a row; this controller exits", self._terms.failures)
                    return EXIT_STATUS
            return 0
        finally:
            self._cluster.close()
            self._database.close()

    def _try_to_lead(self) -> float:
        """Try once to become the leader; if that succeeds, reconcile until ``stop`` is set or the term ends.

        Returns:
            The seconds to wait before the next try.
        """
        try:
            term = self._leadership.acquire()
            if term is None:
                self._log_once("Another controller leads; waiting")
                return RETRY_SECONDS
            with self._leadership.held(term):
                self._log_once(f"Leading in term {term}")
                self._lead(term)
        except LeadLost as error:
            self._log_once(f"No longer leading: {error}")
        except Exception as error:
            if is_unavailable(error):
                self._log_once(f"The database cannot be used; trying again: {_first_line(error)}")
                return self._database_away.fail()
            pause = self._terms.fail()
            log.exception("Unexpected error; beginning another term in %.0f s", pause)
            return pause
        return RETRY_SECONDS

    def _lead(self, term: int) -> None:
        """Reconcile until ``stop`` is set. An error ends the term and is raised.

        Threads beside it write to MLflow, call the webhooks, look after the checkpoint store and remove what users have
        deleted.
        """
        projector = Projector(self._database, self._settings, term)
        deliverer = Deliverer(self._database, self._webhooks, term)
        keeper = CheckpointKeeper(self._database, self._settings, term)
        remover = SweepRemover(self._database, self._settings, term)
        reconciler = Reconciler(self._database, self._cluster, self._settings, term)
        self._notes = None
        for thread in (projector, deliverer, keeper, remover):
            thread.start()
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                if self._tick(reconciler, term):
                    projector.wake()
                self._leadership.report_progress()
                pause = 0.0 if reconciler.behind else self._settings.tick_seconds - (time.monotonic() - started)
                self._stop.wait(max(0.0, pause))
        except Exception as error:
            if not isinstance(error, LeadLost) and not is_unavailable(error):
                self._cluster.close()  # while the lease is held: should this hang, the lease's thread ends the process
            raise
        finally:
            for thread in (deliverer, keeper, remover, projector):
                thread.stop()

    def _tick(self, reconciler: Reconciler, term: int) -> bool:
        """Do one tick, and note the health. Return whether MLflow should be written to at once.

        If Ray fails in between, the connection is closed, and the next ticks go on without Ray until a pause is over.
        An error that Ray gives again and again, whatever it is connected to, is raised.
        """
        ended = False
        try:
            self._ensure_connected(reconciler, term)
            ended = reconciler.tick(self._settings.tick_seconds / 2)
        except ClusterUnreachable as error:
            self._disconnect(error)
        except RayError as error:
            self._disconnect(error)
            self._ray_errors.fail()
            if self._ray_errors.exhausted(MAX_TERMS, MAX_SECONDS):
                raise
        self._write_health(reconciler, term)
        return ended

    def _disconnect(self, error: Exception) -> None:
        self._cluster.close()
        self._connections.fail()
        self._log_once(_first_line(error))

    def _ensure_connected(self, reconciler: Reconciler, term: int) -> None:
        """Check the connection to Ray, or make it. If that fails, log it: the tick goes on without Ray."""
        try:
            if self._cluster.connected:
                self._cluster.check()
                return
            if self._connections.pause_left:
                return
            self._cluster.connect()
        except ClusterUnreachable as error:
            self._disconnect(error)
            return
        self._compare_identity(reconciler, term)

    def _compare_identity(self, reconciler: Reconciler, term: int) -> None:
        """Mark all open packs as lost if the cluster's identity is not the one in the database.

        The new identity is stored only afterwards, so that an interrupted comparison is repeated.
        """
        with self._database.read() as session:
            row = components.get(session, "ray")
            before = row.detail.get("identity") if row else None
        if before != self._cluster.identity:
            reconciler.mark_all_lost("the Ray cluster that it ran on is gone")
            nodes = self._cluster.nodes()
            with self._database.write(term) as session:
                self._note_ray(session, nodes)
        self._log_once(f"Connected to Ray ({', '.join(node.name for node in self._cluster.nodes())})")

    def _write_health(self, reconciler: Reconciler, term: int) -> None:
        if time.monotonic() - self._health_at < HEALTH_SECONDS:
            return
        nodes = self._nodes()  # before the transaction, which must not wait for Ray
        notes = reconciler.launcher.notes if nodes is not None else QueueNotes.of_all(NO_RAY)
        with self._database.write(term) as session:
            lease = leases.current(session)
            detail = {"term": term, "holder": lease.holder if lease else ""}
            components.note(session, "controller", True, f"leading in term {term}", detail)
            self._note_ray(session, nodes)
            problem = reconciler.checkpoint_problem
            if problem:
                components.note(session, "checkpoint_writes", False, problem)
            else:
                components.remove(session, "checkpoint_writes")
            if notes != self._notes:
                notes.write(session)
        self._notes = notes
        self._health_at = time.monotonic()

    def _nodes(self) -> list[Node] | None:
        """Return the nodes of the cluster; None if there is no connection to it any more."""
        try:
            return self._cluster.nodes() if self._cluster.connected else None
        except ClusterUnreachable as error:
            self._disconnect(error)
            return None

    def _note_ray(self, session: Session, nodes: Sequence[Node] | None) -> None:
        if nodes is None:
            row = components.get(session, "ray")
            detail = {"identity": row.detail["identity"]} if row and "identity" in row.detail else {}
            components.note(
                session, "ray", False, "Ray's head does not answer; until it does, no pack is started or polled", detail
            )
            return
        running = packs.open_packs(session)
        stalled = scheduling.stalled_sweeps(session, nodes)
        detail = {
            "identity": self._cluster.identity,
            "nodes": [_as_json(node, running) for node in nodes],
            "cpus": sum(node.cpus for node in nodes),
            "gpus": sum(node.gpus for node in nodes),
            "memory": sum(node.memory for node in nodes),
            "cpus_used": sum(pack.cpus for pack in running),
            "gpus_used": sum(pack.gpus for pack in running),
            "memory_used": sum(pack.memory for pack in running),
            "packs": len(running),
            "stalled": stalled,
        }
        message = f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}, {len(running)} packs running"
        components.note(session, "ray", True, "; ".join([message, *stalled]), detail)

    def _log_once(self, message: str) -> None:
        """Log a message unless it is the same as the last message that this method was given."""
        if message != self._last_message:
            log.info("%s", message)
        self._last_message = message


def _as_json(node: Node, running: Sequence[Pack]) -> dict[str, Any]:
    """Return a node as the API shows it, with what is in use there of its CPUs, GPUs and memory."""
    here = [pack for pack in running if pack.node == node.id]
    return {
        "name": node.name,
        "cpus": node.cpus,
        "gpus": node.gpus,
        "memory": node.memory,
        "labels": dict(node.labels),
        "cpus_used": sum(pack.cpus for pack in here),
        "gpus_used": sum(pack.gpus for pack in here),
        "memory_used": sum(pack.memory for pack in here),
    }


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]

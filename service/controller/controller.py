"""The controller's main loop: try to become the leader again and again, and reconcile while leading."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.controller import scheduling
from service.controller.checkpoint_keeper import CheckpointKeeper
from service.controller.cluster import Cluster, ClusterUnreachable, Node
from service.controller.leadership import Leadership
from service.controller.reconciler import Reconciler
from service.settings import ControllerSettings
from service.store import components, leases, packs
from service.store.database import Database, LeadLost
from service.tracking.projector import Projector

log = logging.getLogger(__name__)

HEALTH_SECONDS = 3.0
"""The least time, in seconds, between two notes of the controller's and Ray's health in the database."""
RETRY_SECONDS = 1.0
"""The pause, in seconds, between two attempts to become the leader."""


class Controller:
    """Reconciles sweeps while it is the leader among the controllers of a database, and waits for that otherwise.

    Args:
        settings: The controller's settings.
        stop: Set by the caller to end ``run``.
    """

    def __init__(self, settings: ControllerSettings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._database = Database(settings.database_url)
        self._leadership = Leadership(self._database, settings.lease_seconds)
        self._cluster = Cluster(settings.ray_address, settings.ray_namespace)
        self._health_at = 0.0
        self._last_message = ""

    def run(self) -> None:
        """Reconcile while this controller is the leader, and otherwise try every RETRY_SECONDS to become it.

        Return once ``stop`` is set. Then the lease is released and the connections are closed; runners go on training.
        Errors of the database and unexpected errors are logged, and never raised: they end the term, and the controller
        tries to become the leader again.
        """
        try:
            while not self._stop.is_set():
                self._try_to_lead()
                self._stop.wait(RETRY_SECONDS)
        finally:
            self._cluster.close()
            self._database.close()

    def _try_to_lead(self) -> None:
        """Try once to become the leader; if that succeeds, reconcile until ``stop`` is set or the term ends."""
        try:
            term = self._leadership.acquire()
            if term is None:
                self._log_once("Another controller leads; waiting")
                return
            with self._leadership.held(term):
                self._log_once(f"Leading in term {term}")
                self._lead(term)
        except LeadLost as error:
            self._log_once(f"No longer leading: {error}")
        except SQLAlchemyError as error:
            self._log_once(f"The database cannot be used; trying again: {_first_line(error)}")
        except Exception:
            log.exception("Unexpected error; restarting the leadership term")

    def _lead(self, term: int) -> None:
        """Reconcile, and write the outbox to MLflow, until ``stop`` is set. An error ends the term and is raised."""
        projector = Projector(self._database, self._settings, term)
        projector.start()
        keeper = CheckpointKeeper(self._database, self._settings, term)
        keeper.start()
        reconciler = Reconciler(self._database, self._cluster, self._settings, term)
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                self._leadership.report_progress()
                try:
                    self._ensure_connected(reconciler, term)
                    if reconciler.tick(self._settings.tick_seconds / 2):
                        projector.wake()
                except ClusterUnreachable as error:
                    self._log_once(str(error))
                self._write_health(term)
                self._stop.wait(max(0.0, self._settings.tick_seconds - (time.monotonic() - started)))
        finally:
            keeper.stop()
            projector.stop()

    def _ensure_connected(self, reconciler: Reconciler, term: int) -> None:
        """Check the connection to Ray, or make it. If that fails, log it once: the tick goes on without Ray."""
        try:
            if self._cluster.connected:
                self._cluster.check()
                return
            self._cluster.connect()
        except ClusterUnreachable as error:
            self._log_once(str(error))
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
            with self._database.write(term) as session:
                self._write_ray_health(session)
        self._log_once(f"Connected to Ray ({', '.join(node.name for node in self._cluster.nodes())})")

    def _write_health(self, term: int) -> None:
        if time.monotonic() - self._health_at < HEALTH_SECONDS:
            return
        with self._database.write(term) as session:
            lease = leases.current(session)
            detail = {"term": term, "holder": lease.holder if lease else ""}
            components.note(session, "controller", True, f"leading in term {term}", detail)
            self._write_ray_health(session)
        self._health_at = time.monotonic()

    def _write_ray_health(self, session: Session) -> None:
        if not self._cluster.connected:
            row = components.get(session, "ray")
            detail = {"identity": row.detail["identity"]} if row and "identity" in row.detail else {}
            components.note(
                session, "ray", False, "Ray's head does not answer; until it does, no pack is started or polled", detail
            )
            return
        nodes = self._cluster.nodes()
        running = packs.open_packs(session)
        stalled = scheduling.stalled_sweeps(session, nodes)
        detail = {
            "identity": self._cluster.identity,
            "nodes": [_as_json(node) for node in nodes],
            "cpus": sum(node.cpus for node in nodes),
            "gpus": sum(node.gpus for node in nodes),
            "cpus_used": sum(pack.cpus for pack in running),
            "gpus_used": sum(pack.gpus for pack in running),
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


def _as_json(node: Node) -> dict[str, str | float]:
    return {"name": node.name, "cpus": node.cpus, "gpus": node.gpus}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]

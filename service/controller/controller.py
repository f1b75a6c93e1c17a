"""The controller's main loop: wait for the database, acquire the leadership, then reconcile until it is stopped."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.controller import scheduling
from service.controller.cluster import Cluster, ClusterUnreachable, Node
from service.controller.leadership import Leadership
from service.controller.reconciler import Reconciler
from service.settings import ControllerSettings
from service.store import components, leases, packs
from service.store.database import Database, LeadLost
from service.tracking.projector import Projector

log = logging.getLogger(__name__)

HEALTH_SECONDS = 3.0
"""How often the health of the controller and of Ray is written to the database."""
RETRY_SECONDS = 1.0
"""The pause between two attempts to lead."""


class Controller:
    """One controller process, which leads or waits for its turn."""

    def __init__(self, settings: ControllerSettings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._database = Database(settings.database_url)
        self._leadership = Leadership(self._database, settings.lease_seconds)
        self._cluster = Cluster(settings.ray_address, settings.ray_namespace)
        self._health_at = 0.0
        self._last_message = ""

    def run(self) -> None:
        """Lead, or wait to lead, until ``stop`` is set."""
        try:
            while not self._stop.is_set():
                self._try_to_lead()
                self._stop.wait(RETRY_SECONDS)
        finally:
            self._cluster.close()
            self._database.close()

    def _try_to_lead(self) -> None:
        """Try to acquire the leadership, and reconcile while it lasts. An error ends the term; ``run`` tries again."""
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
        """Reconcile until the controller is stopped or the term ends."""
        projector = Projector(self._database, self._settings, term)
        projector.start()
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
            projector.stop()

    def _ensure_connected(self, reconciler: Reconciler, term: int) -> None:
        """Connect to Ray if necessary. If that fails, the tick goes on without Ray."""
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
        """Mark all packs as lost if this is not the cluster that they run on.

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
            components.note(session, "ray", False, "Ray's head does not answer; running packs continue", detail)
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
        """Log a message unless it is the same as the last one."""
        if message != self._last_message:
            log.info("%s", message)
        self._last_message = message


def _as_json(node: Node) -> dict[str, str | float]:
    return {"name": node.name, "cpus": node.cpus, "gpus": node.gpus}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]

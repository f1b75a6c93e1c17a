"""The controller's life: wait for the database, wait for the lead, then reconcile until told to stop."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.controller import scheduling
from service.controller.cluster import Cluster, ClusterGone, Node
from service.controller.leadership import Leadership
from service.controller.reconciler import Reconciler
from service.settings import ControllerSettings
from service.store import components, leases, packs
from service.store.database import Database, LeadLost
from service.tracking.projector import Projector

log = logging.getLogger(__name__)

NOTE_SECONDS = 3.0
RETRY_SECONDS = 1.0


class Controller:
    """``run`` returns once ``stop`` is set."""

    def __init__(self, settings: ControllerSettings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._database = Database(settings.database_url)
        self._lead = Leadership(self._database, settings.lease_seconds)
        self._cluster = Cluster(settings.ray_address, settings.ray_namespace)
        self._noted_at = 0.0
        self._said = ""

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                self._term()
                self._stop.wait(RETRY_SECONDS)
        finally:
            self._cluster.close()
            self._database.close()

    def _term(self) -> None:
        """One try to lead, and all the time it lasts. Whatever cuts it short is said once and tried again."""
        try:
            term = self._lead.acquire()
            if term is None:
                self._say("another controller leads; waiting")
                return
            with self._lead.kept(term):
                self._say(f"leading, term {term}")
                self._rule(term)
        except LeadLost as error:
            self._say(f"stepped down: {error}")
        except SQLAlchemyError as error:
            self._say(f"the database cannot be used, waiting for it: {_first_line(error)}")
        except Exception:
            log.exception("an error nobody foresaw; leading is begun anew")

    def _rule(self, term: int) -> None:
        projector = Projector(self._database, self._settings, term)
        projector.start()
        reconciler = Reconciler(self._database, self._cluster, self._settings, term)
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                self._lead.progress()
                try:
                    self._reach_ray(reconciler, term)
                    if reconciler.tick(self._settings.tick_seconds / 2):
                        projector.wake()
                except ClusterGone as error:
                    self._say(str(error))
                self._note(term)
                self._stop.wait(max(0.0, self._settings.tick_seconds - (time.monotonic() - started)))
        finally:
            projector.stop()

    def _reach_ray(self, reconciler: Reconciler, term: int) -> None:
        """Connected when this returns, or the tick goes on without Ray."""
        try:
            if self._cluster.connected:
                self._cluster.check()
                return
            self._cluster.connect()
        except ClusterGone as error:
            self._say(str(error))
            return
        self._meet(reconciler, term)

    def _meet(self, reconciler: Reconciler, term: int) -> None:
        """A cluster we had not met before has none of our runners: what ran on the last one is lost with it."""
        with self._database.read() as session:
            row = components.get(session, "ray")
            before = row.detail.get("identity") if row else None
        if before != self._cluster.identity:
            reconciler.lose_all("the Ray cluster it ran on is gone")
            with self._database.write(term) as session:
                self._note_ray(session)
        self._say(f"connected to Ray ({', '.join(node.name for node in self._cluster.nodes())})")

    def _note(self, term: int) -> None:
        if time.monotonic() - self._noted_at < NOTE_SECONDS:
            return
        with self._database.write(term) as session:
            lease = leases.current(session)
            detail = {"term": term, "holder": lease.holder if lease else ""}
            components.note(session, "controller", True, f"leading, term {term}", detail)
            self._note_ray(session)
        self._noted_at = time.monotonic()

    def _note_ray(self, session: Session) -> None:
        if not self._cluster.connected:
            row = components.get(session, "ray")
            detail = {"identity": row.detail["identity"]} if row and "identity" in row.detail else {}
            components.note(session, "ray", False, "no Ray head answers; training goes on where it can", detail)
            return
        nodes = self._cluster.nodes()
        running = packs.open_packs(session)
        stalled = scheduling.stalled(session, nodes)
        detail = {
            "identity": self._cluster.identity, "nodes": [_shown(node) for node in nodes],
            "cpus": sum(n.cpus for n in nodes), "gpus": sum(n.gpus for n in nodes),
            "cpus_used": sum(p.cpus for p in running), "gpus_used": sum(p.gpus for p in running),
            "packs": len(running), "stalled": stalled,
        }  # fmt: skip
        message = f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}, {len(running)} packs running"
        components.note(session, "ray", True, "; ".join([message, *stalled]), detail)

    def _say(self, message: str) -> None:
        """Once, until there is something else to say."""
        if message != self._said:
            log.info("%s", message)
        self._said = message


def _shown(node: Node) -> dict[str, str | float]:
    return {"name": node.name, "cpus": node.cpus, "gpus": node.gpus}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]

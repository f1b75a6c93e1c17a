"""``/metrics`` for Prometheus: requests, sweeps and trials by state, and changes that MLflow has yet to get."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.states import SWEEP_STATES, TRIAL_STATES
from service.store import outbox, sweeps, trials
from service.store.database import Database

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response)
def scrape(request: Request) -> Response:
    """Return the service's metrics in Prometheus' text format."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


def registries(database: Database) -> tuple[CollectorRegistry, CollectorRegistry]:
    """Return the registry that is scraped, and the one for this process's own counts.

    With several processes, whose counts prometheus_client keeps in files that all of them read, the first has the sums
    over all processes; else the two are the same.
    """
    scraped = CollectorRegistry()
    scraped.register(StoreCollector(database))
    if values.ValueClass is values.MutexValue:
        return scraped, scraped
    MultiProcessCollector(scraped)  # type: ignore[no-untyped-call]
    return scraped, CollectorRegistry()


class StoreCollector(Collector):
    """Counts sweeps, trials and outbox entries in the database at each scrape.

    If the database does not answer, ``spectral_database_up`` is 0 and the counts are left out.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield ``spectral_database_up`` and the counts; Prometheus' client calls this for each scrape."""
        up = GaugeMetricFamily("spectral_database_up", "1 if the database answered during this scrape, else 0")
        try:
            with self._database.read() as session:
                counts = (sweeps.counts(session), trials.counts(session))
                waiting = outbox.size(session)
        except SQLAlchemyError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield _by_state("spectral_sweeps", "Sweeps by state", list(SWEEP_STATES), counts[0])
        yield _by_state("spectral_trials", "Trials by state", list(TRIAL_STATES), counts[1])
        yield GaugeMetricFamily(
            "spectral_outbox_entries", "Changes that have not been written to MLflow yet", value=waiting
        )


def _by_state(name: str, text: str, states: list[str], counts: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state in states:
        family.add_metric([state], counts.get(state, 0))
    return family


class RequestMetrics:
    """ASGI middleware that counts and times requests.

    Requests are labelled with their route and not with their path, so that ids do not create new series. The time
    measured is that until the response starts: an event stream is not slow because it is long.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ["method", "route", "status"]
        self._count = Counter("spectral_http_requests", "Requests answered", labels, registry=registry)
        self._seconds = Histogram(
            "spectral_http_response_seconds", "Time to the start of the response", labels[:2], registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; everything but HTTP is passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, counted = time.perf_counter(), False

        def count(status: int) -> None:
            nonlocal counted
            counted = True
            route = getattr(scope.get("route"), "path", "(none)")
            self._count.labels(scope["method"], route, status).inc()
            self._seconds.labels(scope["method"], route).observe(time.perf_counter() - begun)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            if not counted:
                count(500)  # the answer to a mistake of the service is made outside
            raise

"""The HTTP application, made from settings. Nothing is opened before the first request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.access.audit_log import AuditLog
from service.api import (
    access,
    admission,
    after_end,
    best_so_far,
    catalogue,
    curves,
    early_stopping,
    events,
    health,
    manual,
    mlflow_proxy,
    page,
    points,
    problems,
    prometheus,
    report_files,
    route_rules,
    sweeps,
    trial_logs,
    trials,
    trials_after_end,
)
from service.api.deps import Context
from service.api.event_watch import EventWatch
from service.api.gate import Gate
from service.api.hidden_paths import HiddenPaths, folders_of
from service.schemas import Problem
from service.settings import ApiSettings
from service.store.database import Database
from workers.spec.sweep import SweepSpec

SUMMARY = "Sweeps of Spectral-RNNs over reflector count and singular-value margin."
PATIENCE_SECONDS = 2.0
"""How long a request waits for a lock or a connection of the database before it is answered with 503."""
CONNECTIONS = admission.READERS + admission.WRITERS + admission.REPORTERS + 8
"""The most connections of one process: those of admitted requests, and some for event streams and probes."""


def create_app(settings: ApiSettings) -> FastAPI:
    """Make the application; the database that the settings name must have been migrated before the first request."""
    database = Database(settings.database_url, patience=PATIENCE_SECONDS, connections=CONNECTIONS)
    audit = AuditLog(database)
    mlflow = mlflow_proxy.MlflowProxy(settings.mlflow_upstream) if settings.mlflow_upstream else None

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        audit.start()
        yield
        audit.close()
        if mlflow:
            await mlflow.close()
        database.close()

    app = FastAPI(
        title="Spectral-RNN service",
        description=SUMMARY,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=problems.documented(),
    )
    scraped, own = prometheus.registries(database)
    watch = EventWatch(database, settings.event_poll_seconds)
    app.state.context, app.state.registry = Context(settings, database, watch), scraped
    # what can be done after the end comes before the verbs of sweeps and trials, whose paths would match too
    for module in (
        after_end,
        trials_after_end,
        best_so_far,
        curves,
        points,
        report_files,
        sweeps,
        events,
        trial_logs,
        trials,
        catalogue,
        early_stopping,
        access,
        health,
        prometheus,
        page,
    ):
        app.include_router(module.router)
    app.mount("/page", page.PageFiles(directory=page.FOLDER), name="page")
    app.mount(manual.PATH, manual.Manual(manual.FOLDERS), name="manual")
    if mlflow:
        app.mount(mlflow_proxy.PATH, mlflow, name="mlflow")
    # the last is the outermost: who may ask is looked up in the database, which only admitted requests may do
    app.add_middleware(HiddenPaths, folders=folders_of(settings))
    app.add_middleware(Gate, settings=settings, database=database, audit=audit)
    app.add_middleware(admission.Admission, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(prometheus.RequestMetrics, registry=own)
    problems.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to extend the schema
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI schema, made at the first call.

    The schemas of the sweep document and of problem documents are added: handlers read the one from the raw body, and
    the others are sent by ``problems``, so FastAPI does not know them.
    """
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for model in (SweepSpec, Problem):
            shown = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schema["components"]["schemas"] |= {**shown.pop("$defs"), model.__name__: shown}
        route_rules.describe(schema)
        app.openapi_schema = schema
    return app.openapi_schema

"""The HTTP application, made from settings. Nothing is opened before the first request."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client import CollectorRegistry

from service.access.audit_log import AuditLog
from service.api import access, catalogue, events, health, page, problems, prometheus, route_rules, sweeps, trials
from service.api.deps import Context
from service.api.gate import Gate
from service.api.hidden_paths import HiddenPaths, folders_of
from service.api.schemas import Problem
from service.settings import ApiSettings
from service.store.database import Database
from workers.spec.sweep import SweepSpec

SUMMARY = "Sweeps of Spectral-RNNs over reflector count and singular-value margin."


def create_app(settings: ApiSettings) -> FastAPI:
    """Make the application; the database that the settings name must have been migrated before the first request."""
    database = Database(settings.database_url)
    audit = AuditLog(database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        audit.start()
        yield
        audit.close()
        database.close()

    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": "A problem document"}
        for status in (400, 401, 403, 404, 409, 421, 422, 429, 503)
    }
    app = FastAPI(
        title="Spectral-RNN service",
        description=SUMMARY,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=refusals,
    )
    registry = CollectorRegistry()
    registry.register(prometheus.StoreCollector(database))
    app.state.context, app.state.registry = Context(settings, database), registry
    for module in (sweeps, events, trials, catalogue, access, health, prometheus, page):
        app.include_router(module.router)
    app.mount("/page", page.PageFiles(directory=page.FOLDER), name="page")
    folders = folders_of(settings, os.environ.get("SPECTRAL_CHECKPOINT_DIR"))
    app.add_middleware(HiddenPaths, folders=folders)
    app.add_middleware(Gate, settings=settings, database=database, audit=audit)
    app.add_middleware(prometheus.RequestMetrics, registry=registry)
    problems.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to extend the schema
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI schema, made at the first call.

    The schema of the sweep document is added: handlers read it from the raw body, so FastAPI does not know it.
    """
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        sweep = SweepSpec.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"] |= {**sweep.pop("$defs"), "SweepSpec": sweep}
        route_rules.describe(schema)
        app.openapi_schema = schema
    return app.openapi_schema

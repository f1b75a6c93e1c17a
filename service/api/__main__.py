"""``python -m service.api``: migrate the database, then serve the API with one or several processes."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from service.access import administration
from service.access.token_text import hide_secrets
from service.environment import leave_to_others
from service.settings import ApiSettings, wrong_settings
from service.store import migrations
from service.store.database import Database
from service.unsafe_start import UnsafeStart, refuse_known_password, refuse_open_mlflow

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger("service.api")

PATIENCE_SECONDS = 120.0
GRACE_SECONDS = 3
WORKER_PATIENCE_SECONDS = 60
"""A process of several that does not answer the first one for so long is ended and started anew."""
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client lets several processes add up their counts in files."""


def main() -> None:
    """Migrate the database and serve until SIGTERM or SIGINT. A wrong or unsafe setting is a message and an exit.

    Event streams that are still open after ``GRACE_SECONDS`` are cut; their readers resume at the last event they saw.
    """
    leave_to_others()  # before the imports: what fastapi imports reads some variables at once
    import uvicorn

    _log_to_stderr()
    try:
        settings = ApiSettings()
        refuse_known_password(settings.database_url)
        if settings.mlflow_upstream:
            refuse_open_mlflow(settings.mlflow_upstream)
    except ValidationError as error:
        sys.exit(wrong_settings(error))
    except UnsafeStart as error:
        sys.exit(f"the API does not start: {error}")
    try:
        _migrate(settings.database_url)
    except migrations.UnknownRevision as error:
        sys.exit(str(error))
    if settings.requires_tokens:
        _first_token(settings)
    os.environ.pop(METRICS_FOLDER, None)
    several = settings.api_workers > 1
    with tempfile.TemporaryDirectory(prefix="spectral-metrics-") if several else nullcontext() as folder:
        if folder is not None:
            os.environ[METRICS_FOLDER] = folder
        uvicorn.run(
            "service.api.__main__:application",
            factory=True,
            http="service.api.bounded_http:BoundedHttp",
            loop="service.api.shared_socket:SharingLoop" if several else "auto",
            ws="none",
            host=settings.host,
            port=settings.port,
            workers=settings.api_workers,  # always given, so that uvicorn does not read WEB_CONCURRENCY
            log_level="info",
            server_header=False,
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_worker_healthcheck=WORKER_PATIENCE_SECONDS,
        )


def application() -> FastAPI:
    """Make the application from the environment; each process that serves it calls this once."""
    from service.api.app import create_app

    _log_to_stderr()
    hide_secrets()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), name="parent-watch", daemon=True).start()
    app = create_app(ApiSettings())
    gc.freeze()  # what was imported stays for ever: the collector need not go through it again
    return app


def _end_with(parent: int) -> None:
    """Wait for the first process to end, and then end this one, which would keep the port taken."""
    wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")


def _first_token(settings: ApiSettings) -> None:
    database = Database(settings.database_url)
    try:
        administration.first_token(database, settings.admin_token_file)
    except OSError as error:
        sys.exit(f"SPECTRAL_ADMIN_TOKEN_FILE: cannot write {settings.admin_token_file}: {error.strerror}")
    finally:
        database.close()


def _migrate(url: str, patience: float = PATIENCE_SECONDS) -> None:
    """Bring the database to the newest schema. Until it answers, try again each second.

    Raises:
        sqlalchemy.exc.OperationalError: It has not answered after ``patience`` seconds.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return migrations.upgrade(url)
        except OperationalError as error:
            if time.monotonic() > until:
                raise
            log.warning("the database does not answer yet, trying again: %s", str(error.orig).strip())
            time.sleep(1.0)


if __name__ == "__main__":
    main()

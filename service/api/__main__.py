"""``python -m service.api``: migrate the database, then serve the API."""

from __future__ import annotations

import logging
import sys
import time

from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from service.environment import leave_to_others
from service.settings import ApiSettings, wrong_settings
from service.store import migrations
from service.unsafe_start import UnsafeStart, refuse_known_password, refuse_open_mlflow

log = logging.getLogger("service.api")

PATIENCE_SECONDS = 120.0
GRACE_SECONDS = 3


def main() -> None:
    """Migrate the database and serve until SIGTERM or SIGINT. A wrong or unsafe setting is a message and an exit.

    Event streams that are still open after ``GRACE_SECONDS`` are cut; their readers resume at the last event they saw.
    """
    leave_to_others()  # before the imports: what fastapi imports reads some variables at once
    import uvicorn

    from service.api.app import create_app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = ApiSettings()
        refuse_known_password(settings.database_url)
        if settings.mlflow_upstream:
            refuse_open_mlflow(settings.mlflow_upstream)
    except ValidationError as error:
        sys.exit(wrong_settings(error))
    except UnsafeStart as error:
        sys.exit(f"the API does not start: {error}")
    _migrate(settings.database_url)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        workers=1,  # given, so that uvicorn does not read WEB_CONCURRENCY
        log_level="info",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


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

"""Run the controller until SIGTERM or SIGINT, with ``python -m service.controller``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from pydantic import ValidationError

from service.environment import leave_to_others
from service.settings import ControllerSettings, wrong_settings
from service.unsafe_start import UnsafeStart, refuse_known_password, refuse_open_ray


def main() -> int:
    """Run the controller until SIGTERM or SIGINT and return 0.

    If it cannot go on, because term after term has failed, the process ends at once with ``leadership.EXIT_STATUS``.
    If an environment variable ``SPECTRAL_...`` holds an invalid value, or the file of webhooks cannot be used, print
    why and return 2.
    """
    # before the import: ray and mlflow read some variables when they are imported
    leave_to_others()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from service.controller.controller import Controller
    from service.webhooks.targets import WrongWebhooks

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request to MLflow
    try:
        settings = ControllerSettings()
        refuse_known_password(settings.database_url)
        refuse_open_ray(settings.ray_address)
    except ValidationError as error:
        print(wrong_settings(error), file=sys.stderr)
        return 2
    except UnsafeStart as error:
        print(f"the controller does not start: {error}", file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        controller = Controller(settings, stop)
    except WrongWebhooks as error:
        print(f"SPECTRAL_WEBHOOKS_FILE: {error}", file=sys.stderr)
        return 2
    status = controller.run()
    if status:
        logging.shutdown()
        os._exit(status)  # not by returning: what has failed may hang in Ray's or MLflow's own clean-up
    return 0


if __name__ == "__main__":
    sys.exit(main())

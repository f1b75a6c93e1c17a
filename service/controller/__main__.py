"""``python -m service.controller``: run the controller until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from pydantic import ValidationError

from service.controller.controller import Controller
from service.settings import ControllerSettings


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every look at MLflow
    try:
        settings = ControllerSettings()
    except ValidationError as error:
        for found in error.errors(include_url=False):
            print(
                f"SPECTRAL_{str(found['loc'][0]).upper()}: {found['msg']} (given: {found['input']!r})", file=sys.stderr
            )
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Controller(settings, stop).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

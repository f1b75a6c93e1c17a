"""``python -m service.mlflow_server ARGUMENTS``: what ``mlflow server ARGUMENTS`` does, behind the door of ``door.py``.

If the environment variable MLFLOW_TRACKING_TOKEN is set, every request has to show it. Without it the server starts on
this machine's own address alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from mlflow import server
from mlflow.cli import cli

from service.mlflow_server import SECRET
from service.proxies import is_loopback
from service.unsafe_start import UnsafeStart, refuse_weak_mlflow_secret

MLFLOW_APP = "mlflow.server.fastapi_app:app"
OUR_APP = "service.mlflow_server.app:app"
EVERYWHERE = ("0.0.0.0", "::")


def main() -> None:
    """Prepare MLflow's database, and serve until SIGTERM or SIGINT.

    MLflow makes the command that starts uvicorn; only the application in it is replaced. If that cannot be done with
    another release of MLflow, nothing is served.
    """
    build: Callable[..., list[str]] = server._build_uvicorn_command

    def with_door(options: str | None, host: str, *arguments: Any, **named: Any) -> list[str]:
        _require_safe(host, os.environ.get(SECRET, ""))
        command = build(options, host, *arguments, **named)
        if command.count(MLFLOW_APP) != 1:
            sys.exit(f"this release of MLflow does not serve {MLFLOW_APP}, so it cannot be served safely")
        return [OUR_APP if part == MLFLOW_APP else part for part in command]

    server._build_uvicorn_command = with_door  # type: ignore[assignment]  # MLflow has no hook for it
    cli(["server", *sys.argv[1:]], prog_name="mlflow")


def _require_safe(host: str, secret: str) -> None:
    """End the process with a message if others could reach the server without a secret, or with one to be guessed."""
    if not secret and (not is_loopback(host) or host in EVERYWHERE):
        sys.exit(
            f"MLflow would listen on {host}, where others can delete runs, without a secret; set {SECRET} to "
            "a long random text, here and for the API and the controller, or listen on 127.0.0.1"
        )
    try:
        refuse_weak_mlflow_secret()
    except UnsafeStart as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

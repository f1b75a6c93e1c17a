"""``python -m service.mlflow_server ARGUMENTS``: what ``mlflow server ARGUMENTS`` does, behind the door of ``door.py``.

If the environment variable MLFLOW_TRACKING_TOKEN is set, every request has to show it. Without it the server starts on
this machine's own address alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mlflow import server
from mlflow.cli import cli

from service.unsafe_start import UnsafeStart, refuse_open_mlflow_server

MLFLOW_APP = "mlflow.server.fastapi_app:app"
OUR_APP = "service.mlflow_server.app:app"


def main() -> None:
    """Prepare MLflow's database, and serve until SIGTERM or SIGINT.

    MLflow makes the command that starts uvicorn; only the application in it is replaced. If that cannot be done with
    another release of MLflow, nothing is served.
    """
    build: Callable[..., list[str]] = server._build_uvicorn_command

    def with_door(options: str | None, host: str, *arguments: Any, **named: Any) -> list[str]:
        try:
            refuse_open_mlflow_server(host)
        except UnsafeStart as error:
            sys.exit(str(error))
        command = build(options, host, *arguments, **named)
        if command.count(MLFLOW_APP) != 1:
            sys.exit(f"this release of MLflow does not serve {MLFLOW_APP}, so it cannot be served safely")
        return [OUR_APP if part == MLFLOW_APP else part for part in command]

    server._build_uvicorn_command = with_door  # type: ignore[assignment]  # MLflow has no hook for it
    cli(["server", *sys.argv[1:]], prog_name="mlflow")


if __name__ == "__main__":
    main()

"""An environment made for many other programs: it leads to files in one folder, to closed ports and to nonsense."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOREIGN_PACKAGES = ("service", "workers", "spectral", "json", "numpy", "torch", "ray", "mlflow", "httpx", "psutil")

VARIABLES = """
MLFLOW_TRACKING_URI=sqlite:///{other}/tracking.db
MLFLOW_REGISTRY_URI=sqlite:///{other}/registry.db
MLFLOW_BACKEND_STORE_URI=sqlite:///{other}/backend.db
MLFLOW_REGISTRY_STORE_URI=sqlite:///{other}/registry_store.db
MLFLOW_WORKSPACE_STORE_URI=sqlite:///{other}/workspaces.db
MLFLOW_DEFAULT_ARTIFACT_ROOT={other}/artifacts
MLFLOW_ARTIFACTS_DESTINATION={other}/destination
MLFLOW_DFS_TMP={other}/temporary
MLFLOW_ARTIFACTS_ONLY=true
MLFLOW_ENABLE_WORKSPACES=true
MLFLOW_EXPERIMENT_NAME=theirs
MLFLOW_RUN_ID=0123
MLFLOW_STATIC_PREFIX=/theirs
MLFLOW_UVICORN_OPTS=--port 1
MLFLOW_LOGGING_LEVEL=LOUD
MLFLOW_HTTP_REQUEST_TIMEOUT=soon
MLFLOW_TRACKING_TOKEN=secret
WEB_CONCURRENCY=3
FORWARDED_ALLOW_IPS=nonsense
GUNICORN_CMD_ARGS=--bind=1.2.3.4:1 --workers=9
UVICORN_APP=nothing:app
UVICORN_ENV_FILE=/nowhere/.env
UVICORN_HOST=10.1.2.3
UVICORN_LOG_LEVEL=loud
UVICORN_PORT=1
UVICORN_RELOAD=1
UVICORN_WORKERS=7
FLASK_APP=nothing
DATABASE_URL=postgres://nowhere/x
PORT=1
SPECTRAL_SERVICE_HOST=10.0.0.1
OTEL_PROPAGATORS=nonsense
MPLBACKEND=nonsense
SSLKEYLOGFILE={other}/keys
SSL_CERT_FILE=/nowhere/certificates.pem
FORCE_COLOR=1
http_proxy=http://127.0.0.1:9
https_proxy=http://127.0.0.1:9
all_proxy=socks5://127.0.0.1:9
grpc_proxy=http://127.0.0.1:9
HTTP_PROXY=http://127.0.0.1:9
HTTPS_PROXY=http://me:secret@127.0.0.1:9
ALL_PROXY=socks4://127.0.0.1:9
NO_PROXY=example.org
"""

FOR_WHOLE_STACKS = """
SPECTRAL_PORT=tcp://10.0.0.1:8000
RAY_ADDRESS=10.9.8.7:6379
RAY_AUTH_TOKEN=wrong
RAY_TMPDIR={other}/ray
RAY_USE_TLS=1
RAY_RUNTIME_ENV_HOOK=nothing.hook
RAY_OVERRIDE_RESOURCES={{"CPU": 0}}
RAY_gcs_storage=redis
RAY_grpc_enable_http_proxy=1
PYTHONSTARTUP=/nowhere
PYTHONWARNINGS=error
PYTHONIOENCODING=latin-1
"""
"""Variables that a program which was started by hand, such as ``python -m service.api``, does obey."""


def hostile(other: Path) -> dict[str, str]:
    """Return the variables of ``VARIABLES``, where ``other`` is the folder of another program."""
    return _parsed(VARIABLES, other)


def hostile_to_stacks(other: Path, packages: Path) -> dict[str, str]:
    """Return all variables, and a PYTHONPATH that has other projects' packages in front of ours.

    Args:
        other: The folder of another program.
        packages: A folder in which those packages are written.
    """
    for name in FOREIGN_PACKAGES:
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text("raise RuntimeError('another project')\n")
    path = {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}
    return hostile(other) | _parsed(FOR_WHOLE_STACKS, other) | path


def _parsed(text: str, other: Path) -> dict[str, str]:
    lines = (line.format(other=other).partition("=") for line in text.split("\n") if line)
    return {name: value for name, _, value in lines}

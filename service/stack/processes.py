"""The commands and environments of a stack's four processes: Ray, MLflow, the API and the controller."""

from __future__ import annotations

import hmac
import importlib.util
import os
import site
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

import service
from service.environment import chosen, passes
from service.mlflow_server import SECRET
from service.stack.errors import NotInstalled
from service.stack.guard import MARK
from service.stack.home import Home
from service.stack.log_file import MOST_BYTES
from service.stack.ports import HOST
from spectral_rnn_service import folders_of_pythonpath

OBJECT_STORE_BYTES = 100_000_000
LEASE_SECONDS = 6
MLFLOW_HOSTS = "localhost,127.0.0.1,localhost:*,127.0.0.1:*"
"""By which names MLflow answers, also through a tunnel from another port. Without them it takes ``10.example.org``."""
IMPORTED = ("ray", "mlflow", "fastapi", "uvicorn", "sqlalchemy", "alembic", "torch")
"""The packages without which a process of the stack cannot do its work. The command line does not import them."""


@dataclass(frozen=True)
class ManagedProcess:
    """What is needed to start a process of the stack, and to know when it is ready.

    Attributes:
        name: The name in messages and of the log file: ``ray``, ``mlflow``, ``api`` or ``controller``.
        command: The program and its arguments.
        environment: The environment variables of the process; it inherits no others.
        url: An address that answers 200 once the process is ready; empty if there is none.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str]
    url: str = ""


@dataclass(frozen=True)
class Layout:
    """The folder, ports, resources and database of a stack.

    Attributes:
        home: The folder for everything that the stack keeps.
        auth: Who may use the API: ``auto``, ``tokens`` or ``none``, as in SPECTRAL_AUTH.
        port: The port of the API and the web page.
        mlflow_port: The port of MLflow.
        ray_port: The port of Ray's head, where the controller connects.
        ray_client_port: The port of Ray's client server, which the stack does not use but Ray starts.
        cpus: The number of CPUs that Ray may use; None for all of this machine.
        gpus: The number of GPUs that Ray may use; None for all of this machine.
        database_url: The SQLAlchemy URL of the database.
        workers: The number of processes that serve the API.
    """

    home: Home
    port: int
    mlflow_port: int
    ray_port: int
    ray_client_port: int
    cpus: int | None
    gpus: int | None
    database_url: str
    auth: str = "auto"
    workers: int = 1

    @property
    def url(self) -> str:
        """The address of the API and the web page, such as ``http://127.0.0.1:8000``."""
        return f"http://{HOST}:{self.port}"

    @property
    def mlflow_url(self) -> str:
        """The address of MLflow's server, such as ``http://127.0.0.1:5000``."""
        return f"http://{HOST}:{self.mlflow_port}"

    @property
    def needs_sign_in(self) -> bool:
        """Whether users show a token. ``auto`` asks for none, because the stack listens on this machine alone."""
        return self.auth == "tokens"

    @property
    def mlflow_public_url(self) -> str:
        """The address of MLflow for users: its server's own, or, if they have to sign in, a path of the API."""
        return f"{self.url}/mlflow" if self.needs_sign_in else self.mlflow_url


def managed_processes(layout: Layout) -> list[ManagedProcess]:
    """Return the processes in the order of their start: Ray, MLflow, the API and the controller."""
    return [_ray(layout), _mlflow(layout), _api(layout), _controller(layout)]


def environment(layout: Layout) -> dict[str, str]:
    """Return the environment that all processes of the stack get: those of this process's variables that they need.

    ``service.environment`` says which these are. Added are ``SPECTRAL_STACK``, by which ``guard`` finds the processes
    again, the path to our packages, the path of the file with the secret of this stack's Ray, the address of the
    database, and that of MLflow.
    """
    inherited = chosen()
    data = inherited.get("SPECTRAL_DATA_DIR")
    if data:  # the processes run in another folder, from which a relative path would lead elsewhere
        inherited["SPECTRAL_DATA_DIR"] = str(Path(data).expanduser().absolute())
    path = [*_folder_of_our_packages(), *filter(None, inherited.pop("PYTHONPATH", "").split(os.pathsep))]
    # trainers are as important as the service, unless the user has passed another value; Ray's own is 15
    inherited.setdefault("RAY_worker_niceness", "0")
    return inherited | {
        MARK: str(layout.home.path),
        **({"PYTHONPATH": os.pathsep.join(dict.fromkeys(path))} if path else {}),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(layout.home.token),
        # under `uv run` Ray would start its workers by uv, in a copy of the current folder
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # Ray's way of a cluster on one machine, by default only on Windows and macOS: every port is on 127.0.0.1
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_ROTATION_BACKUP_COUNT": "1",
        "RAY_ROTATION_MAX_BYTES": str(MOST_BYTES),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_prestart_worker_first_driver": "0",
        "SPECTRAL_DATABASE_URL": layout.database_url,
        "SPECTRAL_AUTH": layout.auth,
        "SPECTRAL_MLFLOW_PUBLIC_URL": layout.mlflow_public_url,
        "SPECTRAL_PUBLIC_URL": layout.url,
    }


def _folder_of_our_packages() -> list[str]:
    """Return the folder that Python has to be told of to find our packages; none if they are installed."""
    root = str(Path(service.__file__).resolve().parent.parent)
    return [] if root in (*site.getsitepackages(), site.getusersitepackages()) else [root]


def _ray(layout: Layout) -> ManagedProcess:
    command = [
        *_program("ray", "ray.scripts.scripts"),
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--include-dashboard=false",
        "--include-log-monitor=false",
        "--no-monitor",  # the autoscaler's, which has nothing to scale and shows its metrics without a token
        f"--node-ip-address={HOST}",
        f"--port={layout.ray_port}",
        f"--temp-dir={layout.home.ray}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
    ]
    if importlib.util.find_spec("grpc"):  # without it Ray has no client server, and refuses a port for one
        command.append(f"--ray-client-server-port={layout.ray_client_port}")
    if layout.cpus is not None:
        command.append(f"--num-cpus={layout.cpus}")
    if layout.gpus is not None:
        command.append(f"--num-gpus={layout.gpus}")
    return ManagedProcess("ray", command, environment(layout))


def _mlflow(layout: Layout) -> ManagedProcess:
    folder = layout.home.mlflow
    command = [
        sys.executable,
        "-m",
        "service.mlflow_server",
        f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}",
        f"--artifacts-destination={folder / 'artifacts'}",
        f"--host={HOST}",
        f"--port={layout.mlflow_port}",
        f"--allowed-hosts={MLFLOW_HOSTS}",
        "--workers=1",
    ]
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environ = environment(layout) | own | _admission(layout)
    return ManagedProcess("mlflow", command, environ, f"{layout.mlflow_url}/health")


def _api(layout: Layout) -> ManagedProcess:
    own = {"SPECTRAL_HOST": HOST, "SPECTRAL_PORT": str(layout.port), "SPECTRAL_API_WORKERS": str(layout.workers)}
    # the workers are on this machine, so that a step takes as long here as there
    own |= {"SPECTRAL_CALIBRATE": "true", "SPECTRAL_CHECKPOINT_DIR": str(layout.home.checkpoints)}
    if layout.needs_sign_in:
        own["SPECTRAL_ADMIN_TOKEN_FILE"] = str(layout.home.admin_token)
        own["SPECTRAL_MLFLOW_UPSTREAM"] = layout.mlflow_url
    command = [sys.executable, "-m", "service.api"]
    environ = environment(layout) | own | _admission(layout)
    return ManagedProcess("api", command, environ, f"{layout.url}/health/ready")


def _controller(layout: Layout) -> ManagedProcess:
    own = {
        "SPECTRAL_MLFLOW_URL": layout.mlflow_url,
        "SPECTRAL_RAY_ADDRESS": f"{HOST}:{layout.ray_port}",
        "SPECTRAL_CHECKPOINT_DIR": str(layout.home.checkpoints),
        "SPECTRAL_LEASE_SECONDS": str(LEASE_SECONDS),
    }
    environ = environment(layout) | own | _admission(layout)
    return ManagedProcess("controller", [sys.executable, "-m", "service.controller"], environ)


def _admission(layout: Layout) -> dict[str, str]:
    """Return the variable with the secret by which MLflow is reached; none if it is open, as the API is.

    It is the secret that Ray's processes have, by a one-way function, so that theirs does not follow from it.
    """
    if not layout.needs_sign_in:
        return {}
    secret = hmac.digest(layout.home.token.read_bytes(), b"mlflow", "sha256")
    return {SECRET: secret.hex()}


def require_installed() -> None:
    """Raise NotInstalled, naming all that are missing, if a package of ``IMPORTED`` is not installed here.

    A package that is only in a folder of PYTHONPATH does not count, unless the user passes PYTHONPATH on.
    """
    foreign = [] if passes("PYTHONPATH") else folders_of_pythonpath()
    missing = [name for name in IMPORTED if not _is_installed(name, foreign)]
    if missing:
        found = [name for name in missing if _is_installed(name, [])]
        raise NotInstalled(missing, found)


def _is_installed(package: str, foreign: list[str]) -> bool:
    """Return whether the package can be imported. A folder of that name without ``__init__.py`` does not count.

    Args:
        package: The name of a top-level package.
        foreign: Entries of ``sys.path`` in which it is not looked for.
    """
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None and any(Path(spec.origin).is_relative_to(f) for f in foreign):
        spec = PathFinder.find_spec(package, [folder for folder in sys.path if folder not in foreign])
    return spec is not None and spec.origin is not None


def _program(name: str, module: str) -> list[str]:
    """Return the beginning of a command that runs a program of a package that is installed for this Python.

    It is the program's file in the folder of this Python's executable, or else ``python -m module``. A program
    elsewhere on PATH is never taken: it may belong to another Python, with another version of the package.

    Args:
        name: The name of the program's file, such as ``ray``.
        module: The module that does the same under ``python -m``.
    """
    beside = Path(sys.executable).parent / name
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", module]

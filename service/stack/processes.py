"""The four programs of a stack: how each is called and what it finds in its environment."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import service
from service.stack.guard import MARK
from service.stack.home import Home
from service.stack.ports import HOST

OBJECT_STORE_BYTES = 100_000_000
LEASE_SECONDS = 6


@dataclass(frozen=True)
class ManagedProcess:
    """``url``: answers 200 once the part is ready, empty where it has none."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    url: str = ""


@dataclass(frozen=True)
class Layout:
    """Where everything of a stack is and listens."""

    home: Home
    port: int
    mlflow_port: int
    ray_port: int
    ray_client_port: int
    cpus: int | None
    gpus: int | None
    database_url: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{HOST}:{self.mlflow_port}"


def parts(layout: Layout) -> list[ManagedProcess]:
    """In the order of starting; stopped in the opposite one."""
    return [_ray(layout), _mlflow(layout), _api(layout), _controller(layout)]


def environment(layout: Layout) -> dict[str, str]:
    """What all parts share: the mark by which they are found again, our packages, the secret of this stack's Ray."""
    root = str(Path(service.__file__).resolve().parent.parent)
    inherited = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}
    data = inherited.get("SPECTRAL_DATA_DIR")
    if data:  # parts run in another folder than the one this was said in
        inherited["SPECTRAL_DATA_DIR"] = str(Path(data).expanduser().absolute())
    path = [root, *filter(None, inherited.get("PYTHONPATH", "").split(os.pathsep))]
    return inherited | {
        MARK: str(layout.home.path),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "PYTHONUNBUFFERED": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(layout.home.token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "RAY_prestart_worker_first_driver": "0",
        "SPECTRAL_DATABASE_URL": layout.database_url,
        "SPECTRAL_MLFLOW_PUBLIC_URL": layout.mlflow_url,
    }


def _ray(layout: Layout) -> ManagedProcess:
    command = [
        _program("ray"), "start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=false",
        "--include-log-monitor=false", f"--node-ip-address={HOST}", f"--port={layout.ray_port}",
        f"--temp-dir={layout.home.ray}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
    ]  # fmt: skip
    if importlib.util.find_spec("grpc"):  # else this Ray has no client server, and refuses a port for one
        command.append(f"--ray-client-server-port={layout.ray_client_port}")
    if layout.cpus is not None:
        command.append(f"--num-cpus={layout.cpus}")
    if layout.gpus is not None:
        command.append(f"--num-gpus={layout.gpus}")
    return ManagedProcess("ray", command, environment(layout))


def _mlflow(layout: Layout) -> ManagedProcess:
    folder = layout.home.mlflow
    command = [
        _program("mlflow"), "server", f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}",
        f"--artifacts-destination={folder / 'artifacts'}", f"--host={HOST}", f"--port={layout.mlflow_port}",
        "--workers=1",
    ]  # fmt: skip
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return ManagedProcess("mlflow", command, environment(layout) | own, f"{layout.mlflow_url}/health")


def _api(layout: Layout) -> ManagedProcess:
    own = {"SPECTRAL_HOST": HOST, "SPECTRAL_PORT": str(layout.port)}
    command = [sys.executable, "-m", "service.api"]
    return ManagedProcess("api", command, environment(layout) | own, f"{layout.url}/health/ready")


def _controller(layout: Layout) -> ManagedProcess:
    own = {
        "SPECTRAL_MLFLOW_URL": layout.mlflow_url,
        "SPECTRAL_RAY_ADDRESS": f"{HOST}:{layout.ray_port}",
        "SPECTRAL_CHECKPOINT_DIR": str(layout.home.checkpoints),
        "SPECTRAL_LEASE_SECONDS": str(LEASE_SECONDS),
    }
    return ManagedProcess("controller", [sys.executable, "-m", "service.controller"], environment(layout) | own)


def _program(name: str) -> str:
    """The program that belongs to this Python, whatever PATH says."""
    return str(Path(sys.executable).parent / name)

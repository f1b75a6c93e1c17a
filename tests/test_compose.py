"""docker-compose.yml: no secret stands in it, each process gets those that it needs, and one port is published."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # Ray and MLflow bring it

from service.unsafe_start import refuse_open_mlflow, refuse_open_ray

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
SECRETS = ("POSTGRES_PASSWORD", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_TOKEN")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]


def secrets_of(service: str) -> set[str]:
    """Return the secrets that a service's container gets, by whatever variable or argument."""
    text = yaml.safe_dump(SERVICES[service], width=10_000)
    return {name for name in SECRETS if f"${{{name}" in text}


@pytest.mark.parametrize("name", SECRETS)
def test_compose_stops_without_a_secret_and_says_how_to_make_one(name: str) -> None:
    uses = re.findall(rf"\$\{{?{name}\b[^}}]*\}}?", TEXT)
    assert uses
    assert set(uses) == {f"${{{name}:?run deploy/make-secrets, which writes .env}}"}


def test_each_process_gets_the_secrets_that_it_needs_and_no_other() -> None:
    assert {name: secrets_of(name) for name in SERVICES} == {
        "postgres": {"POSTGRES_PASSWORD"},
        "mlflow": {"POSTGRES_PASSWORD", "MLFLOW_TRACKING_TOKEN"},
        "ray-head": {"RAY_AUTH_TOKEN"},
        "ray-worker": {"RAY_AUTH_TOKEN"},
        "controller": set(SECRETS),
        "api": {"POSTGRES_PASSWORD", "MLFLOW_TRACKING_TOKEN"},
    }


def test_only_the_api_is_published_and_only_on_this_machine() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "api": ["127.0.0.1:8000:8000"]
    }


def test_what_trains_cannot_reach_the_database_and_mlflow() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert networks["ray-head"] | networks["ray-worker"] == {"ray"}
    assert networks["postgres"] | networks["mlflow"] | networks["api"] == {"store"}
    assert networks["controller"] == {"ray", "store"}


def test_mlflow_is_the_one_with_the_door_and_ray_has_no_monitor() -> None:
    assert SERVICES["mlflow"]["command"].startswith("python -m service.mlflow_server ")
    assert SERVICES["api"]["environment"]["SPECTRAL_MLFLOW_UPSTREAM"] == "http://mlflow:5000"
    assert "--no-monitor" in SERVICES["ray-head"]["command"]
    assert SERVICES["ray-head"]["environment"]["RAY_AUTH_MODE"] == "token"


def test_the_images_run_as_a_user_that_is_not_root() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert user not in ("root", "0")
    assert not any("user" in service for service in SERVICES.values())


def test_make_secrets_writes_what_is_missing_for_this_user_alone(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("SPECTRAL_DATASETS=/data\nRAY_AUTH_TOKEN=mine\nPOSTGRES_PASSWORD=\n")
    file.chmod(0o644)
    for _ in range(2):
        subprocess.run([ROOT / "deploy" / "make-secrets", file], check=True, capture_output=True)
    assert file.stat().st_mode & 0o777 == 0o600
    lines = file.read_text().splitlines()
    assert lines[:2] == ["SPECTRAL_DATASETS=/data", "RAY_AUTH_TOKEN=mine"]
    found = dict(line.split("=", 1) for line in lines)
    assert set(found) == {"SPECTRAL_DATASETS", *SECRETS}
    for name in ("POSTGRES_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        assert re.fullmatch("[0-9a-f]{64}", found[name])
    refuse_open_mlflow("http://mlflow:5000", found)
    refuse_open_ray("ray-head:6379", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": found["MLFLOW_TRACKING_TOKEN"]})

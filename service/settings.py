"""The settings of the API and the controller, read from environment variables such as ``SPECTRAL_DATABASE_URL``.

Constructing settings raises pydantic's ValidationError if a variable has a wrong value, and ``wrong_settings`` puts it
in words. Unknown variables are ignored.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from workers.wording import describe

DEFAULT_PORT = 8000
"""The port of the API."""
DATABASE = r"^(sqlite|postgresql\+psycopg)://.*$"
"""The form of an address of a database."""
ADDRESS = r"^(auto|.+:[0-9]{1,5})$"
"""The form of an address of Ray."""


def is_local_only(host: str) -> bool:
    """Return whether a server that listens on an address is reached from its own machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class StoreSettings(BaseSettings):
    """The settings that the API and the controller share."""

    model_config = SettingsConfigDict(env_prefix="SPECTRAL_", extra="ignore", frozen=True)

    database_url: str = Field(
        "sqlite:///spectral.db",
        pattern=DATABASE,
        description="SQLAlchemy URL: sqlite:///PATH or postgresql+psycopg://...",
    )
    mlflow_public_url: str = Field(
        "http://127.0.0.1:5000", description="the MLflow UI as a browser reaches it; used in links"
    )
    data_dir: Path | None = Field(None, description="folder of task data (mnist/ and others) on the workers")
    checkpoint_dir: Path = Field(
        Path("checkpoints"), description="checkpoint store, seen by the controller and all workers"
    )


class ApiSettings(StoreSettings):
    """The settings of the API: ``python -m service.api``."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(DEFAULT_PORT, ge=1, le=65535, description="port to listen on")
    api_workers: int = Field(1, ge=1, le=64, description="processes that answer requests")
    max_body_bytes: int = Field(1_000_000, ge=1_000, description="a larger request body is refused with 413")
    mlflow_upstream: str | None = Field(
        None, description="MLflow tracking server that the API shows under /mlflow; by default none"
    )
    calibrate: bool = Field(
        False, description="whether a dry run may train for a few seconds on the API's machine, to time steps"
    )
    event_poll_seconds: float = Field(0.25, gt=0, description="how often an event stream looks for new events")
    auth: Literal["auto", "tokens", "none"] = Field(
        "auto",
        validate_default=True,
        description="whether a token is needed: auto (unless SPECTRAL_HOST is loopback), tokens, none",
    )
    allowed_hosts: str | None = Field(
        None, description="further names under which the API is reached, with commas between"
    )
    admin_token_file: Path | None = Field(
        None, description="where the first start writes an admin token, if tokens are required and there is none"
    )
    trusted_proxies: str = Field(
        "127.0.0.1", description="addresses of proxies whose X-Forwarded-For and -Proto count, with commas between"
    )

    @property
    def requires_tokens(self) -> bool:
        """Whether every request, but for those to a few open routes, needs a token."""
        return self.auth == "tokens" or (self.auth == "auto" and not is_local_only(self.host))

    @field_validator("auth")
    @classmethod
    def _not_open_to_strangers(cls, given: str, info: ValidationInfo) -> str:
        host = info.data.get("host")  # an empty one means every address of this machine
        if given == "none" and host is not None and not is_local_only(host):
            place = host or "this machine"
            problem = (
                f"would let everyone who reaches {place} read, submit and cancel sweeps, with SPECTRAL_HOST={host}"
            )
            allowed = "auto or tokens; or 127.0.0.1 as SPECTRAL_HOST, behind a proxy of yours that asks for passwords"
            raise PydanticCustomError("unsafe", "{problem}", {"problem": problem, "expected": allowed})
        return given

    @field_validator("port", mode="before")
    @classmethod
    def _not_kubernetes_own(cls, given: Any) -> Any:
        """Return the default for a value such as tcp://10.0.0.1:80, which Kubernetes sets for a service "spectral"."""
        return DEFAULT_PORT if isinstance(given, str) and given.startswith("tcp://") else given


class ControllerSettings(StoreSettings):
    """The settings of the controller: ``python -m service.controller``."""

    mlflow_url: str = Field("http://127.0.0.1:5000", description="MLflow tracking server, as the controller reaches it")
    public_url: str | None = Field(None, description="the service's page as a browser reaches it; for links in MLflow")
    ray_address: str = Field(
        "auto", pattern=ADDRESS, description="address of the Ray cluster's GCS, host:port, or auto"
    )
    ray_namespace: str = Field("spectral", description="Ray namespace of the pack runners")
    webhooks_file: Path | None = Field(None, description="JSON file of the webhooks, docs/webhooks.md; by default none")
    checkpoint_bytes: int | None = Field(
        None, ge=1, description="the most that all checkpoints may take; a sweep that does not fit is refused"
    )
    tick_seconds: float = Field(0.5, gt=0, description="pause between two rounds of the controller")
    lease_seconds: float = Field(15.0, gt=0, description="a controller silent for this long loses the lead")
    orphan_ttl_seconds: float = Field(600.0, gt=0, description="a runner not polled for this long ends at a checkpoint")
    aging_seconds: float = Field(
        600.0, gt=0, description="waiting for this long counts as much as one level of priority"
    )
    preempt_after_seconds: float = Field(
        60.0, ge=0, description="a pack runs for this long before a higher priority can take its place"
    )


def wrong_settings(error: ValidationError) -> str:
    """Return a line for each environment variable with a wrong value: its name, its value and what is allowed."""
    lines = []
    for item in error.errors(include_url=False):
        problem, allowed = describe(item["type"], item.get("ctx") or {}, str(item["msg"]))
        lines.append(f"SPECTRAL_{str(item['loc'][0]).upper()}: {_shown(item['input'])} {problem}; allowed: {allowed}")
    return "\n".join(lines)


def _shown(given: Any) -> str:
    """Return a value as text, without the user and the password that an address may hold."""
    return re.sub(r"(?<=://)[^/@]*@", "", repr(given))

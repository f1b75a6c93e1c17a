"""What the API and the controller refuse to start with, because others could get in; each refusal says what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from service.proxies import is_loopback

KNOWN_SECRETS = frozenset(
    {"", "admin", "default", "example", "mlflow", "password", "postgres", "ray", "root", "secret", "spectral", "test"}
)
"""Secrets that everybody knows; so is everything that begins with "change"."""
LEAST_LENGTH = 16
"""A token of Ray or MLflow that is shorter could be guessed."""
MLFLOW_TOKEN = "MLFLOW_TRACKING_TOKEN"
EVERYWHERE = ("0.0.0.0", "::")


class UnsafeStart(RuntimeError):
    """A process of the service would start in a way that lets others in; the message says what to change."""


def refuse_known_password(database_url: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raise UnsafeStart if the database is on another machine, and its password is one that everybody knows."""
    address = urlsplit(database_url)
    query = parse_qs(address.query, keep_blank_values=True)
    elsewhere = [] if address.scheme == "sqlite" else _other_machines(address.hostname or "", query, environ)
    own = environ.get("PGPASSWORD") if address.password is None else unquote(address.password)
    password = query.get("password", [own])[-1]
    if elsewhere and password is not None and _is_known(password):
        raise UnsafeStart(
            f"the password for PostgreSQL at {elsewhere[0]} is one that everybody knows; set another one there "
            "(ALTER USER ... PASSWORD), and in SPECTRAL_DATABASE_URL"
        )


def _other_machines(host: str, query: Mapping[str, list[str]], environ: Mapping[str, str]) -> list[str]:
    """Return the hosts but this machine that PostgreSQL's client might connect to, wherever it is told of them."""
    named = [*query.get("hostaddr", []), *query.get("host", []), host]
    if not any(named):
        named.append(environ.get("PGHOST", ""))
    named.append(environ.get("PGHOSTADDR", ""))
    hosts = [one.rpartition(":")[0] if one.count(":") == 1 else one for text in named for one in text.split(",")]
    return [one for one in hosts if one and not one.startswith(("/", "@")) and not is_loopback(one)]


def refuse_open_ray(ray_address: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raise UnsafeStart if Ray is on another machine and lets everybody run programs, or its token is known to others.

    Args:
        ray_address: ``host:port`` of Ray's head, or ``auto`` for the one on this machine.
        environ: The environment variables.
    """
    host = ray_address.rpartition(":")[0]
    if environ.get("RAY_AUTH_MODE") != "token":
        if host and not is_loopback(host):
            raise UnsafeStart(
                f"Ray at {ray_address} would run programs for everyone who reaches it; start all of its processes, and "
                "this one, with RAY_AUTH_MODE=token and the same long random RAY_AUTH_TOKEN"
            )
        return
    if "RAY_AUTH_TOKEN" in environ:
        _refuse_weak("RAY_AUTH_TOKEN", environ["RAY_AUTH_TOKEN"])
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not path.is_file():
        return
    if path.stat().st_mode & 0o077:
        raise UnsafeStart(
            f"RAY_AUTH_TOKEN_PATH: other users may read {path}; write a new token to it, and run: chmod 600 {path}"
        )
    if "RAY_AUTH_TOKEN" not in environ:
        _refuse_weak(f"the token of Ray in {path}", path.read_text(errors="replace").strip())


def refuse_open_mlflow(upstream: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raise UnsafeStart if MLflow is on another machine and asks for no secret, or for one that is known or short.

    Args:
        upstream: The MLflow that the API shows to those who have signed in.
        environ: The environment variables.
    """
    refuse_weak_mlflow_secret(environ)
    if not environ.get(MLFLOW_TOKEN) and not is_loopback(urlsplit(upstream).hostname or ""):
        raise UnsafeStart(
            f"MLflow at {urlsplit(upstream).netloc.rpartition('@')[2]} would let everyone who reaches it delete runs; "
            f"start it by python -m service.mlflow_server with a long random text in {MLFLOW_TOKEN}, and set that here "
            "and for the controller"
        )


def refuse_open_mlflow_server(host: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raise UnsafeStart if others could reach our MLflow server without a secret, or with one that is known or short.

    Args:
        host: The address that the server is to listen on.
        environ: The environment variables.
    """
    if not environ.get(MLFLOW_TOKEN) and (host in EVERYWHERE or not is_loopback(host)):
        raise UnsafeStart(
            f"MLflow would listen on {host}, where others can delete runs, without a secret; set {MLFLOW_TOKEN} to "
            "a long random text, here and for the API and the controller, or listen on 127.0.0.1"
        )
    refuse_weak_mlflow_secret(environ)


def refuse_weak_mlflow_secret(environ: Mapping[str, str] = os.environ) -> None:
    """Raise UnsafeStart if there is a secret of our MLflow server that everybody knows, or that could be guessed."""
    if environ.get(MLFLOW_TOKEN):
        _refuse_weak(MLFLOW_TOKEN, environ[MLFLOW_TOKEN])


def _refuse_weak(name: str, secret: str) -> None:
    if _is_known(secret):
        raise UnsafeStart(f"{name} is a text that everybody knows; deploy/make-secrets writes a random one")
    if len(secret) < LEAST_LENGTH:
        raise UnsafeStart(f"{name} has {len(secret)} characters and could be guessed; take {LEAST_LENGTH} random ones")


def _is_known(secret: str) -> bool:
    plain = re.sub(r"[^a-z]", "", secret.lower())
    return secret.lower() in KNOWN_SECRETS or plain.startswith("change")

"""The API and the controller do not start where others could get in, and say what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.unsafe_start import (
    UnsafeStart,
    refuse_known_password,
    refuse_open_mlflow,
    refuse_open_mlflow_server,
    refuse_open_ray,
)

RANDOM = "0b9e4a7c61d25f8303aa"
POSTGRES = "postgresql+psycopg://postgres"


@pytest.mark.parametrize("password", ["spectral", "postgres", "Password", "change-me", "CHANGE_THIS", "", "%70assword"])
def test_a_password_of_postgresql_that_everybody_knows_is_refused(password: str) -> None:
    with pytest.raises(UnsafeStart, match=r"PostgreSQL at db\.example is one that everybody knows.*ALTER USER"):
        refuse_known_password(f"{POSTGRES}:{password}@db.example:5432/spectral", {})


def test_it_may_also_be_in_the_variable_of_postgresql() -> None:
    with pytest.raises(UnsafeStart):
        refuse_known_password(f"{POSTGRES}@db.example/spectral", {"PGPASSWORD": "postgres"})


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        (f"{POSTGRES}:spectral@/spectral?host=db.example", {}),
        (f"{POSTGRES}:spectral@127.0.0.1/spectral?host=db.example", {}),
        (f"{POSTGRES}:spectral@localhost/spectral?hostaddr=192.0.2.1", {}),
        (f"{POSTGRES}:spectral@/spectral?host=127.0.0.1,db.example", {}),
        (f"{POSTGRES}:spectral@/spectral?host=127.0.0.1:5432&host=db.example:5432", {}),
        (f"{POSTGRES}@db.example/spectral?password=postgres", {}),
        (f"{POSTGRES}:spectral@/spectral", {"PGHOST": "db.example"}),
        (f"{POSTGRES}:spectral@/spectral", {"PGHOSTADDR": "192.0.2.1"}),
    ],
)
def test_the_machine_and_the_password_may_be_anywhere_that_postgresqls_client_looks(
    url: str, environ: dict[str, str]
) -> None:
    with pytest.raises(UnsafeStart, match=r"(db\.example|192\.0\.2\.1) is one that everybody knows"):
        refuse_known_password(url, environ)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///spectral.db",
        f"{POSTGRES}:spectral@127.0.0.1:5432/spectral",
        f"{POSTGRES}:spectral@localhost/spectral",
        f"{POSTGRES}:@/spectral?host=/run/postgresql",
        f"{POSTGRES}@db.example/spectral",
        f"{POSTGRES}:{RANDOM}@db.example/spectral",
    ],
)
def test_other_databases_are_used(url: str) -> None:
    refuse_known_password(url, {})


def test_a_ray_elsewhere_needs_its_token() -> None:
    with pytest.raises(UnsafeStart, match=r"Ray at head\.example:6379 would run programs for everyone.*RAY_AUTH_MODE"):
        refuse_open_ray("head.example:6379", {})
    refuse_open_ray("head.example:6379", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": RANDOM})
    for here in ("auto", "127.0.0.1:6379", "localhost:6379", "[::1]:6379"):
        refuse_open_ray(here, {})


@pytest.mark.parametrize(
    ("token", "words"), [("change-this-token-before-you-open-a-port", "everybody knows"), ("f3a81c", "6 characters")]
)
def test_a_token_that_is_known_or_short_is_refused(token: str, words: str) -> None:
    with pytest.raises(UnsafeStart, match=f"RAY_AUTH_TOKEN .*{words}"):
        refuse_open_ray("127.0.0.1:6379", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})
    with pytest.raises(UnsafeStart, match=f"MLFLOW_TRACKING_TOKEN .*{words}"):
        refuse_open_mlflow("http://127.0.0.1:5000", {"MLFLOW_TRACKING_TOKEN": token})


def test_a_file_with_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ray.token"
    file.write_text(RANDOM)
    environ = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}
    file.chmod(0o644)
    with pytest.raises(UnsafeStart, match=r"other users may read .*chmod 600"):
        refuse_open_ray("127.0.0.1:6379", environ)
    file.chmod(0o600)
    refuse_open_ray("127.0.0.1:6379", environ)


@pytest.mark.parametrize("named", [True, False])
def test_a_file_with_a_token_that_is_known_or_short_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ray" / "auth_token"  # where Ray looks if no file is named
    file.parent.mkdir()
    environ = {"RAY_AUTH_MODE": "token"} | ({"RAY_AUTH_TOKEN_PATH": str(file)} if named else {})
    for text, words in (("ray\n", "everybody knows"), ("f3a81c", "6 characters")):
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(UnsafeStart, match=words):
            refuse_open_ray("127.0.0.1:6379", environ)
    file.write_text(f"{RANDOM}\n")
    refuse_open_ray("127.0.0.1:6379", environ)


def test_an_mlflow_elsewhere_that_users_reach_by_signing_in_needs_a_secret() -> None:
    with pytest.raises(UnsafeStart, match=r"MLflow at mlflow\.example:5000 would let everyone"):
        refuse_open_mlflow("http://mlflow.example:5000", {})
    refuse_open_mlflow("http://mlflow.example:5000", {"MLFLOW_TRACKING_TOKEN": RANDOM})
    refuse_open_mlflow("http://127.0.0.1:5000", {})


@pytest.mark.parametrize(
    ("host", "secret", "words"),
    [
        ("0.0.0.0", "", "would listen on 0.0.0.0"),
        ("::", "", "would listen on ::"),
        ("192.0.2.1", "", "would listen on 192.0.2.1"),
        ("0.0.0.0", "change-me", "a text that everybody knows"),
        ("127.0.0.1", "f3a81c", "has 6 characters"),
    ],
)
def test_an_mlflow_of_ours_that_others_could_reach_is_refused(host: str, secret: str, words: str) -> None:
    with pytest.raises(UnsafeStart) as refused:
        refuse_open_mlflow_server(host, {"MLFLOW_TRACKING_TOKEN": secret})
    assert words in str(refused.value)
    assert "MLFLOW_TRACKING_TOKEN" in str(refused.value)
    refuse_open_mlflow_server("127.0.0.1", {})
    refuse_open_mlflow_server("0.0.0.0", {"MLFLOW_TRACKING_TOKEN": RANDOM})


@pytest.mark.parametrize(("module", "code"), [("service.api", 1), ("service.controller", 2)])
def test_neither_program_starts_with_a_known_password(module: str, code: int) -> None:
    environ = dict(os.environ) | {"SPECTRAL_DATABASE_URL": f"{POSTGRES}:spectral@192.0.2.1/spectral"}
    command = [sys.executable, "-W", "ignore", "-m", module]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == code
    assert "does not start: the password for PostgreSQL at 192.0.2.1" in done.stderr.splitlines()[-1]
    assert ":spectral@" not in done.stderr

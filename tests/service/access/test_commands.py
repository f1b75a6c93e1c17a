"""``spectral token`` and ``spectral audit``, and how programs are given a token."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.token_source import TokenUnusable, token_to_send
from service.client import ApiError, RestClient
from service.store import tokens
from service.store.database import Database
from tests.service.access.conftest import NewToken
from tests.service.cli.command_line import Done, spectral


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SPECTRAL_DATABASE_URL", url)
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("SPECTRAL_TOKEN", "SPECTRAL_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def created(*options: str) -> str:
    done = spectral("token", "create", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_token_is_made_listed_used_limited_and_revoked(
    base_url: str, database: Database, document: dict[str, Any]
) -> None:
    done = spectral("token", "create", "--owner", "ada", "--scope", "submit", "--expires", "30d")
    token = done.stdout.strip()
    id = token.split("_")[1]
    assert token not in done.stderr
    assert f"spectral token revoke {id}" in done.stderr
    assert "SPECTRAL_TOKEN" in done.stderr
    with RestClient(base_url, token=token) as client:
        client.submit(document)
    listed = spectral("token", "list").stdout
    assert re.search(rf"{id} +ada +submit +valid ", listed)
    assert token.rpartition("_")[2] not in listed
    limits = spectral("token", "limits", "ada", "--running-trials", "4", "--requests-per-second", "0.5").stdout
    assert re.search(r"running_trials +4\n", limits)
    assert re.search(r"requests_per_second +0.5\n", limits)
    assert re.search(r"open_sweeps +1,000\n", limits)
    shares = spectral("token", "limits", "ada", "--weight=2.5", "--running-gpus", "1.5", "--highest-priority=-3").stdout
    for name, value in (("weight", "2.5"), ("running_gpus", "1.5"), ("running_cpus", "no limit")):
        assert re.search(rf"{name} +{value}\n", shares)
    assert re.search(r"highest_priority +-3\n", shares)
    spectral(
        "token", "limits", "ada", *(f"--{name}=default" for name in ("weight", "running-gpus", "highest-priority"))
    )
    assert re.search(
        r"running_trials +no limit\n", spectral("token", "limits", "ada", "--running-trials=default").stdout
    )
    assert spectral("token", "revoke", id).stdout == f"{id} of ada is revoked\n"
    assert re.search(rf"{id} +ada +submit +revoked ", spectral("token", "list").stdout)
    with RestClient(base_url, token=token) as client, pytest.raises(ApiError, match="revoked"):
        client.validate(document)
    actions = [line.split("\t")[5] for line in spectral("audit").stdout.splitlines()]
    assert "token create --owner ada --scope submit" in actions
    assert "token limits ada requests_per_second=0.5 running_trials=4" in actions
    assert f"token revoke {id}" in actions
    with database.read() as session:
        assert [row.id for row in tokens.every(session)] == [id]


def test_a_token_never_ends_only_if_asked_to() -> None:
    assert created("--owner", "ada")
    assert created("--owner", "eve", "--expires", "never", "--scope", "read")
    lines = spectral("token", "list").stdout.splitlines()
    assert [line.split().count("never") for line in lines if line.split()[1] in ("ada", "eve")] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "--owner", "a b"), "--owner is 'a b'; allowed: up to 60 letters"),
        (("create", "--owner", ""), "--owner is ''"),
        (("create", "--owner", "a" * 61), "up to 60"),
        (("create", "--owner", "ada", "--expires", "soon"), "allowed: a number of days or hours, such as 30d"),
        (("create", "--owner", "ada", "--expires", "0d"), "--expires is '0d'"),
        (("revoke", "nothing"), "there is no token 'nothing'; spectral token list shows the ids"),
        (("limits", "nobody"), "there is no owner 'nobody'"),
        (("limits", "ada", "--open-sweeps", "many"), "--open-sweeps is 'many'; allowed: a number from 0, or default"),
        (("limits", "ada", "--open-sweeps", "-1"), "--open-sweeps is '-1'"),
        (("limits", "ada", "--weight", "0"), "--weight is '0'; allowed: a number from 0.001, or default"),
        (("limits", "ada", "--requests-per-second", "nan"), "--requests-per-second is 'nan'"),
        (("limits", "ada", "--running-trials", "99999999999"), "--running-trials is '99999999999'"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[str, ...], words: str) -> None:
    done = spectral("token", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_the_database_is_that_of_the_home(tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    missing = spectral("token", "list", "--home", str(home))
    assert missing.returncode == 2
    assert f"there is no database in {home}" in missing.stderr
    shutil.copy(migrated_file, home / "spectral.db")
    done = spectral("token", "create", "--owner", "ada", "--home", str(home))
    assert done.returncode == 0
    assert "ada" in spectral("token", "list", "--home", str(home)).stdout
    assert "There are no tokens yet" in spectral("token", "list").stdout
    monkeypatch.setenv("SPECTRAL_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")
    assert "start the service once" in spectral("token", "list").stderr
    monkeypatch.setenv("SPECTRAL_DATABASE_URL", "nonsense")
    assert "SPECTRAL_DATABASE_URL is not the address" in spectral("token", "list").stderr


def test_commands_send_the_token_of_the_environment_or_of_a_file(
    base_url: str, new_token: NewToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(*options: str) -> Done:
        return spectral("ls", *options, url=base_url)

    refused = listed()
    assert refused.returncode == 2
    assert "Not signed in: a token is needed" in refused.stderr
    assert "Give a token with --token-file, SPECTRAL_TOKEN or SPECTRAL_TOKEN_FILE" in refused.stderr
    file = tmp_path / "token"
    file.write_text(f"{new_token()}\n")
    assert listed("--token-file", str(file)).returncode == 0
    monkeypatch.setenv("SPECTRAL_TOKEN_FILE", str(file))
    assert listed().returncode == 0
    monkeypatch.setenv("SPECTRAL_TOKEN", "not-a-token")
    wrong = listed()
    assert (wrong.returncode, "not-a-token" in wrong.stderr) == (2, False)
    assert "SPECTRAL_TOKEN does not hold a token" in wrong.stderr
    monkeypatch.setenv("SPECTRAL_TOKEN", new_token())
    assert listed().returncode == 0


def test_the_file_of_the_option_counts_before_the_environment(
    base_url: str, new_token: NewToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(new_token())
    monkeypatch.setenv("SPECTRAL_TOKEN", "srs_0000000000_" + "0" * 43)
    assert spectral("ls", "--token-file", str(tmp_path / "token"), url=base_url).returncode == 0


def test_a_token_that_cannot_be_read_is_named_and_never_shown(tmp_path: Path, new_token: NewToken) -> None:
    token = new_token()
    for given in (
        {"token": token + "x"},
        {"token": f"{token}\n{token}"},
        {"file": tmp_path},
        {"file": tmp_path / "no"},
    ):
        with pytest.raises(TokenUnusable) as wrong:
            token_to_send(environ={}, **given)  # type: ignore[arg-type]
        assert token.rpartition("_")[2] not in str(wrong.value)
    assert token_to_send(environ={}) is None
    assert token_to_send(f" {token}\n", environ={}) == token


def test_a_client_sends_its_token_nowhere_else(new_token: NewToken) -> None:
    token, asked = new_token(), list[httpx.Request]()

    def elsewhere(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(307, headers={"Location": "https://other.example/v1/sweeps/sw0123456789"})

    client = RestClient("http://127.0.0.1:8000", token=token, transport=httpx.MockTransport(elsewhere))
    with client:
        with pytest.raises(ApiError, match=re.escape("https://other.example/; no token is sent there")):
            client.sweep("sw0123456789")
        with pytest.raises(ApiError):
            next(client.events("sw0123456789"))
    assert {(request.url.host, request.headers["authorization"]) for request in asked} == {
        ("127.0.0.1", f"Bearer {token}")
    }
    assert token not in repr(vars(client))

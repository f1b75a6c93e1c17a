"""The first start that requires tokens, the settings that refuse one, and what the log says of tokens."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import httpx
import pytest

from service.access import administration
from service.access.administration import first_token
from service.client import ApiError, RestClient
from service.stack.ports import free
from service.store import tokens
from service.store.database import Database
from tests.service.api.test_entry import start
from tests.waiting import until


def ended(process: subprocess.Popen[str]) -> str:
    process.terminate()
    return process.communicate(timeout=60)[0]


def written(file: Path, seconds: float = 120.0) -> str:
    """Return the token in a file once it is there."""
    until(lambda: file.exists() and file.read_text().endswith("\n"), seconds)
    return file.read_text().strip()


def test_the_first_start_makes_an_admin_token_that_only_its_file_shows(tmp_path: Path) -> None:
    file, (port,) = tmp_path / "admin.token", free(1)
    url, address = f"sqlite:///{tmp_path}/new.db", f"http://127.0.0.1:{port}"
    settings = {"database_url": url, "port": port, "auth": "tokens", "admin_token_file": file}
    process = start(**settings)
    try:
        token = written(file)
        with RestClient(address, patience=60, token=token) as client:
            assert list(client.sweeps()) == []
        with httpx.Client(base_url=address, timeout=60) as http:
            who = http.get("/v1/tokens/self", headers={"Authorization": f"Bearer {token}"}).json()
            assert (who["owner"], who["scope"]) == ("admin", "admin")
            assert http.get(f"/v1/sweeps?token={token}").status_code == 401
            assert http.get(f"/{token}").status_code == 401
    finally:
        output = ended(process)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in output
    assert token.rpartition("_")[2] not in output
    assert f"token=srs_{token.split('_')[1]}_... " in output
    file.unlink()
    process = start(**settings)
    try:
        with RestClient(address, patience=60, token=token) as client:
            assert list(client.sweeps()) == []
    finally:
        output = ended(process)
    assert not file.exists(), "a later start makes no other token"
    assert "first token" not in output


def test_without_a_file_the_first_start_says_which_command_makes_a_token(tmp_path: Path) -> None:
    (port,) = free(1)
    process = start(database_url=f"sqlite:///{tmp_path}/new.db", port=port, auth="tokens")
    try:
        with RestClient(f"http://127.0.0.1:{port}", patience=60) as client, pytest.raises(ApiError, match="401"):
            list(client.sweeps())
    finally:
        output = ended(process)
    assert "spectral token create --owner NAME --scope admin" in output


def test_a_file_that_cannot_be_written_makes_no_token(database: Database, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        first_token(database, tmp_path / "none" / "admin.token")
    with database.read() as session:
        assert not tokens.any_exist(session)


def test_a_file_left_by_a_start_that_died_is_replaced(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise ArithmeticError("power cut")

    file = tmp_path / "admin.token"
    with monkeypatch.context() as patch:
        patch.setattr(administration.tokens, "create", dies)
        with pytest.raises(ArithmeticError):
            first_token(database, file)
    left = file.read_text()
    first_token(database, file)
    assert file.read_text() != left
    with database.read() as session:
        (row,) = tokens.every(session)
    assert row.id == file.read_text().split("_")[1]


def test_a_file_with_something_else_is_never_replaced(database: Database, tmp_path: Path) -> None:
    (tmp_path / "diary").write_text("dear diary")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("diary", "link"):
        with pytest.raises(FileExistsError):
            first_token(database, tmp_path / name)
    assert (tmp_path / "diary").read_text() == "dear diary"
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "empty").touch()
    first_token(database, tmp_path / "empty")
    assert (tmp_path / "empty").read_text().startswith("srs_")


def test_an_unsafe_start_is_refused(tmp_path: Path) -> None:
    process = start(database_url=f"sqlite:///{tmp_path}/new.db", host="0.0.0.0", auth="none")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.startswith("SPECTRAL_AUTH: 'none' would let everyone who reaches 0.0.0.0 read, submit and cancel")
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []

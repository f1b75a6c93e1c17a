"""What other users of the machine, and other machines, can reach of a running stack: nothing without its secrets."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil

from service.client import RestClient
from service.stack import Stack, guard
from tests.end_to_end.small_sweep import SWEEP, Json, first_report

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_every_port_of_the_stack_listens_on_this_machine_alone(stack: Stack, client: RestClient) -> None:
    sweep_id = client.submit(SWEEP)["id"]
    first_report(client, sweep_id)  # so that a runner is there, which has a port of its own
    found: dict[str, set[str]] = {}
    for process in guard.members(str(stack.home.path)):
        try:
            name = " ".join(process.cmdline())
            sockets = process.net_connections("inet")
        except psutil.Error:  # it has ended
            continue
        for socket in sockets:
            if socket.status == psutil.CONN_LISTEN or (not socket.raddr and socket.type == 2):
                found.setdefault(name, set()).add(socket.laddr.ip)
    for part in ("gcs_server", "raylet", "PackRunner", "mlflow", "service.api"):
        assert any(part in name for name in found), part
    assert {name: addresses for name, addresses in found.items() if not addresses <= LOOPBACK} == {}
    client.wait(sweep_id)


READS_RAY = """
import sys
from ray._raylet import GcsClient
print(GcsClient(sys.argv[1]).internal_kv_keys(b"", b""))
"""


def test_ray_answers_nobody_without_the_secret(stack: Stack, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    address = f"127.0.0.1:{stack.layout.ray_port}"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}

    def read(**variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "ignore", "-c", READS_RAY, address]
        return subprocess.run(command, env=plain | variables, capture_output=True, text=True, check=False, timeout=200)

    for refused in (read(), read(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(wrong))):
        assert refused.returncode != 0
        assert "token" in refused.stderr.lower()
        assert refused.stdout == ""
    admitted = read(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(stack.home.token))
    assert admitted.returncode == 0, admitted.stderr


def test_nothing_below_a_home_can_be_reached_by_another_user(stack: Stack, undisturbed: Json) -> None:
    assert undisturbed["state"] == "succeeded"
    for top in (stack.home.path, stack.home.ray.parent):
        assert top.stat().st_uid == os.geteuid()
        assert stat.S_IMODE(top.stat().st_mode) == 0o700
        paths = [Path(folder, name) for folder, folders, files in os.walk(top) for name in (*folders, *files)]
        assert len(paths) > 10
        assert [path for path in paths if can_be_reached(path, top)] == []


def test_every_file_that_the_service_writes_is_closed_by_itself(stack: Stack, undisturbed: Json) -> None:
    """The umask, not only the folder above, keeps others out: files that are moved elsewhere stay closed."""
    assert undisturbed["state"] == "succeeded"
    paths = [Path(folder, name) for folder, _, files in os.walk(stack.home.path) for name in files]
    assert any(path.suffix == ".safetensors" for path in paths)
    assert any(path.name == "mlflow.db" for path in paths)
    assert [path for path in paths if not path.is_symlink() and is_open_to_others(path)] == []
    sockets = [path for path in stack.home.ray.rglob("*") if path.is_socket()]
    assert {path.name for path in sockets} >= {"plasma_store", "raylet"}
    assert [path for path in sockets if is_open_to_others(path)] == []


def is_open_to_others(path: Path) -> bool:
    """Return whether the path's mode lets its group or others in; one that is gone by now lets nobody in."""
    try:
        return path.stat().st_mode & 0o077 != 0
    except FileNotFoundError:  # the service goes on while the test looks: journals of databases come and go
        return False


def can_be_reached(path: Path, top: Path) -> bool:
    """Return whether somebody else may pass through all folders from ``top`` to the path."""
    above = [folder for folder in path.parents if folder.is_relative_to(top)]
    return all(is_open_to_others(folder) for folder in above)

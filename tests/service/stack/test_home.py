"""The start of a stack: one for each home, and what can prevent it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.stack import HomeBusy, HomeOpen, HomeUnusable, PortTaken, Stack, StackFailed, guard, ports, up
from service.stack.home import Home
from service.stack.processes import ManagedProcess, managed_processes


def test_a_home_has_one_holder_and_says_who(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    first.claim({"url": "http://127.0.0.1:1234"})
    with pytest.raises(HomeBusy, match=rf"process {os.getpid()} \(http://127.0.0.1:1234\)"):
        second.claim({"url": "http://127.0.0.1:5678"})
    first.release()
    second.claim({"url": "http://127.0.0.1:5678"})
    second.release()


def test_the_secret_of_ray_is_ours_alone_and_stays(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.claim({"url": ""})
    home.prepare()
    secret = home.token.read_text()
    home.prepare()
    assert home.token.read_text() == secret
    assert home.token.stat().st_mode & 0o077 == 0
    home.release()
    assert not home.ray.exists()


def test_a_secret_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.claim({"url": ""})
    home.prepare()
    known = home.token.read_text()
    home.token.chmod(0o640)
    home.prepare()
    assert home.token.read_text() not in ("", known)
    home.release()


def test_rays_folder_can_be_entered_by_nobody_else_whatever_ray_does(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.claim({"url": ""})
    home.prepare()
    home.ray.chmod(0o777)  # as Ray does
    assert home.ray.parent.stat().st_mode & 0o077 == 0
    home.prepare()
    assert home.ray.parent.stat().st_mode & 0o077 == 0
    home.release()
    assert not home.ray.parent.exists()


def test_a_stack_that_was_not_started_leaves_the_folder_of_the_running_one(tmp_path: Path) -> None:
    running = Home(tmp_path / "home")
    running.claim({"url": ""})
    running.prepare()
    Stack(tmp_path / "home", 0, 0).stop()
    assert running.ray.is_dir()
    running.release()


def test_a_home_of_an_earlier_release_is_closed_with_all_that_lies_in_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for folder in (home.path, home.logs, home.mlflow, home.checkpoints):
        folder.mkdir(mode=0o755)
    for file in (home.database, home.path / "lock"):
        file.touch(0o644)
    home.claim({"url": ""})
    home.prepare()
    for path in (home.path, *home.path.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path
    home.release()


def test_a_shared_folder_of_other_things_is_refused_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "somebody's").touch()
    assert up(shared, port=0, mlflow_port=0, foreground=False) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{shared} is open to other users" in line
    assert "--home" in line
    assert shared.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in shared.iterdir()] == ["somebody's"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_home_of_another_user_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir(mode=0o700)
    os.chown(home.path, 12345, -1)
    with pytest.raises(HomeOpen, match="belongs to another user"):
        home.claim({"url": ""})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_rays_folder_is_not_put_into_that_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # as where others may not remove it
    home = Home(tmp_path / "home")
    home.claim({"url": ""})
    home.ray.parent.mkdir()
    os.chown(home.ray.parent, 12345, -1)
    try:
        with pytest.raises(HomeOpen, match="belongs to another user"):
            home.prepare()
    finally:
        home.ray.parent.rmdir()
    home.release()


def test_a_file_in_the_place_of_a_folder_is_one_of_our_errors(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.claim({"url": ""})
    home.logs.touch(0o600)
    with pytest.raises(HomeUnusable, match="logs cannot be used"):
        home.prepare()
    home.release()


def test_rays_folder_leaves_room_for_its_sockets(tmp_path: Path) -> None:
    home = Home(tmp_path / ("a" * 100) / ("b" * 100))
    assert len(str(home.ray)) + len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store") < 107


@pytest.mark.parametrize(("option", "position"), [("--port", 0), ("--mlflow-port", 1)])
def test_a_taken_port_is_named_with_its_option(tmp_path: Path, option: str, position: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        given = [0, 0]
        given[position] = taken
        with pytest.raises(PortTaken, match=rf"port {taken}.*{option}"):
            Stack(tmp_path, *given).start()
        assert not (tmp_path / "lock").exists()


def test_up_gives_exit_code_two_for_a_taken_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert up(tmp_path, port=other.getsockname()[1], mlflow_port=0, foreground=False) == 2
    assert "--port" in capsys.readouterr().err


def test_up_gives_exit_code_three_where_a_stack_runs_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = Home(tmp_path / "home")
    running.claim({"url": "http://127.0.0.1:1234"})
    assert up(tmp_path / "home", port=0, mlflow_port=0, foreground=False) == 3
    assert "http://127.0.0.1:1234" in capsys.readouterr().err
    running.release()


def test_free_ports_are_free_and_different() -> None:
    found = ports.free(5)
    assert len(set(found)) == 5
    for port in found:
        ports.require(port, "a test", "--port")


def test_a_part_that_does_not_start_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(tmp_path / "home", 0, 0)
    broken = ManagedProcess(
        "broken", [sys.executable, "-c", "raise SystemExit('no such luck')"], dict(os.environ), "http://[::1]:9"
    )
    monkeypatch.setattr("service.stack.stack.managed_processes", lambda _: [broken])
    with pytest.raises(StackFailed, match=r"(?s)broken does not start.*no such luck"):
        stack.start()
    Home(tmp_path / "home").claim({"url": ""})


def test_every_part_carries_the_mark_and_the_secret(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home", 0, 0, cpus=3, gpus=1)
    found = managed_processes(stack.layout)
    assert [part.name for part in found] == ["ray", "mlflow", "api", "controller"]
    for part in found:
        assert part.environment[guard.MARK] == str(stack.home.path)
        assert part.environment["RAY_AUTH_TOKEN_PATH"] == str(stack.home.token)
    assert {"--num-cpus=3", "--num-gpus=1"} <= set(found[0].command)


def test_a_home_that_cannot_be_made_is_one_line_and_exit_code_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    for home in (file, file / "inside", Path("/proc/nope")):
        assert up(home, port=0, mlflow_port=0, foreground=False) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{home} cannot be used as a folder" in line
        assert "--home" in line


def test_one_port_for_two_is_refused_up_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = ports.free(1)
    assert up(tmp_path / "home", port=port, mlflow_port=port) == 2
    printed = capsys.readouterr()
    assert printed.out == ""  # it does not say that something starts
    (line,) = printed.err.splitlines()
    assert f"--port and --mlflow-port are both {port}" in line
    assert not (tmp_path / "home").exists()


def test_a_relative_data_folder_is_the_one_seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECTRAL_DATA_DIR", "data")
    for part in managed_processes(Stack(tmp_path / "home", 0, 0).layout):
        assert part.environment["SPECTRAL_DATA_DIR"] == str(tmp_path / "data")


@pytest.mark.parametrize(
    ("missing", "words"), [(["ray"], "ray is not installed"), (["ray", "mlflow"], "ray and mlflow are not installed")]
)
def test_a_missing_package_is_named_with_the_extra_before_anything_starts(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    missing: list[str],
    words: str,
) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert up(tmp_path / "home", port=0, mlflow_port=0, foreground=False) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert "pip install 'spectral-rnn-service[all]'" in line
    assert not (tmp_path / "home").exists()


def test_programs_are_those_of_this_python_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Stack(tmp_path / "home", 0, 0).layout
    python = tmp_path / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    ray, mlflow, *_ = managed_processes(layout)
    assert ray.command[:4] == [str(python), "-m", "ray.scripts.scripts", "start"]
    assert mlflow.command[:3] == [str(python), "-m", "service.mlflow_server"]
    python.parent.mkdir()
    (python.parent / "ray").touch()
    ray, mlflow, *_ = managed_processes(layout)
    assert ray.command[:2] == [str(python.parent / "ray"), "start"]
    assert mlflow.command[0] == str(python)


@pytest.mark.parametrize("module", ["ray.scripts.scripts", "service.mlflow_server"])
def test_the_modules_run_in_place_of_a_missing_program_are_programs(module: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout

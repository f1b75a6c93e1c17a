"""The whole service, the command line and a client in an environment made for many other programs."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from service.stack import guard, ports
from tests.end_to_end.small_sweep import SWEEP
from tests.hostile_environment import hostile_to_stacks
from tests.waiting import until

COMMAND = (sys.executable, "-c", "from spectral_rnn_service import main; main()")
CLIENT = """
import sys
sys.path.remove(sys.argv[2])
from service.client import RestClient
with RestClient(sys.argv[1]) as client:
    print(*(sweep["name"] for sweep in client.sweeps()))
"""
KEPT = ("http", "https", "all", "no", "SSL_CERT", "SPECTRAL_")
"""How the names of those variables begin that the processes get: proxies and certificates, for downloads, and ours."""


def test_nothing_meant_for_other_programs_moves_or_stops_anything(tmp_path: Path) -> None:
    home, other, packages, document = (tmp_path / name for name in ("home", "other", "packages", "sweep.json"))
    other.mkdir()
    document.write_text(json.dumps(SWEEP))
    port, mlflow_port = ports.free(2)
    url = f"http://127.0.0.1:{port}"
    given = hostile_to_stacks(other, packages)
    environ = os.environ | given | {"SPECTRAL_URL": url, "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    up = [*COMMAND, "up", "--home", str(home), "--port", str(port), "--mlflow-port", str(mlflow_port), "--cpus", "1"]
    with subprocess.Popen(up, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        try:
            assert any("is up" in line for line in supervisor.stdout)
            sweep_id = run(*COMMAND, "submit", str(document)).split()[0]
            until(lambda: trains(home))
            assert_chosen(home, given)
            assert "succeeded" in run(*COMMAND, "watch", sweep_id)
            assert "trials: 4 (4 succeeded)" in run(*COMMAND, "show", sweep_id)
            assert run(sys.executable, "-c", CLIENT, url, str(packages)).split() == ["small"]
            assert until(lambda: registered_model(home)) == "small"
        finally:
            supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(60) == 0
    assert list(other.iterdir()) == []
    assert not (tmp_path / "config" / "mlflow").exists()  # where MLflow keeps the identity for its telemetry
    assert list((home / "mlflow" / "artifacts").rglob("results.png"))


def trains(home: Path) -> bool:
    """Return whether the stack has a runner."""
    with suppress(psutil.Error):
        return any("PackRunner" in " ".join(process.cmdline()) for process in guard.members(str(home)))
    return False


def assert_chosen(home: Path, given: Mapping[str, str]) -> None:
    """Check that no process of the stack has a variable with the value that it was given for others."""
    processes = guard.members(str(home))
    assert len(processes) > 4
    for process in processes:
        try:
            found = process.environ()
        except psutil.Error:  # it has ended
            continue
        foreign = {name for name, value in given.items() if found.get(name) == value}
        assert {name for name in foreign if not name.startswith((*KEPT, *map(str.upper, KEPT)))} == set()


def registered_model(home: Path) -> str | None:
    """Return the name of the model in the registry of this home's MLflow; None if there is none yet."""
    with sqlite3.connect(home / "mlflow" / "mlflow.db") as database:
        row = database.execute("SELECT name FROM registered_models").fetchone()
    return str(row[0]) if row else None

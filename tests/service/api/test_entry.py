"""``python -m service.api``: it migrates a fresh database, ends on a signal, and refuses wrong settings."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.client import RestClient
from service.stack.ports import free
from tests.hostile_environment import hostile
from tests.waiting import until


def start(**settings: Any) -> subprocess.Popen[str]:
    environment = os.environ | {f"SPECTRAL_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "service.api"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_it_migrates_serves_and_ends_beside_an_open_stream(tmp_path: Path, document: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = start(database_url=f"sqlite:///{tmp_path}/new.db", port=port)
    try:
        with RestClient(f"http://127.0.0.1:{port}") as client:
            sweep = client.submit(document)
            stream = client.events(sweep["id"])
            assert next(stream)["kind"] == "sweep.queued"
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
            stream.close()
    finally:
        process.kill()
    assert process.returncode in (0, -signal.SIGTERM), output


def test_variables_of_other_programs_neither_stop_it_nor_change_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in hostile(tmp_path / "other").items():
        monkeypatch.setenv(name, value)
    (port,) = free(1)
    process = start(database_url=f"sqlite:///{tmp_path}/new.db", port=port)
    try:
        with RestClient(f"http://127.0.0.1:{port}", patience=60) as client:
            assert list(client.sweeps()) == []
        assert psutil.Process(process.pid).children() == []
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=60)
    assert output.count("Started server process") == 1, output


def test_wrong_settings_refuse_to_start_by_name() -> None:
    process = start(port="many", max_body_bytes=1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "SPECTRAL_PORT: 'many' is not a whole number; allowed: a whole number\n" in output
    assert "SPECTRAL_MAX_BODY_BYTES: '1' is less than 1,000; allowed: at least 1,000\n" in output
    assert "Traceback" not in output


def ends(process: psutil.Process) -> bool:
    """Return whether a process has ended, also if nobody has read its exit status yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_several_processes_answer_count_together_and_end_with_the_first(tmp_path: Path) -> None:
    (port,) = free(1)
    process = start(database_url=f"sqlite:///{tmp_path}/new.db", port=port, api_workers=2)
    address = f"http://127.0.0.1:{port}"
    workers: list[psutil.Process] = []
    try:
        with RestClient(address, patience=120) as client:
            assert list(client.sweeps()) == []
        workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        assert len(workers) == 2
        # each request on a connection of its own, so that both processes get some
        for _ in range(40):
            assert httpx.get(f"{address}/v1/sweeps/sw0123456789").status_code == 404
        families = text_string_to_metric_families(httpx.get(f"{address}/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        counted = [s.value for s in samples if s.name == "spectral_http_requests_total" and s.labels["status"] == "404"]
        assert sum(counted) == 40
        assert [s.value for s in samples if s.name == "spectral_database_up"] == [1]
        process.kill()
        until(lambda: all(ends(worker) for worker in workers))
    finally:
        process.kill()
        for worker in workers:
            if not ends(worker):
                worker.kill()
        process.communicate(timeout=60)

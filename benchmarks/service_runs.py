"""Runs of the sweep on either side: how long they took, and what their trials reported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from benchmarks.service_peer_tune import config_of, key
from service.client import RestClient
from service.http_client import http_client
from service.stack import Stack
from service.stack.ports import free
from study.machine import ROOT

PATIENCE = 120.0


@dataclass(frozen=True)
class Run:
    """A run of the sweep; times are in seconds.

    Attributes:
        wall: Time from the request until the last trial has ended and MLflow has all results.
        last_trial: Time from the request until the last trial has ended.
        first_metric: Time from the request until the first metric.
        training: Time in training steps, over all processes.
        scoring: Time in scoring, over all processes.
        points: Metrics of every report, by trial.
    """

    wall: float
    last_trial: float
    first_metric: float
    training: float
    scoring: float
    points: dict[str, list[dict[str, float]]]

    @property
    def trials(self) -> int:
        """Number of trials."""
        return len(self.points)


def ours(document: dict[str, Any], home: Path, cpus: int) -> Run:
    """Run the sweep through the service: one POST to a running stack, then the client's event stream.

    The folder ``home`` is deleted first. The program ends if a trial does not succeed.
    """
    shutil.rmtree(home, ignore_errors=True)
    with Stack(home, 0, 0, cpus=cpus) as stack, RestClient(stack.url) as client:
        started, first = time.perf_counter(), None
        sweep_id = client.submit(document)["id"]
        for event in client.events(sweep_id):
            if first is None and event["kind"] == "trial.metrics":
                first = time.perf_counter()
        last = time.perf_counter()
        _wait_for_mlflow(stack, sweep_id)
        wall = time.perf_counter() - started
        state = client.sweep(sweep_id)
        if state["trials"]["succeeded"] != state["trials"]["total"]:
            raise SystemExit(f"the sweep {state['state']}: {state['reason']}; {state['trials']}")
        points, training, scoring = _collect(client, sweep_id, document["training"]["batch_size"])
    return Run(wall, last - started, (first or last) - started, training, scoring, points)


def _collect(client: RestClient, sweep_id: str, batch: int) -> tuple[dict[str, list[dict[str, float]]], float, float]:
    """Return the points by trial, and the seconds of training and of scoring of all packs."""
    points, training, together = {}, {}, {}
    for trial in client.trials(sweep_id):
        pack = client.logs(trial["id"])["attempts"][-1]["pack_id"]
        found = client.metrics(trial["id"])
        steps = [0, *(point["step"] for point in found)]
        rates = [point["values"]["throughput/sequences_per_s"] for point in found]
        counts = [after - before for before, after in pairwise(steps)]
        training[pack] = sum(count * batch / rate for count, rate in zip(counts, rates, strict=True))
        together[pack] = found[-1]["values"]["time/wall_s"]
        points[key(config_of(trial["params"]))] = [{"step": p["step"], **p["values"]} for p in found]
    return points, sum(training.values()), sum(together.values()) - sum(training.values())


def _wait_for_mlflow(stack: Stack, sweep_id: str) -> None:
    """Wait until the sweep's own run in MLflow, which is written last, has ended."""
    own = f"tags.`spectral.sweep_id` = '{sweep_id}' and tags.`spectral.kind` = 'sweep'"
    query = {"experiment_ids": ["1"], "filter": own}  # listing the runs of all trials would keep the server busy
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = httpx.post(f"{stack.mlflow_url}/api/2.0/mlflow/runs/search", json=query, timeout=30).json()
        for run in found.get("runs", []):
            if run["info"]["status"] != "RUNNING":
                return
        time.sleep(0.2)
    raise SystemExit(f"MLflow did not receive the sweep within {PATIENCE:.0f} s; see the logs in {stack.home.logs}")


def peer(
    document: dict[str, Any],
    kind: str,
    home: Path,
    cpus: int,
    data_dir: Path | None,
    *,
    steps: int | None = None,
    seeds: int | None = None,
) -> Run:
    """Run the sweep with Ray Tune in a separate process, with an MLflow server as ours has it.

    The folder ``home`` is deleted first. ``kind`` is a key of NETS. ``steps`` and ``seeds`` replace the training steps
    and the number of seeds of the document unless they are None. The program ends if the process fails.
    """
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with _mlflow(home) as address:
        request = {
            "document": document,
            "kind": kind,
            "mlflow": address,
            "cpus": cpus,
            "steps": steps,
            "seeds": seeds,
            "storage": str((home / "tune").resolve()),
            "data_dir": None if data_dir is None else str(data_dir),
        }
        (home / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", "benchmarks.service_peer_tune"]
        with (home / "tune.log").open("w") as log:
            done = subprocess.run(
                [*command, str((home / "request.json").resolve()), str((home / "result.json").resolve())],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            raise SystemExit(f"{(home / 'tune.log').read_text()[-3000:]}\nThe peer {kind} failed.")
    result = json.loads((home / "result.json").read_text())
    ends = [points[-1] for points in result["trials"].values()]
    training, scoring = (sum(end[name] for end in ends) for name in ("training_s", "scoring_s"))
    return Run(result["wall"], result["wall"], result["first"], training, scoring, result["trials"])


@contextmanager
def _mlflow(home: Path) -> Iterator[str]:
    """Run an MLflow server with the options that the stack uses, and yield its address."""
    port = free(1)[0]
    address = f"http://127.0.0.1:{port}"
    command = [
        str(Path(sys.executable).parent / "mlflow"),
        "server",
        f"--backend-store-uri=sqlite:///{home / 'mlflow.db'}",
        f"--artifacts-destination={home / 'artifacts'}",
        "--host=127.0.0.1",
        f"--port={port}",
        "--workers=1",
    ]
    with (home / "mlflow.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait_until_up(address, server)
            yield address
        finally:
            _end(server)


def _wait_until_up(address: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            with http_client(address, timeout=5) as http:
                if http.get("/health").status_code == 200:
                    return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit("the MLflow server of the peer did not start; see mlflow.log in its home")


def _end(server: subprocess.Popen[bytes]) -> None:
    import psutil

    family = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
    for process in family:
        process.terminate()
    psutil.wait_procs(family, timeout=10)

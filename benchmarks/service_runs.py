"""One run of the sweep on either side: how long it took, and what its trials reported."""

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
from service.client import Client
from service.stack import Stack
from service.stack.ports import free
from study.machine import ROOT

PATIENCE = 120.0


@dataclass(frozen=True)
class Run:
    """Seconds. ``wall``: from the request to the end of the last trial and MLflow's knowing it all; ``last_trial``: to
    the former. ``training``, ``scoring``: of all processes together. ``points``: by trial, val/loss and train/loss by
    step."""

    wall: float
    last_trial: float
    first_metric: float
    training: float
    scoring: float
    points: dict[str, list[dict[str, float]]]

    @property
    def trials(self) -> int:
        return len(self.points)


def ours(document: dict[str, Any], home: Path, cpus: int) -> Run:
    """Through the service: a stack that is up, one POST, and the client's event stream."""
    shutil.rmtree(home, ignore_errors=True)
    with Stack(home, 0, 0, cpus=cpus) as stack, Client(stack.url) as client:
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


def _collect(client: Client, sweep_id: str, batch: int) -> tuple[dict[str, list[dict[str, float]]], float, float]:
    """Points by trial; and of each pack once, since its trials share a clock, its seconds of training and the rest."""
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
    """Until the sweep's own run there has ended, which is written last."""
    own = f"tags.`spectral.sweep_id` = '{sweep_id}' and tags.`spectral.kind` = 'sweep'"
    query = {"experiment_ids": ["1"], "filter": own}  # its trials' runs would keep the server busy with every look
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = httpx.post(f"{stack.mlflow_url}/api/2.0/mlflow/runs/search", json=query, timeout=30).json()
        for run in found.get("runs", []):
            if run["info"]["status"] != "RUNNING":
                return
        time.sleep(0.2)
    raise SystemExit(f"MLflow did not take the sweep within {PATIENCE:.0f} s; see {stack.home.logs}")


def peer(
    document: dict[str, Any], kind: str, home: Path, cpus: int, data_dir: Path | None,
    *, steps: int | None = None, seeds: int | None = None,
) -> Run:  # fmt: skip
    """Through Ray Tune in a process of its own, with an MLflow server as ours has it."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with _mlflow(home) as address:
        request = {
            "document": document, "kind": kind, "mlflow": address, "cpus": cpus, "steps": steps, "seeds": seeds,
            "storage": str((home / "tune").resolve()), "data_dir": None if data_dir is None else str(data_dir),
        }  # fmt: skip
        (home / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", "benchmarks.service_peer_tune"]
        with (home / "tune.log").open("w") as log:
            done = subprocess.run(
                [*command, str((home / "request.json").resolve()), str((home / "result.json").resolve())],
                cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{(home / 'tune.log').read_text()[-3000:]}\nthe peer {kind} failed")
    result = json.loads((home / "result.json").read_text())
    ends = [points[-1] for points in result["trials"].values()]
    training, scoring = (sum(end[name] for end in ends) for name in ("training_s", "scoring_s"))
    return Run(result["wall"], result["wall"], result["first"], training, scoring, result["trials"])


@contextmanager
def _mlflow(home: Path) -> Iterator[str]:
    """A server of its own, called as the stack calls its own; yields its address."""
    port = free(1)[0]
    address = f"http://127.0.0.1:{port}"
    command = [
        str(Path(sys.executable).parent / "mlflow"), "server", f"--backend-store-uri=sqlite:///{home / 'mlflow.db'}",
        f"--artifacts-destination={home / 'artifacts'}", "--host=127.0.0.1", f"--port={port}", "--workers=1",
    ]  # fmt: skip
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
            if httpx.get(f"{address}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit("the peer's MLflow server does not start")


def _end(server: subprocess.Popen[bytes]) -> None:
    import psutil

    family = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
    for process in family:
        process.terminate()
    psutil.wait_procs(family, timeout=10)

"""The sweep as a user of Ray Tune and MLflow runs it: a Tuner, one trial per actor, and MLflowLoggerCallback.

    python -m benchmarks.service_peer_tune REQUEST.json RESULT.json

It runs in a separate process, so that nothing of it remains when ours runs. Its clock starts when Ray and MLflow run.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

from benchmarks.service_peer_nets import PlainSpectral
from benchmarks.service_peer_train import Data, Point, Settings, train
from benchmarks.service_sweep import trials
from study.machine import ROOT
from workers.models import initial_network
from workers.tasks import Task

NAMES = {
    "recurrent.weight_ih_l0": "weight",
    "recurrent.bias_l0": "bias",
    "recurrent.reflectors_u_l0": "u",
    "recurrent.reflectors_v_l0": "v",
    "recurrent.singular_l0": "raw",
    "head.weight": "head_weight",
    "head.bias": "head_bias",
}
"""Names of a trial's initial parameters: ours, and those of the peers."""


def trial(config: dict[str, Any], settings: Settings, starts: dict[str, Any], data: Data) -> None:
    """Run one trial; Ray calls this in each actor."""

    def report(point: Point, net: PlainSpectral, adam: torch.optim.Optimizer) -> None:
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"net": net.state_dict(), "adam": adam.state_dict()}, Path(folder) / "checkpoint.pt")
            tune.report(point, checkpoint=tune.Checkpoint.from_directory(folder))

    train(config, settings, starts[key(config)], data, report)


def key(config: dict[str, Any]) -> str:
    """Return the name of a configuration, made of its reflectors, margin and seed."""
    return f"{config['reflectors']} {config['margin']} {config['seed']}"


def config_of(params: dict[str, Any]) -> dict[str, Any]:
    """Return the peers' configuration of a trial's parameters."""
    return {name.split(".")[1]: value for name, value in params.items()}


def starts_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the initial parameters of every trial, the same as ours for each seed."""
    found = {}
    for spec in trials(document):
        state = initial_network(spec).state_dict()
        found[key(config_of(spec.params))] = {short: state[name].numpy() for name, short in NAMES.items()}
    return found


def data_of(task: Task, data_dir: Path | None) -> Data:
    """Return the data of a task."""
    held_out = (task.held_out("validation", data_dir), task.held_out("test", data_dir))
    return Data(task, task.training_data(data_dir), *held_out)


def settings_of(document: dict[str, Any], kind: str, steps: int | None = None) -> Settings:
    """Return the settings of a sweep; ``steps`` replaces its number of steps, with one report at the end."""
    training = document["training"]
    steps, every = (steps, steps) if steps else (training["steps"], training["report_every"])
    return Settings(
        kind, steps, training["batch_size"], every, training["lr"], training["clip_norm"], training["dtype"]
    )


class First(tune.Callback):
    """A callback that notes the time of the first metric."""

    at: float | None = None

    def on_trial_result(self, *_: Any, **__: Any) -> None:
        """Note the time if this is the first result."""
        self.at = self.at or time.perf_counter()


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Run the sweep.

    Args:
        request: ``document``, ``kind`` of net, address of ``mlflow``, ``cpus``, ``storage``, ``data_dir``, and
            ``steps`` and ``seeds``: training steps, and how many of the document's seeds to use; None is as there.

    Returns:
        Seconds until all trials ended (``wall``) and until the first metric (``first``), and the ``trials``' metrics.
    """
    document = request["document"]
    settings = settings_of(document, request["kind"], request["steps"])
    data = data_of(trials(document)[0].task, Path(request["data_dir"]) if request["data_dir"] else None)
    space = {path.split(".")[1]: values["values"] for path, values in document["space"].items()}
    space["seed"] = space["seed"][: request["seeds"]]
    first = First()
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trial, settings=settings, starts=starts_of(document), data=data), {"cpu": 1}
        ),
        param_space={name: tune.grid_search(values) for name, values in space.items()},
        run_config=tune.RunConfig(
            name="bench",
            storage_path=request["storage"],
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=request["mlflow"], experiment_name="bench"), first],
        ),
    )
    started = time.perf_counter()
    grid = tuner.fit()
    wall = time.perf_counter() - started
    if grid.errors:
        raise SystemExit(str(grid.errors[0]))
    found = {}
    for result in (grid[i] for i in range(len(grid))):
        assert result.config is not None
        assert result.metrics_dataframe is not None
        found[key(result.config)] = result.metrics_dataframe.to_dict("records")
    return {"wall": wall, "first": (first.at or started) - started, "trials": found}


def main() -> None:
    """Read the request, run the sweep and write the result."""
    request = json.loads(Path(sys.argv[1]).read_text())
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    ray.init(
        num_cpus=request["cpus"],
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": environment},
        object_store_memory=600_000_000,
    )
    try:
        result = run(request)
    finally:
        ray.shutdown()
    Path(sys.argv[2]).write_text(json.dumps(result, default=float))


if __name__ == "__main__":
    main()

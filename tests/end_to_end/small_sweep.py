"""A small sweep, and what is looked at while it runs."""

from __future__ import annotations

from typing import Any

import psutil

from service.client import RestClient
from service.stack import Stack

Json = dict[str, Any]
Told = dict[int, dict[int, dict[str, float]]]  # trial number -> step -> values

SWEEP: Json = {
    "name": "small",
    "task": {"name": "adding", "length": 20},
    "model": {"hidden_size": 16},
    "training": {"steps": 400, "batch_size": 16, "report_every": 20},
    "space": {"model.margin": {"values": [0.01, 0.1]}, "training.seed": {"values": [0, 1]}},
    "resources": {"pack_size": 2},
}
"""Trials of as many reflectors: they are padded alike in every pack, so that numbers are the same bits after a loss."""
CLOCK = ("time/", "throughput/", "system/")
STEPS = list(range(20, 401, 20))
FIGURES = ("results", "learning_curves", "best_so_far", "parallel_coordinates", "gradients", "spectrum")
PLOTS = {f"plots/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}


def runners(stack: Stack) -> list[psutil.Process]:
    """The processes that train."""
    ray = stack.pid("ray")
    assert ray is not None
    found = []
    for process in psutil.Process(ray).children(recursive=True):
        try:
            if "PackRunner" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def told(client: RestClient, sweep_id: str) -> Told:
    """Every metric of every trial as the API gives it, those that depend on the clock left out."""
    return {
        trial["number"]: {
            point["step"]: {key: value for key, value in point["values"].items() if not key.startswith(CLOCK)}
            for point in client.metrics(trial["id"])
        }
        for trial in client.trials(sweep_id)
    }


def first_report(client: RestClient, sweep_id: str) -> None:
    """Returns once the sweep is under way and has something to lose."""
    for event in client.events(sweep_id):
        if event["kind"] == "trial.checkpointed":
            return
    raise AssertionError("the sweep ended before its first checkpoint")

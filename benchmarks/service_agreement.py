"""Check that both sides of P6 train the same trials: in float64 their losses agree step by step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import service_sweep
from benchmarks.service_peer_nets import NETS
from benchmarks.service_peer_train import Point, train
from benchmarks.service_peer_tune import config_of, data_of, key, settings_of, starts_of
from benchmarks.service_sweep import Size
from workers.training.batches import TaskData
from workers.training.trainer import Trainer
from workers.training.trainer_events import Reported
from workers.training.training_state import TrainingState

STEPS = 3
LARGEST_ERROR = 1e-9


def require_same_losses(size: Size, data_dir: Path | None) -> float:
    """Return the largest relative difference in the training losses of the first steps; exit if it is too large.

    One seed of every pair of reflector count and margin is compared, at the sizes of the sweep but with a shorter
    sequence.
    """
    small = replace(size, steps=STEPS, report_every=1, seeds=1, dtype="float64", length=min(size.length, 98))
    document = service_sweep.document(small, data_dir)
    ours = _ours(document, data_dir)
    worst = 0.0
    for kind in NETS:
        for name, losses in _peers(document, kind, data_dir).items():
            errors = [abs(a - b) / abs(b) for a, b in zip(losses, ours[name], strict=True)]
            worst = max(worst, *errors)
    if worst > LARGEST_ERROR:
        raise SystemExit(f"the losses of both sides differ by a relative {worst:.2g}, so nothing is timed.")
    return worst


def _ours(document: dict[str, Any], data_dir: Path | None) -> dict[str, list[float]]:
    specs = service_sweep.trials(document)
    data = TaskData(specs[0].task, data_dir, torch.device("cpu"), torch.float64)
    trainer = Trainer([TrainingState.start(spec) for spec in specs], data, torch.device("cpu"))
    names = [key(config_of(spec.params)) for spec in specs]
    losses: dict[str, list[float]] = {name: [] for name in names}
    while trainer.live:
        for event in trainer.advance():
            if isinstance(event, Reported):
                losses[names[event.trial]].append(event.values["train/loss"])
    return losses


def _peers(document: dict[str, Any], kind: str, data_dir: Path | None) -> dict[str, list[float]]:
    data, starts = data_of(service_sweep.trials(document)[0].task, data_dir), starts_of(document)
    losses: dict[str, list[float]] = {}
    for spec in service_sweep.trials(document):
        config = config_of(spec.params)
        found: list[Point] = []

        def report(point: Point, *_: object, to: list[Point] = found) -> None:
            to.append(point)

        train(config, settings_of(document, kind), starts[key(config)], data, report)
        losses[key(config)] = [point["train/loss"] for point in found]
    return losses

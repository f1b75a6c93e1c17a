"""Small sweeps and trials that train in well under a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workers.protocol import AssignedTrial, Assignment
from workers.spec.expand import plan_trial
from workers.spec.parse import parse_sweep
from workers.spec.training import TrainingSpec
from workers.spec.trial import TrialSpec


def sweep_document(**parts: Any) -> dict[str, Any]:
    """Return a valid sweep document in which the given parts replace the defaults."""
    document: dict[str, Any] = {
        "task": {"name": "adding", "length": 8},
        "model": {"hidden_size": 6, "reflectors": 2},
        "training": {"steps": 12, "batch_size": 4, "report_every": 4, "lr": 0.01},
        "space": {"training.seed": {"values": [0, 1]}},
    }
    return document | parts


def make_trial(number: int = 0, *, task: dict[str, Any] | None = None, **fields: Any) -> TrialSpec:
    """Return a trial on a short adding task, with the given fields of its model or its training."""
    document = sweep_document()
    for name, value in fields.items():
        part = "training" if name in TrainingSpec.model_fields else "model"
        document[part][name] = value
    if task:
        document["task"] = task
    sweep = parse_sweep(document | {"space": {"training.seed": {"values": [document["training"].get("seed", 0)]}}})
    return plan_trial(sweep, number, {"training.seed": document["training"].get("seed", 0)}).require_spec()


def make_assignment(folder: Path, trials: list[TrialSpec], **fields: Any) -> Assignment:
    assigned = [
        AssignedTrial(trial_id=f"t{i}", spec=spec, checkpoint_dir=str(folder / f"t{i}"))
        for i, spec in enumerate(trials)
    ]
    own = {"cpus": 1.0, "gpus": 0.0} | fields
    return Assignment(pack_id="pack", attempt=0, term=1, trials=assigned, **own)

"""The sweep of P6 that both sides run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.spec.expand import plan_trials
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

REFLECTORS, MARGINS = (8, 16), (0.01, 0.1)


@dataclass(frozen=True)
class Size:
    """Sizes of the sweep; ``seeds`` is the number of trials for each pair of reflector count and margin."""

    hidden: int = 128
    length: int = 784
    batch: int = 32
    steps: int = 500
    report_every: int = 50
    seeds: int = 4
    dtype: str = "float32"


QUICK = Size(hidden=16, length=16, steps=40, report_every=10)


def document(size: Size, data_dir: Path | None) -> dict[str, Any]:
    """Return the document of the sweep.

    The task is MNIST, if its files are in ``data_dir`` and ``size.length`` divides 784; else it is the adding problem
    of that length.
    """
    pixels = data_dir is not None and (data_dir / "mnist").is_dir() and 784 % size.length == 0
    return {
        "name": "bench",
        "task": {"name": "mnist", "steps": size.length} if pixels else {"name": "adding", "length": size.length},
        "model": {"hidden_size": size.hidden, "activation": "relu"},
        "training": {
            "steps": size.steps,
            "batch_size": size.batch,
            "report_every": size.report_every,
            "lr": 0.001,
            "clip_norm": 1.0,
            "dtype": size.dtype,
        },
        "space": {
            "model.reflectors": {"values": list(REFLECTORS)},
            "model.margin": {"values": list(MARGINS)},
            "training.seed": {"values": list(range(size.seeds))},
        },
        "resources": {"cpus": 1},
    }


def trials(document: dict[str, Any]) -> list[TrialSpec]:
    """Return the specifications of all trials of the sweep ``document``."""
    sweep = SweepSpec.model_validate(document)
    return [plan.require_spec() for plan in plan_trials(sweep)]

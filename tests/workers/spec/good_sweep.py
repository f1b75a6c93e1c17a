"""A sweep that is accepted, changes of it, and the errors of one that is not."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from workers.errors import FieldError, SpecError
from workers.spec.parse import parse_sweep

GOOD: dict[str, Any] = {
    "name": "digits-margin",
    "task": {"name": "digits"},
    "model": {"kind": "spectral_rnn", "hidden_size": 64, "activation": "relu"},
    "training": {"steps": 600, "batch_size": 64, "optimizer": "adam", "lr": 0.001},
    "space": {
        "model.reflectors": {"values": [4, 8, 16]},
        "model.margin": {"low": 0.001, "high": 0.3, "log": True, "grid": 3},
    },
    "search": {"sampler": "grid", "seed": 0},
    "early_stopping": {"kind": "asha", "reduction": 3},
    "objective": {"metric": "val/accuracy", "direction": "maximize"},
    "resources": {"gpus": 0, "cpus": 1, "pack_size": "auto"},
}


def wrong(document: Any) -> list[FieldError]:
    with pytest.raises(SpecError) as caught:
        parse_sweep(document)
    assert caught.value.errors
    for error in caught.value.errors:
        assert all([error.problem, error.allowed])
        assert error.allowed != error.problem
        json.dumps(error.as_dict(), allow_nan=False)
    return caught.value.errors


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with the field at ``path`` (parts divided by '/') set."""
    document = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    part = document
    for name in parents:
        part = part.setdefault(name, {})
    part[last] = value
    return document

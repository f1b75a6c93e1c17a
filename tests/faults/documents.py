"""The sweeps that are disturbed: small ones, whose values are the same bits in every pack of the same make-up."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

STEPS, REPORT_EVERY, CHECKPOINT_EVERY = 300, 10, 20

_BASE: Json = {
    "task": {"name": "adding", "length": 60},
    "model": {"hidden_size": 16},
    "training": {
        "steps": STEPS,
        "batch_size": 16,
        "report_every": REPORT_EVERY,
        "checkpoint_every": CHECKPOINT_EVERY,
        "dtype": "float64",
    },
}

DOCUMENTS: dict[str, Json] = {
    "pairs": _BASE
    | {
        "name": "pairs",
        "space": {"model.margin": {"values": [0.01, 0.1]}, "training.seed": {"values": [0, 1]}},
        "resources": {"pack_size": 2},
    },
    "alone": _BASE
    | {"name": "alone", "space": {"model.margin": {"values": [0.01, 0.03, 0.1]}}, "resources": {"pack_size": 1}},
    "drawn": _BASE
    | {
        "name": "drawn",
        "space": {"model.margin": {"low": 0.01, "high": 0.2, "log": True}},
        "search": {"sampler": "random", "trials": 3, "seed": 5},
        "resources": {"pack_size": 2},
    },
}
"""By name: two packs of two trials, three trials alone, and a random search with a pack of two and one of one."""

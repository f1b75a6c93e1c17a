"""Bodies of up to a megabyte, made to cost a server far more than they cost their sender. None is a valid sweep."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MOST = 990_000
"""About the largest body that the API reads by default, in bytes."""


def _sweep(**changes: Any) -> bytes:
    return json.dumps({"task": {"name": "adding"}, "space": {"model.margin": [0.01]}} | changes).encode()


def _keys(count: int, prefix: str = "model.f") -> dict[str, Any]:
    return {f"{prefix}{number}": [1] for number in range(count)}


def _nested(opened: str, closed: str, count: int) -> bytes:
    return b'{"task": {"name": "adding"}, "space": ' + (opened * count + "1" + closed * count).encode() + b"}"


BODIES: dict[str, Callable[[], bytes]] = {
    "40,000 unknown paths of the space": lambda: _sweep(space=_keys(40_000)),
    "20,000 unknown paths like a field": lambda: _sweep(space=_keys(20_000, "training.learningrate")),
    "unknown fields at the top": lambda: _sweep(**_keys(60_000)),
    "unknown fields of the model": lambda: _sweep(model=_keys(60_000)),
    "unknown fields of the task": lambda: _sweep(task={"name": "adding"} | _keys(60_000)),
    "one unknown field with a long name": lambda: _sweep(**{"m" * MOST: 1}),
    "one unknown path with a long name": lambda: _sweep(space={"model." + "m" * MOST: [1]}),
    "a dimension of 300,000 values": lambda: _sweep(space={"model.margin": list(range(300_000))}),
    "a dimension of 400,000 equal values": lambda: _sweep(space={"model.margin": [1] * 400_000}),
    "a dimension of lists": lambda: _sweep(space={"model.margin": [[]] * 200_000}),
    "eleven dimensions of 9,000 wrong values": lambda: _sweep(
        space={path: [f"{n}" for n in range(9_000)] for path in FIELDS}
    ),
    "eleven dimensions of 10,000 points": lambda: _sweep(
        space={path: {"low": 0.1, "high": 0.9, "grid": 10_000} for path in FIELDS}
    ),
    "a name of a megabyte": lambda: _sweep(name="x" * MOST),
    "a kind of a megabyte": lambda: _sweep(task={"name": "x" * MOST}),
    "a metric of a megabyte": lambda: _sweep(objective={"metric": "x" * MOST}),
    "a number of a million digits": lambda: b'{"task": {"name": "adding"}, "seed": ' + b"9" * MOST + b"}",
    "a fraction of a million digits": lambda: b'{"task": {"name": "adding"}, "seed": 0.' + b"9" * MOST + b"}",
    "100,000 numbers of ten digits": lambda: _sweep(training={"lr": [1234567890] * 80_000}),
    "nested lists": lambda: _nested("[", "]", 400_000),
    "nested objects": lambda: _nested('{"a":', "}", 150_000),
    "15,000 lists nested 28 deep": lambda: _sweep(space={"model.margin": [json.loads("[" * 28 + "]" * 28)] * 15_000}),
    "the same key again and again": lambda: b"{" + b",".join([b'"space": {}'] * 90_000) + b"}",
    "escapes": lambda: b'{"name": "' + b"\\u0041" * 160_000 + b'"}',
    "half surrogate pairs": lambda: b'{"name": "' + b"\\ud800" * 160_000 + b'"}',
    "facts of 1,000 data sets": lambda: _sweep(
        task={
            "name": "own_data",
            "file": "a.csv",
            "facts": {f"f{n}": {"length": 0, "x": [1] * 200} for n in range(1_000)},
        }
    ),
    "classes without end": lambda: _sweep(
        task={
            "name": "own_data",
            "file": "a.csv",
            "facts": {"a.csv": {"length": 5, "features": 1, "classes": ["c"] * 240_000}},
        }
    ),
    "columns without end": lambda: _sweep(task={"name": "own_data", "file": "a.csv", "inputs": ["c"] * 240_000}),
    "no object": lambda: json.dumps(list(range(140_000))).encode(),
}
"""The bodies by what is hostile about them."""

FIELDS = [
    *("model.hidden_size", "model.margin", "model.reflectors", "model.sigma", "training.lr", "training.steps"),
    *("training.batch_size", "training.seed", "task.length", "training.weight_decay", "model.layers"),
]

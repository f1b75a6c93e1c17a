"""Bodies that are made to cost a server far more than they cost their sender. None is a valid sweep."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

FIELDS = (
    *("model.hidden_size", "model.margin", "model.reflectors", "model.sigma", "training.lr", "training.steps"),
    *("training.batch_size", "training.seed", "task.length", "training.weight_decay", "model.layers"),
)


def _sweep(**changes: Any) -> bytes:
    return json.dumps({"task": {"name": "adding"}, "space": {"model.margin": [0.01]}} | changes).encode()


def _own(**fields: Any) -> bytes:
    return _sweep(task={"name": "own_data", "file": "a.csv"} | fields)


def _keys(size: int, prefix: str = "model.f") -> dict[str, Any]:
    return {f"{prefix}{number}": [1] for number in range(size // (len(prefix) + 14))}


def _nested(opened: str, closed: str, size: int) -> bytes:
    count = size // len(opened + closed)
    return b'{"task": {"name": "adding"}, "space": ' + (opened * count + "1" + closed * count).encode() + b"}"


def _facts(size: int) -> bytes:
    return _own(facts={f"f{number}": {"length": 0, "x": [1] * 200} for number in range(size // 700)})


def _classes(size: int) -> bytes:
    return _own(facts={"a.csv": {"length": 5, "classes": ["c"] * (size // 5)}})


BODIES: dict[str, Callable[[int], bytes]] = {
    "unknown paths of the space": lambda size: _sweep(space=_keys(size)),
    "unknown paths like a field": lambda size: _sweep(space=_keys(size, "training.learningrate")),
    "unknown fields at the top": lambda size: _sweep(**_keys(size)),
    "unknown fields of the model": lambda size: _sweep(model=_keys(size)),
    "unknown fields of the task": lambda size: _sweep(task={"name": "adding"} | _keys(size)),
    "an unknown field with a long name": lambda size: _sweep(**{"m" * size: 1}),
    "an unknown path with a long name": lambda size: _sweep(space={"model." + "m" * size: [1]}),
    "a dimension of many values": lambda size: _sweep(space={"model.margin": list(range(size // 8))}),
    "a dimension of equal values": lambda size: _sweep(space={"model.margin": [1] * (size // 3)}),
    "a dimension of lists": lambda size: _sweep(space={"model.margin": [[]] * (size // 4)}),
    "dimensions of wrong values": lambda size: _sweep(
        space={path: [f"{number}" for number in range(min(9_999, size // 100))] for path in FIELDS}
    ),
    "dimensions of too many points": lambda size: _sweep(
        space={path: {"low": 0.1, "high": 0.9, "grid": 10_000} for path in FIELDS}
    ),
    "a long name": lambda size: _sweep(name="x" * size),
    "a long kind of task": lambda size: _sweep(task={"name": "x" * size}),
    "a long metric": lambda size: _sweep(objective={"metric": "x" * size}),
    "a number of many digits": lambda size: b'{"task": {"name": "adding"}, "seed": ' + b"9" * size + b"}",
    "a fraction of many digits": lambda size: b'{"task": {"name": "adding"}, "seed": 0.' + b"9" * size + b"}",
    "many numbers": lambda size: _sweep(training={"lr": [1234567890] * (size // 12)}),
    "nested lists": lambda size: _nested("[", "]", size),
    "nested objects": lambda size: _nested('{"a":', "}", size),
    "lists nested 28 deep": lambda size: _sweep(
        space={"model.margin": [json.loads("[" * 28 + "]" * 28)] * (size // 58)}
    ),
    "one key again and again": lambda size: b"{" + b",".join([b'"space": {}'] * (size // 12)) + b"}",
    "escapes": lambda size: b'{"name": "' + b"\\u0041" * (size // 6) + b'"}',
    "halves of surrogate pairs": lambda size: b'{"name": "' + b"\\ud800" * (size // 6) + b'"}',
    "facts of many data sets": _facts,
    "many classes": _classes,
    "many columns": lambda size: _own(inputs=["c"] * (size // 5)),
    "no object": lambda size: json.dumps(list(range(size // 8))).encode(),
}
"""Functions of the size in bytes, by what is hostile about the body."""

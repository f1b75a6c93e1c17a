"""What a valid sweep would do: trials, shape groups, and warnings about values that seldom end well."""

from __future__ import annotations

from collections import Counter
from typing import Any

from workers import packing
from workers.errors import FieldError
from workers.space import params_of, resolve
from workers.spec import Range, SweepSpec


def plan(spec: SweepSpec) -> dict[str, Any]:
    """The dry run: trials, how many of each shape, the packs one worker would make of them, warnings."""
    trials = [resolve(spec, number, params) for number, params in enumerate(params_of(spec))]
    packs = packing.plan(trials, spec.resources.pack_size, 1, spec.resources.gpus)
    return {
        "trials": len(trials),
        "shapes": sorted(Counter(trial.shape_key for trial in trials).values(), reverse=True),
        "packs": sorted(map(len, packs), reverse=True),
        "warnings": [warning.as_dict() for warning in warnings(spec)],
    }


def warnings(spec: SweepSpec) -> list[FieldError]:
    """Values that are allowed and yet unwise."""
    return [*_margin(spec)]


def _margin(spec: SweepSpec) -> list[FieldError]:
    """Over T steps a gradient can grow by (1 + r)^T; above r = 10 / T it does so by 1e4 and more."""
    length = spec.task.sequence_length
    dimension = spec.space.get("model.margin")
    if dimension is None:
        field, largest = "model.margin", spec.model.band_margin
    else:
        field = "space.model.margin"
        ends = [dimension.high] if isinstance(dimension, Range) else dimension.values
        largest = max(float(value) for value in ends)
    if largest <= 10 / length or spec.model.kind != "spectral_rnn":
        return []
    problem = f"is above 10 / T for sequences of T = {length}: gradients can grow by (1 + r)^T and training diverge"
    return [FieldError(field, largest, problem, f"at most 1 / T = {1 / length:.3g} is advised")]

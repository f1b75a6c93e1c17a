"""The number of parameters that is computed from a spec, against the network itself and the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.workers.models.networks import (
    ADDING,
    EveryStep,
    Tokens,
    mixed,
    trial,
)
from workers.models import build
from workers.spec.model import KINDS, ModelSpec
from workers.spec.parameter_count import count_parameters
from workers.tasks import Task


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("task", [ADDING, EveryStep(length=6), Tokens(length=6)])
def test_parameters_are_counted_without_building(kind: str, task: Task) -> None:
    for own in mixed(kind):
        spec = trial(kind, **own).model
        if task.readout == "every" and not spec.recurrent:
            continue
        model = build(spec, task, dtype=torch.float64)
        parameters = dict(model.named_parameters())
        total = sum(_free(name, p) for name, p in parameters.items())
        outside = ("head", "embedding", "first", "recurrent.weight_ih")
        inner = {name: p for name, p in parameters.items() if not name.startswith(outside) and "weight_ih" not in name}
        assert count_parameters(spec, task) == (total, sum(_free(name, p) for name, p in inner.items()))


def _free(name: str, parameter: Tensor) -> int:
    """Return the number of entries that can have a gradient."""
    if "reflectors" in name:
        return int(torch.ones_like(parameter).tril().sum())
    return int(torch.ones_like(parameter).tril(-1).sum()) if "parametrizations" in name else parameter.numel()


def test_one_layer_has_the_papers_count() -> None:
    spec = ModelSpec(hidden_size=256, reflectors=16)
    n, m, inputs, outputs = 256, 16, 2, 1
    paper = (outputs + inputs + 2 * m + 2) * n - (2 * m * m - 2 * m) // 2
    assert count_parameters(spec, ADDING).total == paper + outputs

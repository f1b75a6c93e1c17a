"""Small networks of every kind, and the comparison of a pack with its networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.workers.examples import make_trial
from workers.models import SequenceModel, pack
from workers.spec.model import REFLECTED, ModelSpec
from workers.spec.trial import TrialSpec
from workers.tasks.adding import Adding

CPU = torch.device("cpu")


ADDING = Adding(length=6)


class EveryStep(Adding):
    """The adding problem's inputs, with an output at every step."""

    @property
    def readout(self) -> Any:
        return "every"

    @property
    def output_size(self) -> int:
        return 3


class Tokens(Adding):
    """The adding problem with seven tokens for its inputs."""

    @property
    def tokens(self) -> int | None:
        return 7

    @property
    def input_size(self) -> int:
        return 7


def trial(kind: str, **fields: Any) -> TrialSpec:
    own: dict[str, Any] = {"kind": kind, "layers": 2, "hidden_size": 6, "reflectors": None, "dtype": "float64"}
    return make_trial(**(own | fields))


def mixed(kind: str) -> list[dict[str, Any]]:
    """Return the fields of three trials of one pack that differ in everything in which such trials may differ."""
    fields: list[dict[str, Any]] = [{}, {}, {}]
    if kind in REFLECTED:
        fields = [{"reflectors": 2}, {"reflectors_u": 3, "reflectors_v": 1, "start": "gaussian"}, {"reflectors": 6}]
    if ModelSpec(kind=kind, layers=2).spectral:  # type: ignore[arg-type]
        for own, margin, sigma in zip(fields, (0.01, 0.3, 0.1), (1.0, 0.9, 0.5), strict=True):
            own |= {"margin": margin, "sigma": sigma}
    return [own | {"seed": seed} for seed, own in enumerate(fields)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shaken(models: list[SequenceModel]) -> list[SequenceModel]:
    """Add noise to every parameter, because some gradients are zero at the initial values. Return the models."""
    for seed, model in enumerate(models):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
    return models


def assert_packed_is_alone(models: list[SequenceModel], inputs: Tensor, lengths: Tensor | None = None) -> None:
    """Assert that outputs and the gradients of all parameters agree to 1e-12."""
    packed = pack(models)
    outputs, _ = packed.forward(inputs, lengths=lengths)
    weights = drawn(*outputs.shape, seed=1)
    gradients = torch.autograd.grad((outputs * weights).sum(), list(packed.parameters.values()))
    found = dict(zip(packed.parameters, gradients, strict=True))
    for k, model in enumerate(models):
        alone = model(inputs[k], None if lengths is None else lengths[k])
        torch.testing.assert_close(outputs[k], alone, rtol=1e-12, atol=1e-12)
        wanted = torch.autograd.grad((alone * weights[k]).sum(), list(model.parameters()))
        for (name, parameter), gradient in zip(model.named_parameters(), wanted, strict=True):
            own = found[name][k, ..., : parameter.shape[-1]]
            torch.testing.assert_close(own, gradient, rtol=1e-12, atol=1e-12, msg=f"d/d{name} of trial {k}")

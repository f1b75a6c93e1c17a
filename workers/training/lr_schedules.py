"""How each trial's learning rate moves: groups of parameters with rates of their own, and a factor over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workers.spec.trial import TrialSpec

LARGEST_SINGULAR_RATE = 0.1
"""Steps of a raw singular value beyond this overshoot the sigmoid's slope and freeze it at the band's edge."""
SCHEDULE_FACTOR = 0.1
UNDECAYED = ("reflectors", "singular", "offset", "parametrizations")
"""Parameters drawn towards zero by nothing: directions, positions in a band, thresholds, coordinates of a rotation."""


def rate(name: str, spec: TrialSpec) -> float:
    """Full rate of the parameter ``name``: ``lr``, times reflector_lr for reflectors.

    Raw singular values move at lr * singular_lr; without it at lr / margin, since the band map's slope there is
    margin / 2 (at most LARGEST_SINGULAR_RATE, or lr where that is more).
    """
    training = spec.training
    if "reflectors" in name:
        return training.lr * training.reflector_lr
    if "singular" not in name:
        return training.lr
    if training.singular_lr is not None:
        return training.lr * training.singular_lr
    return max(training.lr, min(training.lr / spec.model.band_margin, LARGEST_SINGULAR_RATE))


def decays(name: str) -> bool:
    """Whether weight decay acts on it: on weight matrices; not on biases nor on what UNDECAYED lists."""
    return "weight" in name and not any(part in name for part in UNDECAYED)


class PackedSchedule:
    """What is left of each trial's rate at a step: warm-up, then constant, half a cosine, or ever smaller by steps.

    train_size: as TaskData has it, None where there are no passes over a training set. Raises ValueError where a
    schedule counts passes that do not exist.
    """

    def __init__(self, specs: Sequence[TrialSpec], train_size: int | None, device: torch.device) -> None:
        trainings = [spec.training for spec in specs]

        def whole(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        def real(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=device)

        self._warmup = whole([t.warmup_steps for t in trainings]) if any(t.warmup_steps for t in trainings) else None
        self._cosine = torch.tensor([t.schedule == "cosine" for t in trainings], device=device)
        self._span = real([t.steps - t.warmup_steps for t in trainings])
        falls = [t.schedule == "step" for t in trainings]
        self._factor = None
        if any(falls):
            factors = [(t.schedule_factor or SCHEDULE_FACTOR) if fall else 1.0 for t, fall in zip(trainings, falls)]  # noqa: B905  one list
            self._factor = real([math.log(factor) for factor in factors])
            counts = [_counted(spec, train_size) if fall else (0, 1) for spec, fall in zip(specs, falls, strict=True)]
            self._each, self._period = whole([each for each, _ in counts]), whole([period for _, period in counts])

    def __call__(self, steps: Tensor) -> Tensor:
        """The factors before the step that follows ``steps``, both (K,); float64. No host sync."""
        warmup = self._warmup
        past = steps.double() if warmup is None else (steps - warmup).clamp(min=0).double()
        cosine = (1 + torch.cos(torch.pi * past / self._span)) / 2
        left = torch.where(self._cosine, cosine, torch.ones_like(cosine))
        if self._factor is not None:
            # exp and not pow: pow rounds differently at different places of a vector, so bits would depend on K
            left = left * torch.exp(self._factor * (steps * self._each // self._period))
        if warmup is not None:
            rising = ((steps + 1).double() / warmup.clamp(min=1)).clamp(max=1.0)
            left = left * rising
        return left


def _counted(spec: TrialSpec, train_size: int | None) -> tuple[int, int]:
    """(a, b): the rate has fallen (a * steps) // b times after so many steps."""
    training = spec.training
    if training.schedule_unit != "epochs":
        return 1, training.schedule_every or max(1, training.steps // 3)
    if train_size is None:
        raise ValueError(
            f"training.schedule_unit is epochs and task {spec.task.name} draws fresh sequences at every step, so that "
            "it has no epochs; use schedule_unit steps"
        )
    epochs = training.schedule_every or 1
    if spec.task.carried:
        return 1, epochs * max(1, train_size // training.batch_size // spec.task.sequence_length)
    return training.batch_size, epochs * train_size

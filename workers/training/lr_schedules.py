"""The learning rates of a pack: one for each role of parameters, times a factor that depends on the step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from spectral import ParameterRole
from workers.spec.trial import TrialSpec

LARGEST_SINGULAR_RATE = 0.1
"""Larger steps of a raw singular value carry it past the steep part of the sigmoid, to the edge of the band, where its
gradient vanishes."""
SCHEDULE_FACTOR = 0.1
"""The default of ``training.schedule_factor``."""


def full_rate(role: ParameterRole, spec: TrialSpec) -> float:
    """Return the learning rate of parameters of a role before the schedule's factor.

    It is ``lr``, for reflectors times ``reflector_lr`` and for raw singular values times ``singular_lr``. If a trial
    has no ``singular_lr``, its singular values move at lr / margin, because the slope of the band map is margin / 2;
    that rate is at most ``LARGEST_SINGULAR_RATE``, or ``lr`` if ``lr`` is larger.
    """
    training = spec.training
    if role == "reflector":
        return training.lr * training.reflector_lr
    if role != "singular_value":
        return training.lr
    if training.singular_lr is not None:
        return training.lr * training.singular_lr
    return max(training.lr, min(training.lr / spec.model.band_margin, LARGEST_SINGULAR_RATE))


def decays(role: ParameterRole) -> bool:
    """Return whether weight decay acts on parameters of a role: on weight matrices alone.

    There is no reason to pull the others to zero: the length of a reflector, a raw singular value, a threshold of
    modReLU, a bias, or a coordinate, from which an orthogonal matrix is formed.
    """
    return role == "weight"


class PackedSchedule:
    """Computes the factor of each trial's learning rates at a step, as ``training.schedule`` and ``warmup_steps`` say.

    It is a linear warm-up times 1, half a cosine, or the power of ``schedule_factor`` that has been reached.

    Args:
        specs: The specs of the K trials.
        train_size: The size of the training set (``TaskData.train_size``); None for tasks without epochs.
        device: The device of the factors.

    Raises:
        ValueError: A schedule counts epochs, and the task has none.
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
        self._log_fall = None
        if any(t.schedule == "step" for t in trainings):
            self._log_fall = real(
                [math.log(t.schedule_factor or SCHEDULE_FACTOR) if t.schedule == "step" else 0.0 for t in trainings]
            )
            falls = [
                _falls_per_steps(spec, train_size) if spec.training.schedule == "step" else (0, 1) for spec in specs
            ]
            self._falls, self._period = whole([count for count, _ in falls]), whole([period for _, period in falls])

    def __call__(self, steps: Tensor) -> Tensor:
        """Return the factors of the next step, float64 of shape (K,), without waiting for the device.

        Args:
            steps: The optimiser steps that each trial has done, shape (K,).
        """
        warmup = self._warmup
        after_warmup = steps.double() if warmup is None else (steps - warmup).clamp(min=0).double()
        cosine = (1 + torch.cos(torch.pi * after_warmup / self._span)) / 2
        factor = torch.where(self._cosine, cosine, torch.ones_like(cosine))
        if self._log_fall is not None:
            # exp instead of pow: pow rounds differently at different places of a vector, so bits would depend on K.
            factor = factor * torch.exp(self._log_fall * (steps * self._falls // self._period))
        if warmup is not None:
            rising = ((steps + 1).double() / warmup.clamp(min=1)).clamp(max=1.0)
            factor = factor * rising
        return factor

    def per_trial(self) -> dict[str, Tensor]:
        """Return every tensor with a number for each trial, by name. Which there are depends on the trials."""
        found = {"cosine": self._cosine, "span": self._span}
        if self._warmup is not None:
            found["warmup"] = self._warmup
        if self._log_fall is not None:
            found |= {"log_fall": self._log_fall, "falls": self._falls, "period": self._period}
        return found

    def constants(self) -> tuple[Tensor, Tensor]:
        """Return the numbers of the formula for every trial, as the kernel ``fused_kernels.prepare`` reads them.

        Returns:
            Float64 of shape (K, 3): 1 for a cosine and 0 for another schedule, the steps of the cosine, and the
            logarithm of a fall. And int64 of shape (K, 3): the steps of the warm-up, and a and b of (a * steps) // b
            falls.
        """
        zero = torch.zeros_like(self._span)
        whole = torch.zeros_like(self._cosine, dtype=torch.int64)
        warmup = whole if self._warmup is None else self._warmup
        if self._log_fall is None:
            return torch.stack([self._cosine.double(), self._span, zero], 1), torch.stack([warmup, whole, whole + 1], 1)
        reals = torch.stack([self._cosine.double(), self._span, self._log_fall], 1)
        return reals, torch.stack([warmup, self._falls, self._period], 1)


def _falls_per_steps(spec: TrialSpec, train_size: int | None) -> tuple[int, int]:
    """Return (a, b) such that the rate has fallen (a * steps) // b times after ``steps`` optimiser steps.

    The ratio is exact, so that a rate falls after whole epochs even if an epoch is not a whole number of steps.

    Raises:
        ValueError: The schedule counts epochs, and ``train_size`` is None.
    """
    training = spec.training
    if training.schedule_unit != "epochs":
        return 1, training.step_interval
    if train_size is None:
        raise ValueError(
            f"training.schedule_unit is epochs, but task {spec.task.name} draws new sequences at every step and so has "
            "no epochs; use schedule_unit steps"
        )
    epochs = training.schedule_every or 1
    if spec.task.carried:
        return 1, epochs * max(1, train_size // training.batch_size // spec.task.sequence_length)
    return training.batch_size, epochs * train_size

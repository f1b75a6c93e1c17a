"""Optimisers for a pack: every trial has its own rates, momenta, decay, clip norm and step count, and none sees
another's gradient. Each computes what torch.optim's of the same name computes for each trial alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from workers.spec.training import TrainingSpec
from workers.spec.trial import TrialSpec
from workers.training.lr_schedules import PackedSchedule, decays, rate

EPS = 1e-8
BETA1, BETA2, ALPHA, MOMENTUM = 0.9, 0.999, 0.99, 0.9


class PackedOptimizer(ABC):
    """parameters: name -> (K, ...). ``steps``, (K,) int64: optimiser steps each trial has done.

    ``state``: what the method carries from step to step, by kind and parameter, shaped as the parameters; zero at the
    start. ``STATE`` lists the kinds. Rates, decay and schedule are those of lr_schedules.py; ``train_size`` is
    what a schedule that counts epochs needs.
    """

    STATE: ClassVar[tuple[str, ...]]
    DECOUPLED: ClassVar[bool] = False

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        specs: Sequence[TrialSpec],
        steps: Sequence[int],
        *,
        train_size: int | None = None,
    ) -> None:
        self._parameters = dict(parameters)
        self._like = like = next(iter(self._parameters.values()))
        trainings = [spec.training for spec in specs]
        self.steps = torch.tensor(list(steps), dtype=torch.int64, device=like.device)
        self.state = {kind: {name: torch.zeros_like(p) for name, p in parameters.items()} for kind in self.STATE}
        self._rates = {name: like.new_tensor([rate(name, s) for s in specs]) for name in parameters}
        self._schedule = PackedSchedule(specs, train_size, like.device)
        self._decayed = {name for name in parameters if decays(name)} if any(t.weight_decay for t in trainings) else ()
        self._decay = self._own(trainings, lambda t: t.weight_decay)
        limits = [t.clip_norm for t in trainings]
        clipped = any(limit is not None for limit in limits)
        self._limit = like.new_tensor([torch.inf if n is None else n for n in limits]) if clipped else None
        self._prepare(trainings)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """One step of every trial; returns the norm of each trial's gradient before clipping, (K,). No host sync."""
        squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
        norm = torch.stack(squares, 1).sum(1).sqrt()
        scale = None if self._limit is None else (self._limit / (norm + 1e-6)).clamp(max=1.0)
        left = self._schedule(self.steps)
        self.steps += 1
        self._begin()
        for name, p in self._parameters.items():
            g = gradients[name] if scale is None else gradients[name] * spread(scale, p)
            step_rate = self._rates[name] * left
            if name in self._decayed:
                if self.DECOUPLED:
                    p.mul_(spread((1 - step_rate * self._decay).to(p.dtype), p))
                else:
                    g = g + p * spread(self._decay, p)
            self._move(name, p, g, step_rate)
        return norm

    @abstractmethod
    def _prepare(self, trainings: Sequence[TrainingSpec]) -> None:
        """Note the method's own numbers of each trial."""

    def _begin(self) -> None:  # noqa: B027  most methods have nothing to prepare
        """Once a step, after ``steps`` has gone up and before the parameters move."""

    @abstractmethod
    def _move(self, name: str, p: Tensor, g: Tensor, rates: Tensor) -> None:
        """Move one parameter, (K, ...), in place; rates (K,) in float64."""

    def _own(self, trainings: Sequence[TrainingSpec], value: Callable[[TrainingSpec], float]) -> Tensor:
        """(K,), one number of each trial."""
        return self._like.new_tensor([value(training) for training in trainings])


class PackedAdam(PackedOptimizer):
    """Adam (Kingma and Ba 2015); weight decay is part of the gradient."""

    STATE = ("exp_avg", "exp_avg_sq")

    def _prepare(self, trainings: Sequence[TrainingSpec]) -> None:
        betas = [(_or(t.beta1, BETA1), _or(t.beta2, BETA2)) for t in trainings]
        self._fresh1, self._fresh2 = (self._like.new_tensor([1 - pair[i] for pair in betas]) for i in (0, 1))
        logs = torch.tensor(betas, dtype=torch.float64).log().to(self._like.device)
        self._log1, self._log2 = logs[:, 0].contiguous(), logs[:, 1].contiguous()

    def _begin(self) -> None:
        # exp and not pow: pow rounds differently at different places of a vector, so a row's bits would depend on K
        steps = self.steps.double()
        self._bias1 = -torch.expm1(steps * self._log1)
        self._root2 = (-torch.expm1(steps * self._log2)).sqrt()

    def _move(self, name: str, p: Tensor, g: Tensor, rates: Tensor) -> None:
        m, v = self.state["exp_avg"][name], self.state["exp_avg_sq"][name]
        m.lerp_(g, spread(self._fresh1, p))
        v.lerp_(g.square(), spread(self._fresh2, p))
        root = v.sqrt().div_(spread(self._root2.to(p.dtype), p)).add_(EPS)
        p.addcdiv_(m * spread((rates / self._bias1).to(p.dtype), p), root, value=-1.0)


class PackedAdamW(PackedAdam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), at each parameter's own rate."""

    DECOUPLED = True


class PackedRMSprop(PackedOptimizer):
    """RMSprop (Hinton 2012), not centred; momentum is that of the scaled gradient, as in torch."""

    STATE = ("square_avg", "momentum_buffer")

    def _prepare(self, trainings: Sequence[TrainingSpec]) -> None:
        self._fresh = self._own(trainings, lambda t: 1 - _or(t.alpha, ALPHA))
        self._momentum = self._own(trainings, lambda t: _or(t.momentum, 0.0))

    def _move(self, name: str, p: Tensor, g: Tensor, rates: Tensor) -> None:
        v, buffer = self.state["square_avg"][name], self.state["momentum_buffer"][name]
        v.lerp_(g.square(), spread(self._fresh, p))
        buffer.mul_(spread(self._momentum, p)).addcdiv_(g, v.sqrt().add_(EPS))
        p.sub_(buffer * spread(rates.to(p.dtype), p))


class PackedSGD(PackedOptimizer):
    """Gradient descent with momentum, as in torch: without dampening, not Nesterov's."""

    STATE = ("momentum_buffer",)

    def _prepare(self, trainings: Sequence[TrainingSpec]) -> None:
        self._momentum = self._own(trainings, lambda t: _or(t.momentum, MOMENTUM))

    def _move(self, name: str, p: Tensor, g: Tensor, rates: Tensor) -> None:
        buffer = self.state["momentum_buffer"][name]
        buffer.mul_(spread(self._momentum, p)).add_(g)
        p.sub_(buffer * spread(rates.to(p.dtype), p))


OPTIMIZERS: dict[str, type[PackedOptimizer]] = {
    "adam": PackedAdam,
    "adamw": PackedAdamW,
    "rmsprop": PackedRMSprop,
    "sgd": PackedSGD,
}


def spread(values: Tensor, tensor: Tensor) -> Tensor:
    """(K,) shaped to multiply (K, ...)."""
    return values.view(-1, *[1] * (tensor.dim() - 1))


def _or(given: float | None, default: float) -> float:
    return default if given is None else given

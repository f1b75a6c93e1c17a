"""Optimisers for a pack of trials.

Every trial has its own learning rates, momenta, decay, clip norm and step count, and is not affected by the gradients
of other trials. Each optimiser computes for every trial what the one of torch.optim with the same name computes with
the same hyperparameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from spectral import ParameterRole, norms_of_trials
from workers.spec.training import TrainingSpec
from workers.spec.trial import TrialSpec
from workers.training.lr_schedules import PackedSchedule, decays, full_rate

EPS = 1e-8
BETA1, BETA2, ALPHA, MOMENTUM = 0.9, 0.999, 0.99, 0.9
"""torch.optim's defaults, but for SGD's momentum, which is 0 there."""


class PackedOptimizer(ABC):
    """The base class of optimisers that update the parameters of K trials together.

    Learning rates, schedules and the choice of parameters that decay are those of lr_schedules.py.

    Attributes:
        steps: The optimiser steps that each trial has done, int64 of shape (K,).
        schedule: The factors of the learning rates.
        limits: The largest norm of each trial's gradient, shape (K,); None if no trial has one.
        state: The tensors that the optimiser keeps from step to step, by kind and parameter, in the parameters' shapes.
            They are zeros at first. Checkpoints store them under these names.

    Args:
        parameters: The stacked parameters by name, each of shape (K, ...). They are changed in place.
        roles: The role of each parameter, which decides its learning rate and whether it decays.
        specs: The specs of the K trials, which have the same optimiser.
        steps: The optimiser steps that each trial has done.
        train_size: The size of the training set (``TaskData.train_size``), for schedules that count epochs.
    """

    STATE: ClassVar[tuple[str, ...]]
    """The kinds of tensors in ``state``."""
    METHOD: ClassVar[str]
    """The formula of an update, as the kernels of fused_kernels.py name it."""
    NUMBERS: ClassVar[tuple[str, ...]]
    """The attributes, beside those of this base class, that have a number for each trial."""
    DECOUPLED: ClassVar[bool] = False
    """Whether weight decay shrinks the parameters directly, and is not added to the gradient."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        roles: Mapping[str, ParameterRole],
        specs: Sequence[TrialSpec],
        steps: Sequence[int],
        *,
        train_size: int | None = None,
    ) -> None:
        self._parameters, self._roles, self._train_size = dict(parameters), roles, train_size
        self._like = like = next(iter(self._parameters.values()))
        trainings = [spec.training for spec in specs]
        self.steps = torch.tensor(list(steps), dtype=torch.int64, device=like.device)
        self.state = {kind: {name: torch.zeros_like(p) for name, p in parameters.items()} for kind in self.STATE}
        self._rates = {name: like.new_tensor([full_rate(roles[name], spec) for spec in specs]) for name in parameters}
        self.schedule = PackedSchedule(specs, train_size, like.device)
        decayed = any(training.weight_decay for training in trainings)
        self._decayed = {name for name in parameters if decayed and decays(roles[name])}
        self._decay = self._per_trial(trainings, lambda t: t.weight_decay)
        limits = [t.clip_norm for t in trainings]
        clipped = any(limit is not None for limit in limits)
        self.limits = like.new_tensor([torch.inf if n is None else n for n in limits]) if clipped else None
        self._prepare(trainings)

    @abstractmethod
    def numbers(self) -> Tensor:
        """Return the two numbers of each trial that the formula of an update needs, shape (K, 2)."""

    def log_betas(self) -> Tensor:
        """Return the logarithms of Adam's betas, float64 of shape (K, 2); those of 0 for other methods."""
        return torch.full((len(self.steps), 2), -torch.inf, dtype=torch.float64, device=self._like.device)

    def rates(self) -> tuple[Tensor, Tensor]:
        """Return the full learning rate, float64, and the weight decay of each parameter and trial, shape (P, K)."""
        none = torch.zeros_like(self._decay)
        decays = [self._decay if name in self._decayed else none for name in self._parameters]
        return torch.stack(list(self._rates.values())).double(), torch.stack(decays)

    def replace(self, specs: Sequence[TrialSpec], steps: Sequence[int]) -> bool:
        """Take over the numbers of other trials in place: rates, schedules, decay, clip norms and step counts.

        The tensors stay those that they are, so that a captured graph goes on with the new numbers. ``state`` is left
        as it is.

        Args:
            specs: The specs of the K trials, in the order of the rows.
            steps: The optimiser steps that each of them has done.

        Returns:
            False if nothing was changed, because these trials need tensors that this optimiser does not have, or do not
            need some that it has: some trials have clip norms, weight decay, warm-up or falling rates, and others have
            not.
        """
        empty = {name: p.detach()[..., :0] for name, p in self._parameters.items()}  # for their trials and devices
        other = type(self)(empty, self._roles, specs, steps, train_size=self._train_size)
        mine, new = self._per_trial_tensors(), other._per_trial_tensors()
        if mine.keys() != new.keys() or self._decayed != other._decayed:
            return False
        for name, tensor in new.items():
            mine[name].copy_(tensor)
        return True

    def _per_trial_tensors(self) -> dict[str, Tensor]:
        """Return every tensor with a number for each trial but ``state``, by name."""
        found = {"steps": self.steps, "decay": self._decay}
        found |= {f"rate of {name}": rates for name, rates in self._rates.items()}
        found |= {f"schedule: {name}": tensor for name, tensor in self.schedule.per_trial().items()}
        found |= {name: getattr(self, name) for name in self.NUMBERS}
        return found if self.limits is None else found | {"limits": self.limits}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """Do one step of every trial, without waiting for the device.

        Args:
            gradients: The gradient of each parameter, by name.

        Returns:
            The norm of each trial's whole gradient before clipping, shape (K,).
        """
        norm = norms_of_trials(list(gradients.values()))
        # As torch's clip_grad_norm_ does it.
        scale = None if self.limits is None else (self.limits / (norm + 1e-6)).clamp(max=1.0)
        factor = self.schedule(self.steps)
        self.steps += 1
        self._begin()
        for name, p in self._parameters.items():
            g = gradients[name] if scale is None else gradients[name] * expand_to(scale, p)
            step_rate = self._rates[name] * factor
            if name in self._decayed:
                if self.DECOUPLED:
                    p.mul_(expand_to((1 - step_rate * self._decay).to(p.dtype), p))
                else:
                    g = g + p * expand_to(self._decay, p)
            self._update(name, p, g, step_rate)
        return norm

    @abstractmethod
    def _prepare(self, trainings: Sequence[TrainingSpec]) -> None:
        """Store the hyperparameters of this method, such as Adam's betas, as tensors with a number for each trial."""

    def _begin(self) -> None:  # noqa: B027  most methods have nothing to prepare
        """Prepare a step. Called after ``steps`` has been increased and before the first parameter is updated."""

    @abstractmethod
    def _update(self, name: str, p: Tensor, g: Tensor, rates: Tensor) -> None:
        """Update a parameter in place.

        Args:
            name: The parameter's name.
            p: The parameter, shape (K, ...).
            g: Its gradient, clipped and with the decay that is not decoupled.
            rates: The learning rates of the trials at this step, float64 of shape (K,).
        """

    def _per_trial(self, trainings: Sequence[TrainingSpec], value: Callable[[TrainingSpec], float]) -> Tensor:
        """Return one number for each trial, shape (K,)."""
        return self._like.new_tensor([value(training) for training in trainings])


class PackedAdam(PackedOptimizer):
    """Adam (Kingma and Ba 2015). Weight decay is added to the gradient."""

    STATE = ("exp_avg", "exp_avg_sq")
    METHOD = "adam"
    NUMBERS = ("_weight1", "_weight2", "_log1", "_log2")

    def _prepare(self, trainings: Sequence[TrainingSpec]) -> None:
        betas = [(_or_default(t.beta1, BETA1), _or_default(t.beta2, BETA2)) for t in trainings]
        self._weight1, self._weight2 = (self._like.new_tensor([1 - pair[i] for pair in betas]) for i in (0, 1))
        logs = torch.tensor(betas, dtype=torch.float64).log().to(self._like.device)
        self._log1, self._log2 = logs[:, 0].contiguous(), logs[:, 1].contiguous()

    def numbers(self) -> Tensor:
        """Return 1 - beta1 and 1 - beta2."""
        return torch.stack([self._weight1, self._weight2], 1)

    def log_betas(self) -> Tensor:
        """Return log beta1 and log beta2."""
        return torch.stack([self._log1, self._log2], 1)

    def _begin(self) -> None:
        # exp instead of pow: pow rounds differently at different places of a vector, so bits would depend on K.
        steps = self.steps.double()
        self._bias1 = -torch.expm1(steps * self._log1)
        self._root2 = (-torch.expm1(steps * self._log2)).sqrt()

    def _update(self, name: str, p: Tensor, g: Tensor, rates: Tensor) -> None:
        m, v = self.state["exp_avg"][name], self.state["exp_avg_sq"][name]
        m.lerp_(g, expand_to(self._weight1, p))
        v.lerp_(g.square(), expand_to(self._weight2, p))
        root = v.sqrt().div_(expand_to(self._root2.to(p.dtype), p)).add_(EPS)
        p.addcdiv_(m * expand_to((rates / self._bias1).to(p.dtype), p), root, value=-1.0)


class PackedAdamW(PackedAdam):
    """AdamW (Loshchilov and Hutter 2019): Adam with decoupled weight decay, which uses the parameter's own rate."""

    DECOUPLED = True


class PackedRMSprop(PackedOptimizer):
    """RMSprop (Hinton 2012), not centred. As in torch, momentum is applied to the scaled gradient."""

    STATE = ("square_avg", "momentum_buffer")
    METHOD = "rmsprop"
    NUMBERS = ("_weight", "_momentum")

    def _prepare(self, trainings: Sequence[TrainingSpec]) -> None:
        self._weight = self._per_trial(trainings, lambda t: 1 - _or_default(t.alpha, ALPHA))
        self._momentum = self._per_trial(trainings, lambda t: _or_default(t.momentum, 0.0))

    def numbers(self) -> Tensor:
        """Return 1 - alpha and the momentum."""
        return torch.stack([self._weight, self._momentum], 1)

    def _update(self, name: str, p: Tensor, g: Tensor, rates: Tensor) -> None:
        v, buffer = self.state["square_avg"][name], self.state["momentum_buffer"][name]
        v.lerp_(g.square(), expand_to(self._weight, p))
        buffer.mul_(expand_to(self._momentum, p)).addcdiv_(g, v.sqrt().add_(EPS))
        p.sub_(buffer * expand_to(rates.to(p.dtype), p))


class PackedSGD(PackedOptimizer):
    """Gradient descent with momentum as in torch: without dampening and without Nesterov's variant."""

    STATE = ("momentum_buffer",)
    METHOD = "sgd"
    NUMBERS = ("_momentum",)

    def _prepare(self, trainings: Sequence[TrainingSpec]) -> None:
        self._momentum = self._per_trial(trainings, lambda t: _or_default(t.momentum, MOMENTUM))

    def numbers(self) -> Tensor:
        """Return the momentum, twice."""
        return torch.stack([self._momentum, self._momentum], 1)

    def _update(self, name: str, p: Tensor, g: Tensor, rates: Tensor) -> None:
        buffer = self.state["momentum_buffer"][name]
        buffer.mul_(expand_to(self._momentum, p)).add_(g)
        p.sub_(buffer * expand_to(rates.to(p.dtype), p))


OPTIMIZERS: dict[str, type[PackedOptimizer]] = {
    "adam": PackedAdam,
    "adamw": PackedAdamW,
    "rmsprop": PackedRMSprop,
    "sgd": PackedSGD,
}
"""The optimisers by their name in a sweep."""


def expand_to(values: Tensor, tensor: Tensor) -> Tensor:
    """Return a tensor of shape (K,) in a shape that broadcasts with ``tensor`` of shape (K, ...)."""
    return values.view(-1, *[1] * (tensor.dim() - 1))


def _or_default(given: float | None, default: float) -> float:
    return default if given is None else given

"""Adam for a pack: every trial has its own rate, decay, clip norm and step count, and none sees another's gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from workers.spec import TrialSpec

BETAS = (0.9, 0.999)
EPS = 1e-8
LARGEST_SINGULAR_RATE = 0.1
"""Steps of a raw singular value beyond this overshoot the sigmoid's slope and freeze it at the band's edge."""


class PackedAdam:
    """Decoupled weight decay (AdamW) on weight matrices; not on biases, reflectors or singular values.

    parameters: name -> (K, ...). ``steps``, (K,) int64: optimiser steps each trial has done. Rates are the trial's
    ``lr``; reflectors move at lr * reflector_lr; raw singular values at lr / margin, since the band map's slope there
    is margin / 2 (at most LARGEST_SINGULAR_RATE, or lr where that is more).
    """

    def __init__(self, parameters: Mapping[str, Tensor], specs: Sequence[TrialSpec], steps: Sequence[int]) -> None:
        self._parameters = dict(parameters)
        like = next(iter(self._parameters.values()))
        self.steps = torch.tensor(list(steps), dtype=torch.int64, device=like.device)
        self.exp_avg = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self.exp_avg_sq = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._rates = {name: like.new_tensor([_rate(name, s) for s in specs]) for name in self._parameters}
        self._decay = {
            name: like.new_tensor([1 - s.training.lr * s.training.weight_decay for s in specs])
            for name in self._parameters
            if "weight" in name and any(s.training.weight_decay for s in specs)
        }
        self._cosine = torch.tensor([s.training.schedule == "cosine" for s in specs], device=like.device)
        self._span = torch.tensor([float(s.training.steps) for s in specs], dtype=torch.float64, device=like.device)
        limits = [s.training.clip_norm for s in specs]
        clipped = any(limit is not None for limit in limits)
        self._limit = like.new_tensor([torch.inf if n is None else n for n in limits]) if clipped else None

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor]) -> Tensor:
        """One step of every trial; returns the norm of each trial's gradient before clipping, (K,). No host sync."""
        squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
        norm = torch.stack(squares, 1).sum(1).sqrt()
        scale = None if self._limit is None else (self._limit / (norm + 1e-6)).clamp(max=1.0)
        falling = self._falling()
        self.steps += 1
        # exp and not pow: pow rounds differently at different places of a vector, so a row's bits would depend on K
        bias1, bias2 = (-torch.expm1(self.steps.double() * math.log(beta)) for beta in BETAS)
        for name, p in self._parameters.items():
            g = gradients[name] if scale is None else gradients[name] * _like(scale, p)
            if name in self._decay:
                p.mul_(_like(self._decay[name], p))
            rate = self._rates[name] * falling / bias1
            m, v = self.exp_avg[name], self.exp_avg_sq[name]
            m.lerp_(g, 1 - BETAS[0])
            v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            root = v.sqrt().div_(_like(bias2.sqrt().to(p.dtype), p)).add_(EPS)
            p.addcdiv_(m * _like(rate.to(p.dtype), p), root, value=-1.0)
        return norm

    def _falling(self) -> Tensor:
        """What is left of each trial's rate before this step, (K,): 1, or from 1 towards 0 as half a cosine."""
        cosine = (1 + torch.cos(torch.pi * self.steps / self._span)) / 2
        return torch.where(self._cosine, cosine, torch.ones_like(cosine))


def _rate(name: str, spec: TrialSpec) -> float:
    lr = spec.training.lr
    if "reflectors" in name:
        return lr * spec.training.reflector_lr
    if "singular" not in name:
        return lr
    return max(lr, min(lr / spec.model.band_margin, LARGEST_SINGULAR_RATE))


def _like(values: Tensor, tensor: Tensor) -> Tensor:
    """(K,) shaped to multiply (K, ...)."""
    return values.view(-1, *[1] * (tensor.dim() - 1))

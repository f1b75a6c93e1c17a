"""All there is to one trial between two steps, alone: what a checkpoint holds and what a pack is made of."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from workers.checkpoints import Best, Checkpoint, CheckpointFolder, MetricsAtStep
from workers.errors import CheckpointInvalid
from workers.models import SequenceModel, start_of
from workers.models.packed_model import Tensors
from workers.spec.trial import TrialSpec
from workers.training.optimizers import OPTIMIZERS

log = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """One trial after ``step`` optimiser steps; tensors unpadded, named as in the network's state_dict.

    optimizer: what its method carries, by kind and parameter (``PackedOptimizer.STATE``). loss_sum: float64 scalar,
    training losses since the last report. best_model: parameters at ``best``. carried: (L, B, S), the state that the
    next batch of a task with ``carried`` goes on from; None for other tasks, and zeros before the first step.
    """

    spec: TrialSpec
    step: int
    model: Tensors
    optimizer: dict[str, Tensors]
    loss_sum: Tensor
    history: list[MetricsAtStep] = field(default_factory=list)
    best: Best | None = None
    best_model: Tensors | None = None
    carried: Tensor | None = None

    @property
    def done(self) -> bool:
        """Whether nothing is left to train: all steps done, or the target reached."""
        return self.step >= self.spec.training.steps or self.reached is not None

    @property
    def early_end(self) -> str | None:
        """Why it is done before its last step; None where it is not."""
        training, reached = self.spec.training, self.reached
        if reached is None or self.step >= training.steps:
            return None
        metric, target = self.spec.objective.metric, training.target
        return f"{metric} {reached:.6g} reached training.target {target:g} at step {self.step} of {training.steps}"

    @property
    def reached(self) -> float | None:
        """The objective that met ``training.target`` at the last report; None where it did not."""
        value = self.history[-1].values.get(self.spec.objective.metric) if self.history else None
        return value if value is not None and self.meets_target(value) else None

    def meets_target(self, value: float) -> bool:
        """Whether an objective is at least as good as ``training.target``; never where there is none."""
        target = self.spec.training.target
        return target is not None and (value == target or self.spec.objective.better(value, target))

    @classmethod
    def start(cls, spec: TrialSpec) -> TrainingState:
        """The trial before its first step, a function of its seed."""
        model = {name: p.detach() for name, p in start_of(spec).named_parameters()}
        kinds = OPTIMIZERS[spec.training.optimizer].STATE
        optimizer = {kind: {name: torch.zeros_like(p) for name, p in model.items()} for kind in kinds}
        return cls(spec, 0, model, optimizer, torch.zeros((), dtype=torch.float64))

    @classmethod
    def resume(cls, store: CheckpointFolder, spec: TrialSpec) -> TrainingState:
        """The trial at its newest whole checkpoint, or at its start. Raises CheckpointInvalid for another trial's."""
        found = store.newest()
        if found is None:
            return cls.start(spec)
        state = cls._from(found, spec)
        if state.best is not None:
            try:
                state.best_model = found.model if state.best.step == state.step else store.best(state.best).model
            except CheckpointInvalid as error:
                log.warning("the best checkpoint is lost, the next best counts: %s", error)
                state.best = None
        return state

    @classmethod
    def _from(cls, found: Checkpoint, spec: TrialSpec) -> TrainingState:
        manifest, tensors = found.manifest, found.optimizer
        kinds = OPTIMIZERS[spec.training.optimizer].STATE
        return cls(
            spec=spec,
            step=manifest.step,
            model=found.model,
            optimizer={kind: {name: tensors[f"{kind}.{name}"] for name in found.model} for kind in kinds},
            loss_sum=tensors["loss_sum"],
            history=list(manifest.history),
            best=manifest.best,
            carried=tensors.get("carried"),
        )

    def save(self, store: CheckpointFolder) -> Path:
        """Write this as a checkpoint. Raises OSError."""
        optimizer = {"loss_sum": self.loss_sum}
        optimizer |= {f"{kind}.{name}": t for kind, own in self.optimizer.items() for name, t in own.items()}
        optimizer |= {} if self.carried is None else {"carried": self.carried}
        return store.write(self.step, self.model, optimizer, self.history, self.best)

    def network(self) -> SequenceModel:
        """The module with these parameters, for packing."""
        model = start_of(self.spec)
        model.load_state_dict(self.model)
        return model

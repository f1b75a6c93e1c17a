"""The complete state of one trial between two optimiser steps: what a checkpoint stores and a pack is made from."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from workers.checkpoints import Best, Checkpoint, CheckpointFolder, MetricsAtStep
from workers.errors import CheckpointInvalid
from workers.models import SequenceModel, initial_network
from workers.models.packed_model import Tensors
from workers.spec.trial import TrialSpec
from workers.training.optimizers import OPTIMIZERS

log = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """One trial after some optimiser steps. Its tensors have no padding.

    Attributes:
        spec: The trial's spec.
        step: Optimiser steps done.
        model: The parameters, named as in the network's state_dict.
        optimizer: The optimiser's state, by kind (``PackedOptimizer.STATE``) and parameter.
        loss_sum: The sum of the training losses since the last report, a float64 scalar.
        history: All reports so far, in the order of their steps.
        best: The step and the objective of the best checkpoint so far; None before the first.
        best_model: The parameters at ``best``; None if that is None.
        carried: The hidden state, shape (L, B, S), from which the next batch goes on; only of tasks that carry it, and
            None before the first step.
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
        """Whether training is complete: all steps are done, or the target is reached."""
        return self.step >= self.spec.training.steps or self.reached is not None

    @property
    def early_end(self) -> str | None:
        """In words, that the target was reached before the last step; None if it was not reached before it."""
        training, reached = self.spec.training, self.reached
        if reached is None or self.step >= training.steps:
            return None
        metric, target = self.spec.objective.metric, training.target
        return f"{metric} {reached:.6g} reached training.target {target:g} at step {self.step} of {training.steps}"

    @property
    def reached(self) -> float | None:
        """The objective of the last report if it meets ``training.target``, else None."""
        value = self.history[-1].values.get(self.spec.objective.metric) if self.history else None
        return value if value is not None and self.meets_target(value) else None

    def meets_target(self, value: float) -> bool:
        """Return whether an objective is at least as good as ``training.target``; false if the trial has no target."""
        target = self.spec.training.target
        return target is not None and (value == target or self.spec.objective.better(value, target))

    @classmethod
    def start(cls, spec: TrialSpec) -> TrainingState:
        """Return the state before the first step, which follows from the spec and its seed alone."""
        model = {name: p.detach() for name, p in initial_network(spec).named_parameters()}
        kinds = OPTIMIZERS[spec.training.optimizer].STATE
        optimizer = {kind: {name: torch.zeros_like(p) for name, p in model.items()} for kind in kinds}
        return cls(spec, 0, model, optimizer, torch.zeros((), dtype=torch.float64))

    @classmethod
    def resume(cls, store: CheckpointFolder, spec: TrialSpec) -> TrainingState:
        """Return the state at the newest complete checkpoint, or before the first step if there is none.

        If the best checkpoint cannot be read, that is logged, and ``best`` is None.

        Raises:
            CheckpointInvalid: The newest complete checkpoint belongs to another trial, or its vocabulary has another
                size than that of the task in this release.
            OSError: The folder cannot be read.
        """
        found = store.newest()
        if found is None:
            return cls.start(spec)
        table = found.model.get("embedding.weight")
        if table is not None and len(table) != spec.task.tokens:
            raise CheckpointInvalid(
                f"{found.path} was written by another release, whose vocabulary of task {spec.task.name} had "
                f"{len(table):,} tokens; it has {spec.task.tokens:,} now, so the trial cannot be continued. Submit its "
                "sweep anew; workers.models.load still reads the network"
            )
        state = cls._from_checkpoint(found, spec)
        if state.best is not None:
            try:
                state.best_model = found.model if state.best.step == state.step else store.best(state.best).model
            except CheckpointInvalid as error:
                log.warning("the best checkpoint is lost; the best of the later ones replaces it: %s", error)
                state.best = None
        return state

    @classmethod
    def _from_checkpoint(cls, found: Checkpoint, spec: TrialSpec) -> TrainingState:
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
        """Write the state as a checkpoint and return its folder. Raises OSError."""
        optimizer = {"loss_sum": self.loss_sum}
        optimizer |= {f"{kind}.{name}": t for kind, own in self.optimizer.items() for name, t in own.items()}
        optimizer |= {} if self.carried is None else {"carried": self.carried}
        return store.write(self.step, self.model, optimizer, self.history, self.best)

    def copy(self) -> TrainingState:
        """Return a state that stays as this one is now while this trial is trained on.

        Its tensors are the same ones: a training pack replaces those of a state, and never changes them.
        """
        return replace(self, history=list(self.history))

    def network(self) -> SequenceModel:
        """Return a network with the parameters of this state."""
        model = initial_network(self.spec)
        model.load_state_dict(self.model)
        return model

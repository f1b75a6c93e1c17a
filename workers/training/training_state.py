"""The complete state of one trial between two optimiser steps: what a checkpoint stores and a pack is made from."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from workers.checkpoint_files import MODEL, OPTIMIZER, Best, MetricsAtStep
from workers.checkpoints import Checkpoint, CheckpointFolder
from workers.errors import CheckpointForeign, CheckpointInvalid
from workers.models import SequenceModel, initial_network
from workers.models.pack_factory import pack
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
        """Return the state at the newest usable checkpoint, or before the first step if there is none.

        Checkpoints that cannot be used are skipped with a warning in the log. If the best checkpoint cannot be read,
        that is logged, and ``best`` is None.

        Raises:
            CheckpointForeign: All whole checkpoints belong to another trial, or have a vocabulary of another size than
                that of the task in this release.
            OSError: The folder cannot be read.
        """
        start = cls.start(spec)
        foreign: CheckpointForeign | None = None
        for found in store.newest_first():
            try:
                start._check(found)
            except CheckpointInvalid as error:
                log.warning("skipping a checkpoint: %s", error)
                foreign = foreign or (error if isinstance(error, CheckpointForeign) else None)
                continue
            state = cls._from_checkpoint(found, spec)
            if state.best is not None:
                state._read_best(store, start.model)
            return state
        if foreign:
            raise foreign
        return start

    def _check(self, found: Checkpoint) -> None:
        """Raise CheckpointInvalid if a checkpoint lacks a tensor, or has one of another shape, dtype or name.

        This is the state before the first step, which has all tensors but ``carried``.
        """
        table, tokens = found.model.get("embedding.weight"), self.spec.task.tokens
        if table is not None and table.ndim == 2 and tokens is not None and len(table) != tokens:
            raise CheckpointForeign(
                f"{found.path} was written by another release, whose vocabulary of task {self.spec.task.name} had "
                f"{len(table):,} tokens; it has {tokens:,} now, so the trial cannot be continued. Submit its "
                "sweep anew; workers.models.load still reads the network"
            )
        _check_tensors(found, MODEL, found.model, self.model)
        wanted = self._stored()
        if self.spec.task.carried and found.manifest.step > 0:
            zeros = pack([initial_network(self.spec)]).zeros(self.spec.training.batch_size)
            wanted["carried"] = zeros[0]
        _check_tensors(found, OPTIMIZER, found.optimizer, wanted)

    def _read_best(self, store: CheckpointFolder, like: Tensors) -> None:
        """Read the parameters at ``best``; if that fails, log it and forget ``best``."""
        assert self.best is not None
        if self.best.step == self.step:
            self.best_model = self.model
            return
        try:
            found = store.best(self.best)
            _check_tensors(found, MODEL, found.model, like)
            self.best_model = found.model
        except CheckpointInvalid as error:
            log.warning("the best checkpoint is lost; the best of the later ones replaces it: %s", error)
            self.best = None

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
        return store.write(self.step, self.model, self._stored(), self.history, self.best)

    def _stored(self) -> Tensors:
        """Return the tensors of ``optimizer.safetensors``, by name."""
        tensors = {"loss_sum": self.loss_sum}
        tensors |= {f"{kind}.{name}": t for kind, own in self.optimizer.items() for name, t in own.items()}
        return tensors if self.carried is None else tensors | {"carried": self.carried}

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


def _check_tensors(found: Checkpoint, file: str, tensors: Tensors, wanted: Tensors) -> None:
    """Raise CheckpointInvalid if tensors of a checkpoint's file do not have the names, shapes and dtypes of others."""
    path = found.path / file
    if tensors.keys() != wanted.keys():
        lacking = sorted(wanted.keys() - tensors.keys())
        problem = f"lacks {lacking[0]}" if lacking else f"has {min(tensors.keys() - wanted.keys())} besides"
        raise CheckpointInvalid(f"{path} does not have the tensors of its trial: it {problem}")
    for name, tensor in tensors.items():
        like = wanted[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            raise CheckpointInvalid(
                f"{path} has {name} with shape {tuple(tensor.shape)} and {tensor.dtype}; its trial has "
                f"{tuple(like.shape)} and {like.dtype}"
            )

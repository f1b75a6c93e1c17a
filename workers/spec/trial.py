"""One trial, fully specified: what a worker needs to train it."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from workers.spec import ranking
from workers.spec.base_spec import SpecPart, invalid_field
from workers.spec.model import FEED_FORWARD, KINDS, ModelSpec
from workers.spec.ranking import Direction
from workers.spec.search_space import Scalar
from workers.spec.training import RECOMPUTING_KINDS, TrainingSpec
from workers.tasks import AnyTask


class Objective(SpecPart):
    """The metric by which trials are compared, and whether it is minimised or maximised; both are always set."""

    metric: str = Field(description="name of the metric, such as val/accuracy")
    direction: Direction = Field(description="which values are better")

    def merit(self, value: float | None) -> float:
        """Return how good a value is: the greater the better, -inf if it is NaN, infinite or None."""
        return ranking.merit(value, self.direction)

    def better(self, a: float | None, b: float | None) -> bool:
        """Return whether the value ``a`` is better than ``b`` by the order of ``ranking``; false if they are equal."""
        return self.merit(a) > self.merit(b)


class TrialSpec(SpecPart):
    """One trial: its point in the search space, and the task, model and training that follow from it."""

    number: int = Field(ge=0, description="position in the sweep, from 0")
    params: dict[str, Scalar] = Field(description="the trial's point in the search space")
    task: AnyTask
    model: ModelSpec
    training: TrainingSpec
    objective: Objective

    @model_validator(mode="after")
    def _check_model_suits_task(self) -> Self:
        model, task = self.model, self.task
        if not model.recurrent and (task.readout == "every" or task.carried):
            problem = f"kind {model.kind} has one output per sequence; task {task.name} needs one at every step"
            raise invalid_field("model.kind", problem, f"one of {', '.join(sorted(KINDS - FEED_FORWARD))}")
        if model.embedding_size is not None and task.tokens is None:
            problem = f"embedding_size is for tokens; the inputs of task {task.name} are numbers"
            raise invalid_field("model.embedding_size", problem, "leave it out")
        return self

    @model_validator(mode="after")
    def _check_training_suits_model_and_task(self) -> Self:
        """Refuse ``recompute_every`` for a kind that cannot recompute, and epochs for a task that draws its data."""
        model, training, task = self.model, self.training, self.task
        if training.recompute_every is not None and model.kind not in RECOMPUTING_KINDS:
            problem = f"kind {model.kind} keeps every state and cannot compute them again"
            allowed = f"leave it out; it is for kind {' or '.join(sorted(RECOMPUTING_KINDS))}"
            raise invalid_field("training.recompute_every", problem, allowed)
        if training.schedule_unit == "epochs" and task.draws_fresh:
            problem = f"task {task.name} draws fresh sequences at every step and has no epochs"
            raise invalid_field("training.schedule_unit", problem, "steps")
        return self

    @property
    def depth(self) -> int:
        """Number of transitions that a gradient passes: the steps T for a recurrent kind, ``layers`` for any other."""
        return self.task.sequence_length if self.model.recurrent else self.model.layers

    @property
    def band_is_one_number(self) -> bool:
        """Whether sigma - margin, sigma and sigma + margin are the same number in the format of the parameters."""
        number = np.float64 if self.training.parameter_dtype == "float64" else np.float32
        centre, margin = number(self.model.band_centre), number(self.model.band_margin)
        return bool(centre - margin == centre == centre + margin)

    @property
    def step_bytes(self) -> int:
        """Bytes of the states and outputs that one optimiser step keeps for its backward pass."""
        training, model = self.training, self.model
        width = 8 if training.dtype == "float64" else 4
        every, length = training.recompute_every, self.depth
        kept = length if every is None else min(length, -(-length // every) + every)
        outputs = self.task.output_size * (length if self.task.readout == "every" else 1)
        states = kept * model.hidden_size * (model.layers if model.recurrent else 1)
        return training.batch_size * (states + outputs) * width

    @property
    def shape_key(self) -> str:
        """The key that trials must share to be trained in one pack.

        It is made of the task, of the network's kind, sizes and activation, and of steps, intervals of reports and
        checkpoints, batch size, optimiser, dtype and ``recompute_every``. Everything else may differ within a pack,
        such as reflector counts, margins, learning rates and seeds.
        """
        model, training = self.model, self.training
        network = (model.kind, model.hidden_size, model.layers, model.nonlinearity, model.embedding_size)
        length = (training.steps, training.report_interval, training.checkpoint_interval)
        cost = (training.batch_size, training.optimizer, training.dtype, training.recompute_every)
        return repr((self.task, *network, *length, *cost))

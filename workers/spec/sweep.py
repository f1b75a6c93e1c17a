"""What a user can ask for: a sweep, its search space and the trials it stands for (pydantic only, no torch).

``parse_sweep`` is the one door: it turns a JSON document into a ``SweepSpec`` whose every trial is valid, or raises
``SpecError`` naming each wrong field, what was given and what is allowed.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, FiniteFloat, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from workers.spec.base_spec import SpecPart, wrong
from workers.spec.model import FEED_FORWARD, KINDS, ModelSpec
from workers.spec.search_space import MAX_TRIALS, Dimension, Scalar
from workers.tasks import AnyTask

MAX_SEED = 2**31 - 1


RECOMPUTING = frozenset({"spectral_rnn", "ornn"})
"""Kinds of model that ``training.recompute_every`` acts on; others keep every state."""


class TrainingSpec(SpecPart):
    """How one trial is trained.

    Fields that its optimiser or schedule does not have must be left out, and are dropped where that is swept.
    """

    APPLIES: ClassVar[dict[str, tuple[str, frozenset[str]]]] = {
        "beta1": ("optimizer", frozenset({"adam", "adamw"})),
        "beta2": ("optimizer", frozenset({"adam", "adamw"})),
        "alpha": ("optimizer", frozenset({"rmsprop"})),
        "momentum": ("optimizer", frozenset({"rmsprop", "sgd"})),
        "schedule_factor": ("schedule", frozenset({"step"})),
        "schedule_every": ("schedule", frozenset({"step"})),
        "schedule_unit": ("schedule", frozenset({"step"})),
    }

    steps: int = Field(default=600, ge=1, le=10_000_000, description="optimiser steps")
    batch_size: int = Field(default=64, ge=1, le=65_536, description="sequences of a step")
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    lr: FiniteFloat = Field(default=1e-3, gt=0, le=10, description="learning rate")
    beta1: FiniteFloat | None = Field(default=None, ge=0, lt=1, description="adam, adamw; default 0.9")
    beta2: FiniteFloat | None = Field(default=None, ge=0, lt=1, description="adam, adamw; default 0.999")
    alpha: FiniteFloat | None = Field(
        default=None, ge=0, lt=1, description="rmsprop: how slowly its squared gradients fade; default 0.99"
    )
    momentum: FiniteFloat | None = Field(
        default=None, ge=0, lt=1, description="sgd, rmsprop; default: 0.9 for sgd, 0 for rmsprop"
    )
    schedule: Literal["constant", "cosine", "step"] = Field(
        default="constant", description="of lr; cosine: falls to 0; step: times schedule_factor at every schedule_every"
    )
    schedule_factor: FiniteFloat | None = Field(default=None, gt=0, le=1, description="step; default 0.1")
    schedule_every: int | None = Field(
        default=None, ge=1, description="step: how many schedule_units; default: steps / 3, or 1 epoch"
    )
    schedule_unit: Literal["steps", "epochs"] | None = Field(
        default=None, description="step; default: steps; an epoch is a pass over the training set"
    )
    warmup_steps: int = Field(default=0, ge=0, description="lr rises evenly to its full value over these first steps")
    reflector_lr: FiniteFloat = Field(
        default=1.0, gt=0, le=100, description="rate of the reflectors, as a multiple of lr"
    )
    singular_lr: FiniteFloat | None = Field(
        default=None, gt=0, le=1e6, description="rate of the raw singular values, as a multiple of lr; "
        "default: 1 / margin, where that stays below a rate of 0.1",
    )  # fmt: skip
    weight_decay: FiniteFloat = Field(
        default=0.0, ge=0, le=1, description="of weight matrices; adamw: decoupled; others: in the gradient"
    )
    clip_norm: FiniteFloat | None = Field(default=1.0, gt=0, description="limit of the gradient norm; null: off")
    target: FiniteFloat | None = Field(
        default=None, description="a trial succeeds at the first report whose objective is at least as good"
    )
    dtype: Literal["float32", "float64", "bfloat16"] = Field(
        default="float32", description="bfloat16: mixed precision over float32 parameters, on a GPU"
    )
    recompute_every: int | None = Field(
        default=None, ge=1, description="spectral_rnn, ornn: keep one state in this many for the backward pass and "
        "compute the others again; null: keep all",
    )  # fmt: skip
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="start and data order; sweep it for repeats")
    report_every: int | None = Field(default=None, ge=1, description="steps between reports; default: steps / 20")
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints; default: every report"
    )
    diagnose_every: int | None = Field(
        default=None, ge=1, description="steps between looks at gradients over time and at the spectrum, taken at "
        "reports; default: 100, or 250 for small nets, which costs under 2 %",
    )  # fmt: skip

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, (chooser, kinds) in self.APPLIES.items():
            chosen = getattr(self, chooser)
            if getattr(self, name) is not None and chosen not in kinds:
                allowed = f"leave it out; it is for {chooser} {' or '.join(sorted(kinds))}"
                raise wrong(name, f"{name} does not apply to {chooser} {chosen}", allowed)
        if self.warmup_steps >= self.steps:
            problem = f"{self.warmup_steps} warm-up steps leave none of {self.steps} steps at the full rate"
            raise wrong("warmup_steps", problem, f"0 to {self.steps - 1}, below steps")
        return self

    @property
    def parameter_dtype(self) -> Literal["float32", "float64"]:
        """Of the parameters, inputs and outputs: mixed precision keeps them in float32."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def report_interval(self) -> int:
        return self.report_every or max(1, self.steps // 20)

    @property
    def checkpoint_interval(self) -> int:
        """A multiple of the report interval: a checkpoint holds whole reports."""
        every = self.checkpoint_every or self.report_interval
        return -(-every // self.report_interval) * self.report_interval


class SearchSpec(SpecPart):
    sampler: Literal["grid", "random"] = "grid"
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    trials: int | None = Field(
        default=None, ge=1, le=MAX_TRIALS, description="how many; required for random, not for grid"
    )

    @model_validator(mode="after")
    def _trials_fit(self) -> Self:
        if self.sampler == "random" and self.trials is None:
            raise wrong("trials", "sampler random needs a number of trials", f"1 to {MAX_TRIALS:,}")
        if self.sampler == "grid" and self.trials is not None:
            raise wrong(
                "trials", "sampler grid runs every point of the space", "leave trials out, or use sampler random"
            )
        return self


class EarlyStoppingSpec(SpecPart):
    """When a trial that does worse than its peers is ended early."""

    kind: Literal["none", "asha", "median"] = "none"
    reduction: int = Field(default=3, ge=2, le=100, description="asha: one in this many goes on at each rung")
    min_steps: int | None = Field(
        default=None, ge=1, description="no trial is pruned before; default: an eighth of its steps"
    )


class ObjectiveSpec(SpecPart):
    """What is compared between trials. Metrics are named ``val/<metric>``; the task says which it has."""

    metric: str | None = Field(default=None, max_length=80, description="default: val/accuracy, else val/loss")
    direction: Literal["minimize", "maximize"] | None = Field(default=None, description="default: the metric's own")


def _pack_size(value: Any) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 256:
        return value
    raise PydanticCustomError("pack_size", "is not a pack size", {"expected": '"auto" or a whole number from 1 to 256'})


PackSize = Annotated[
    int | Literal["auto"],
    PlainValidator(_pack_size),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 256}]}),
]


class ResourcesSpec(SpecPart):
    """Per pack: a pack is the trials that one worker trains together."""

    gpus: FiniteFloat = Field(default=0.0, ge=0, le=64)
    cpus: FiniteFloat = Field(default=1.0, gt=0, le=1024)
    pack_size: PackSize = "auto"


class RetriesSpec(SpecPart):
    """Further attempts a trial gets, by the cause of the last one's end."""

    user: int = Field(default=0, ge=0, le=100, description="the trial itself failed: bad data, an error in training")
    infrastructure: int = Field(default=3, ge=0, le=1000, description="its process or node was lost")


def _printable(name: str) -> str:
    if not name.isprintable():
        raise PydanticCustomError("printable", "holds characters that cannot be shown", {"expected": "printable text"})
    return name


class SweepSpec(SpecPart):
    name: Annotated[str, AfterValidator(_printable)] = Field(default="sweep", min_length=1, max_length=120)
    task: AnyTask
    model: ModelSpec = ModelSpec()
    training: TrainingSpec = TrainingSpec()
    space: dict[str, Dimension] = Field(min_length=1, max_length=32)
    search: SearchSpec = SearchSpec()
    early_stopping: EarlyStoppingSpec = EarlyStoppingSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    resources: ResourcesSpec = ResourcesSpec()
    retries: RetriesSpec = RetriesSpec()


class Objective(SpecPart):
    """A resolved objective: no defaults left open."""

    metric: str
    direction: Literal["minimize", "maximize"]

    def better(self, a: float, b: float) -> bool:
        return a > b if self.direction == "maximize" else a < b


class TrialSpec(SpecPart):
    """One trial, resolved: ``params`` are its coordinates in the space, the rest is all that trains it."""

    number: int = Field(ge=0)
    params: dict[str, Scalar]
    task: AnyTask
    model: ModelSpec
    training: TrainingSpec
    objective: Objective

    @model_validator(mode="after")
    def _model_fits_task(self) -> Self:
        model, task = self.model, self.task
        if not model.recurrent and (task.readout == "every" or task.carried):
            problem = f"kind {model.kind} reads a whole sequence once; task {task.name} reads every step"
            raise wrong("model.kind", problem, f"one of {', '.join(sorted(KINDS - FEED_FORWARD))}")
        if model.embedding_size is not None and task.tokens is None:
            problem = f"embedding_size is for tokens; the inputs of task {task.name} are numbers"
            raise wrong("model.embedding_size", problem, "leave it out")
        return self

    @model_validator(mode="after")
    def _training_fits(self) -> Self:
        """What the trainer could not do or would pass over: states kept by another kind, epochs of endless data."""
        model, training, task = self.model, self.training, self.task
        if training.recompute_every is not None and model.kind not in RECOMPUTING:
            problem = f"kind {model.kind} keeps every state and cannot compute them again"
            allowed = f"leave it out; it is for kind {' or '.join(sorted(RECOMPUTING))}"
            raise wrong("training.recompute_every", problem, allowed)
        if training.schedule_unit == "epochs" and task.draws_fresh:
            problem = f"task {task.name} draws fresh sequences at every step and has no epochs"
            raise wrong("training.schedule_unit", problem, "steps")
        return self

    @property
    def depth(self) -> int:
        """Transitions between the first state and the last: T, or the layers of a net that reads a sequence at once."""
        return self.task.sequence_length if self.model.recurrent else self.model.layers

    @property
    def step_bytes(self) -> int:
        """Bytes of the states and outputs that one optimiser step keeps for its backward."""
        training, model = self.training, self.model
        width = 8 if training.dtype == "float64" else 4
        every, length = training.recompute_every, self.depth
        kept = length if every is None else min(length, -(-length // every) + every)
        outputs = self.task.output_size * (length if self.task.readout == "every" else 1)
        states = kept * model.hidden_size * (model.layers if model.recurrent else 1)
        return training.batch_size * (states + outputs) * width

    @property
    def shape_key(self) -> str:
        """Trials with equal keys may share a pack (reflector counts, margins, rates and seeds may differ)."""
        model, training = self.model, self.training
        return repr((
            self.task, model.kind, model.hidden_size, model.layers, model.nonlinearity, model.embedding_size,
            training.steps, training.batch_size, training.optimizer, training.dtype, training.recompute_every,
            training.report_interval, training.checkpoint_interval,
        ))  # fmt: skip

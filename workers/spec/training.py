"""How one trial is trained: optimiser, learning rates, schedule, precision and reports."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from workers.spec.base_spec import SpecPart, invalid_field

MAX_SEED = 2**31 - 1
MAX_STEPS = 10_000_000
"""The most optimiser steps of a trial."""

RECOMPUTING_KINDS = frozenset({"spectral_rnn", "ornn"})
"""Kinds of model that can recompute states in the backward pass (``training.recompute_every``); others keep all."""


class TrainingSpec(SpecPart):
    """How one trial is trained.

    A field that the chosen optimiser or schedule does not have must be left out or null. If the optimiser or schedule
    is swept, a trial ignores the fields that its own choice does not have.
    """

    ONLY_FOR: ClassVar[dict[str, tuple[str, frozenset[str]]]] = {
        "beta1": ("optimizer", frozenset({"adam", "adamw"})),
        "beta2": ("optimizer", frozenset({"adam", "adamw"})),
        "alpha": ("optimizer", frozenset({"rmsprop"})),
        "momentum": ("optimizer", frozenset({"rmsprop", "sgd"})),
        "schedule_factor": ("schedule", frozenset({"step"})),
        "schedule_every": ("schedule", frozenset({"step"})),
        "schedule_unit": ("schedule", frozenset({"step"})),
    }
    """Fields that apply to some choices of another field alone: field -> (the other field, its choices)."""

    steps: int = Field(default=600, ge=1, le=MAX_STEPS, description="number of optimiser steps")
    batch_size: int = Field(default=64, ge=1, le=65_536, description="sequences per step")
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field(
        default="adam", description="the optimiser, as torch.optim implements it"
    )
    lr: FiniteFloat = Field(default=1e-3, gt=0, le=10, description="learning rate")
    beta1: FiniteFloat | None = Field(
        default=None, ge=0, lt=1, description="adam, adamw: decay of the running mean of gradients; default 0.9"
    )
    beta2: FiniteFloat | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="adam, adamw: decay of the running mean of squared gradients; default 0.999",
    )
    alpha: FiniteFloat | None = Field(
        default=None, ge=0, lt=1, description="rmsprop: decay of the running mean of squared gradients; default 0.99"
    )
    momentum: FiniteFloat | None = Field(
        default=None, ge=0, lt=1, description="sgd, rmsprop: momentum; default 0.9 for sgd, 0 for rmsprop"
    )
    schedule: Literal["constant", "cosine", "step"] = Field(
        default="constant",
        description="how lr changes: constant; cosine: falls to 0 along half a cosine; "
        "step: is multiplied by schedule_factor after every schedule_every",
    )
    schedule_factor: FiniteFloat | None = Field(
        default=None, gt=0, le=1, description="schedule step: the factor; default 0.1"
    )
    schedule_every: int | None = Field(
        default=None,
        ge=1,
        description="schedule step: interval between reductions, in schedule_unit; default: steps / 3, or 1 epoch",
    )
    schedule_unit: Literal["steps", "epochs"] | None = Field(
        default=None,
        description="schedule step: unit of schedule_every; an epoch is a pass over the training set; default: steps",
    )
    warmup_steps: int = Field(
        default=0, ge=0, description="number of first steps over which lr rises linearly to its full value"
    )
    reflector_lr: FiniteFloat = Field(
        default=1.0, gt=0, le=100, description="learning rate of the reflectors, as a multiple of lr"
    )
    singular_lr: FiniteFloat | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="learning rate of the raw singular values, as a multiple of lr; "
        "default: 1 / margin, limited so that the rate itself does not exceed 0.1, or lr if that is greater",
    )
    weight_decay: FiniteFloat = Field(
        default=0.0,
        ge=0,
        le=1,
        description="weight decay of weight matrices; decoupled for adamw, added to the gradient for the others",
    )
    clip_norm: FiniteFloat | None = Field(
        default=1.0, gt=0, description="largest norm of a trial's gradient; a longer one is scaled down; null: no limit"
    )
    target: FiniteFloat | None = Field(
        default=None, description="stop a trial as succeeded at the first report whose objective is at least this good"
    )
    dtype: Literal["float32", "float64", "bfloat16"] = Field(
        default="float32",
        description="number format; bfloat16: mixed precision with float32 parameters, which needs a GPU",
    )
    recompute_every: int | None = Field(
        default=None,
        ge=1,
        description="spectral_rnn, ornn: save memory on long sequences by keeping one state in this many for the "
        "backward pass and recomputing the others; null: keep all states",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=MAX_SEED,
        description="seed of the initial parameters and of the data order; sweep it to repeat a trial",
    )
    report_every: int | None = Field(
        default=None, ge=1, description="steps between two reports of metrics; default: steps / 20"
    )
    checkpoint_every: int | None = Field(
        default=None,
        ge=1,
        description="steps between two checkpoints, rounded up to whole reports; default: every report",
    )
    diagnose_every: int | None = Field(
        default=None,
        ge=1,
        description="steps between two diagnoses of gradients over time and of singular values, made at reports; "
        "default: 100, or 250 if a step has few states, which costs under 2 % of the training time",
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        for name, (chooser, choices) in self.ONLY_FOR.items():
            chosen = getattr(self, chooser)
            if getattr(self, name) is not None and chosen not in choices:
                allowed = f"leave it out; it is for {chooser} {' or '.join(sorted(choices))}"
                raise invalid_field(name, f"{name} does not apply to {chooser} {chosen}", allowed)
        if self.warmup_steps >= self.steps:
            problem = f"{self.warmup_steps} warm-up steps leave none of {self.steps} steps at the full rate"
            raise invalid_field("warmup_steps", problem, f"0 to {self.steps - 1}, below steps")
        return self

    @property
    def parameter_dtype(self) -> Literal["float32", "float64"]:
        """Number format of parameters, inputs and outputs; mixed precision keeps them in float32."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def step_interval(self) -> int:
        """Steps between two reductions of the schedule ``step`` in steps: ``schedule_every``, or steps / 3."""
        return self.schedule_every or max(1, self.steps // 3)

    @property
    def report_interval(self) -> int:
        """Steps between two reports: ``report_every``, or by default steps // 20 and at least 1."""
        return self.report_every or max(1, self.steps // 20)

    @property
    def checkpoint_interval(self) -> int:
        """Steps between two checkpoints: ``checkpoint_every`` rounded up to a multiple of ``report_interval``.

        By default it is ``report_interval`` itself.
        """
        every = self.checkpoint_every or self.report_interval
        return -(-every // self.report_interval) * self.report_interval

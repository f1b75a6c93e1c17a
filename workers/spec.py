"""What a user can ask for: a sweep, its search space and the trials it stands for (pydantic only, no torch).

``parse_sweep`` is the one door: it turns a JSON document into a ``SweepSpec`` whose every trial is valid, or raises
``SpecError`` naming each wrong field, what was given and what is allowed.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from workers.tasks import AnyTask

MAX_TRIALS = 10_000
MAX_SEED = 2**31 - 1


def _wrong(name: str, problem: str, allowed: str) -> PydanticCustomError:
    """The field ``name`` of the part at hand is wrong; braces in the texts stand for themselves."""
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "name": name, "expected": allowed})


def _is_finite(value: int | float) -> bool:
    """Also false for a whole number beyond what a float holds."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _scalar(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | str) or (isinstance(value, int | float) and _is_finite(value)):
        return value
    allowed = "a finite number, text, true or false"
    raise PydanticCustomError("scalar", "is not a finite number, text or true/false", {"expected": allowed})


def _number(value: Any) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
        return value
    raise PydanticCustomError("number", "is not a number that a range can end at", {"expected": "a finite number"})


Scalar = Annotated[
    bool | int | float | str, PlainValidator(_scalar), WithJsonSchema({"type": ["boolean", "number", "string"]})
]
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSpec(_Spec):
    """The network. Fields that a kind does not have must be left out (``APPLIES`` says which it has)."""

    APPLIES: ClassVar[dict[str, frozenset[str]]] = {
        "activation": frozenset({"spectral_rnn", "rnn"}),
        "reflectors": frozenset({"spectral_rnn"}),
        "reflectors_u": frozenset({"spectral_rnn"}),
        "reflectors_v": frozenset({"spectral_rnn"}),
        "margin": frozenset({"spectral_rnn"}),
        "sigma": frozenset({"spectral_rnn"}),
        "start": frozenset({"spectral_rnn"}),
    }

    kind: Literal["spectral_rnn", "rnn", "lstm"] = "spectral_rnn"
    hidden_size: int = Field(default=64, ge=1, le=4096)
    layers: int = Field(default=1, ge=1, le=16)
    activation: Literal["relu", "leaky_relu", "tanh", "identity"] | None = Field(
        default=None, description="default: relu"
    )
    reflectors: int | None = Field(
        default=None, ge=1, le=4096, description="m1 = m2; default: 8, or hidden_size if smaller"
    )
    reflectors_u: int | None = Field(default=None, ge=1, le=4096, description="m1 alone; sets reflectors apart")
    reflectors_v: int | None = Field(default=None, ge=1, le=4096, description="m2 alone; sets reflectors apart")
    margin: FiniteFloat | None = Field(
        default=None, gt=0, le=1, description="r: singular values within sigma +- r; default 0.01"
    )
    sigma: FiniteFloat | None = Field(default=None, ge=0, le=2, description="sigma*: centre of the band; default 1")
    start: Literal["gaussian", "identity", "henaff", "cayley"] | None = Field(
        default=None, description="default: gaussian"
    )

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        for name, kinds in self.APPLIES.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                allowed = f"leave it out; it is for kind {' or '.join(sorted(kinds))}"
                raise _wrong(name, f"{name} does not apply to kind {self.kind}", allowed)
        if self.kind == "rnn" and self.activation in ("leaky_relu", "identity"):
            raise _wrong("activation", f"kind rnn has no activation {self.activation}", "relu, tanh")
        self._reflectors_fit()
        self._start_fits()
        return self

    def _reflectors_fit(self) -> None:
        if self.reflectors is not None and (self.reflectors_u is not None or self.reflectors_v is not None):
            allowed = "either reflectors, or reflectors_u and reflectors_v"
            raise _wrong("reflectors", "reflectors are given twice, for both sides and for one", allowed)
        for name in ("reflectors", "reflectors_u", "reflectors_v"):
            count = getattr(self, name)
            if count is not None and count > self.hidden_size:
                raise _wrong(
                    name, f"{count} reflectors exceed hidden_size", f"1 to {self.hidden_size}, the hidden_size"
                )

    def _start_fits(self) -> None:
        """Rotation and identity starts need as many reflectors on both sides, rotations one for every plane."""
        m1, m2 = self.reflector_counts
        planes = self.hidden_size // 2
        if self.start in ("identity", "henaff", "cayley") and m1 != m2:
            allowed = "reflectors_u = reflectors_v, or start gaussian"
            raise _wrong(
                "start", f"start {self.start} needs as many reflectors on both sides, not {m1} and {m2}", allowed
            )
        if self.start in ("henaff", "cayley") and m1 < planes:
            allowed = f"reflectors of at least {planes}, or start identity or gaussian"
            raise _wrong(
                "start", f"start {self.start} needs a reflector for each of {planes} planes, not {m1}", allowed
            )

    @property
    def reflector_counts(self) -> tuple[int, int]:
        """(m1, m2) with defaults filled in."""
        default = self.reflectors or min(8, self.hidden_size)
        return self.reflectors_u or default, self.reflectors_v or default

    @property
    def band_margin(self) -> float:
        """r, with the default filled in."""
        return 0.01 if self.margin is None else float(self.margin)

    @property
    def band_centre(self) -> float:
        """sigma*, with the default filled in."""
        return 1.0 if self.sigma is None else float(self.sigma)


class TrainingSpec(_Spec):
    """How one trial is trained. Fields that the optimiser or schedule does not have must be left out (``APPLIES``)."""

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
    batch_size: int = Field(default=64, ge=1, le=65_536)
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    lr: FiniteFloat = Field(default=1e-3, gt=0, le=10)
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
        default=None, ge=1, description="keep one state in this many for the backward pass, compute the others again"
    )
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="start and data order; sweep it for repeats")
    report_every: int | None = Field(default=None, ge=1, description="steps between reports; default: steps / 20")
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints; default: every report"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, (chooser, kinds) in self.APPLIES.items():
            chosen = getattr(self, chooser)
            if getattr(self, name) is not None and chosen not in kinds:
                allowed = f"leave it out; it is for {chooser} {' or '.join(sorted(kinds))}"
                raise _wrong(name, f"{name} does not apply to {chooser} {chosen}", allowed)
        if self.warmup_steps >= self.steps:
            problem = f"{self.warmup_steps} warm-up steps leave none of {self.steps} steps at the full rate"
            raise _wrong("warmup_steps", problem, f"0 to {self.steps - 1}, below steps")
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


class Values(_Spec):
    """A dimension that takes each of the listed values."""

    values: list[Scalar] = Field(min_length=1, max_length=MAX_TRIALS)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({(isinstance(v, bool), v) for v in self.values}) < len(self.values):
            raise _wrong("values", "a value is listed twice", "each value once")
        return self


class Range(_Spec):
    """A dimension between ``low`` and ``high``, even or logarithmic; whole numbers where both ends are."""

    low: Number
    high: Number
    log: bool = False
    grid: int | None = Field(
        default=None, ge=1, le=MAX_TRIALS, description="points of a grid search, both ends included"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise _wrong("low", f"low {self.low} is not below high {self.high}", "a number below high")
        if self.log and self.low <= 0:
            raise _wrong("low", f"a logarithmic range starts above 0, not at {self.low}", "above 0, or log: false")
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


def _dimension_kind(value: Any) -> str:
    given = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "Range" if "low" in given or "high" in given else "Values"


def _listed(value: Any) -> Any:
    """A plain list is short for its values."""
    return {"values": value} if isinstance(value, list) else value


Dimension = Annotated[
    Annotated[Values, Tag("Values")] | Annotated[Range, Tag("Range")],
    Discriminator(_dimension_kind),
    BeforeValidator(_listed),
]


class SearchSpec(_Spec):
    sampler: Literal["grid", "random"] = "grid"
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    trials: int | None = Field(
        default=None, ge=1, le=MAX_TRIALS, description="how many; required for random, not for grid"
    )

    @model_validator(mode="after")
    def _trials_fit(self) -> Self:
        if self.sampler == "random" and self.trials is None:
            raise _wrong("trials", "sampler random needs a number of trials", f"1 to {MAX_TRIALS:,}")
        if self.sampler == "grid" and self.trials is not None:
            raise _wrong(
                "trials", "sampler grid runs every point of the space", "leave trials out, or use sampler random"
            )
        return self


class EarlyStoppingSpec(_Spec):
    """When a trial that does worse than its peers is ended early."""

    kind: Literal["none", "asha", "median"] = "none"
    reduction: int = Field(default=3, ge=2, le=100, description="asha: one in this many goes on at each rung")
    min_steps: int | None = Field(
        default=None, ge=1, description="no trial is pruned before; default: an eighth of its steps"
    )


class ObjectiveSpec(_Spec):
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


class ResourcesSpec(_Spec):
    """Per pack: a pack is the trials that one worker trains together."""

    gpus: FiniteFloat = Field(default=0.0, ge=0, le=64)
    cpus: FiniteFloat = Field(default=1.0, gt=0, le=1024)
    pack_size: PackSize = "auto"


class RetriesSpec(_Spec):
    """Further attempts a trial gets, by the cause of the last one's end."""

    user: int = Field(default=0, ge=0, le=100, description="the trial itself failed: bad data, an error in training")
    infrastructure: int = Field(default=3, ge=0, le=1000, description="its process or node was lost")


def _printable(name: str) -> str:
    if not name.isprintable():
        raise PydanticCustomError("printable", "holds characters that cannot be shown", {"expected": "printable text"})
    return name


class SweepSpec(_Spec):
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


class Objective(_Spec):
    """A resolved objective: no defaults left open."""

    metric: str
    direction: Literal["minimize", "maximize"]

    def better(self, a: float, b: float) -> bool:
        return a > b if self.direction == "maximize" else a < b


class TrialSpec(_Spec):
    """One trial, resolved: ``params`` are its coordinates in the space, the rest is all that trains it."""

    number: int = Field(ge=0)
    params: dict[str, Scalar]
    task: AnyTask
    model: ModelSpec
    training: TrainingSpec
    objective: Objective

    @property
    def step_bytes(self) -> int:
        """Bytes of the states that one optimiser step keeps for its backward."""
        training, model = self.training, self.model
        width = 8 if training.dtype == "float64" else 4
        every, length = training.recompute_every, self.task.sequence_length
        kept = length if every is None else min(length, -(-length // every) + every)
        return training.batch_size * kept * model.hidden_size * model.layers * width

    @property
    def shape_key(self) -> str:
        """Trials with equal keys may share a pack (reflector counts, margins, rates and seeds may differ)."""
        model, training = self.model, self.training
        return repr((
            self.task, model.kind, model.hidden_size, model.layers, model.activation or "relu", training.steps,
            training.batch_size, training.optimizer, training.dtype, training.recompute_every, training.report_interval,
            training.checkpoint_interval,
        ))  # fmt: skip

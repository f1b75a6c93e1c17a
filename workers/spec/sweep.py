"""The sweep document: what a user can ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from workers.spec.base_spec import SpecPart, invalid_field
from workers.spec.constraint import ALLOWED, MAX_LENGTH, ConstraintError, parse_constraint
from workers.spec.model import ModelSpec
from workers.spec.prior_results import WarmStart
from workers.spec.pruning_rules import PRUNING_RULES, EarlyStoppingOptions
from workers.spec.repeats import MAX_REPEATS, Statistic
from workers.spec.resources import ResourcesSpec
from workers.spec.samplers import SAMPLERS
from workers.spec.search_space import MAX_DIMENSIONS, MAX_TRIALS, AnyDimension, Scalar
from workers.spec.tags import Tags
from workers.spec.training import MAX_SEED, TrainingSpec
from workers.tasks import AnyTask
from workers.wording import describe, one_of

SAMPLERS_ELSEWHERE = {
    "bayes": "tpe",
    "bayesian": "tpe",
    "optuna": "tpe",
    "hyperopt": "tpe",
    "bo": "gp",
    "gaussian_process": "gp",
    "quasi_random": "sobol",
    "qmc": "sobol",
    "evolution": "cma_es",
}
"""Words by which other tools know our samplers; an error names the sampler that was probably meant."""


def _check_sampler(name: Any) -> str:
    """Return ``name`` if it is in the table of samplers, and raise otherwise."""
    if isinstance(name, str) and name in SAMPLERS:
        return name
    raise PydanticCustomError(
        "sampler", "is not a known sampler", {"expected": one_of(name, SAMPLERS, SAMPLERS_ELSEWHERE)}
    )


SamplerName = Annotated[str, PlainValidator(_check_sampler), WithJsonSchema({"type": "string", "enum": list(SAMPLERS)})]


MAX_ENQUEUED, MAX_CONSTRAINTS = 1_000, 32
"""The most points that a user gives, and the most constraints."""


def _check_constraint(text: str) -> str:
    """Return ``text`` if it is a constraint, and raise otherwise."""
    try:
        parse_constraint(text)
    except ConstraintError as error:
        raise PydanticCustomError("constraint", "{problem}", {"problem": str(error), "expected": ALLOWED}) from None
    return text


class SearchSpec(SpecPart):
    """How points of the search space are chosen."""

    sampler: SamplerName = Field(default="grid", description="the method; GET /v1/samplers describes each")
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="seed of the sampler's random numbers")
    trials: int | None = Field(
        default=None,
        ge=1,
        le=MAX_TRIALS,
        description="number of trials, with repeats of points; refused for grid, required for the others",
    )
    options: dict[str, Any] = Field(
        default={}, description="options of the sampler; GET /v1/samplers has the JSON schema of each sampler's"
    )
    enqueue: list[dict[str, Scalar]] = Field(
        default=[],
        max_length=MAX_ENQUEUED,
        description="points that the first trials take, each with a value for every dimension that exists there; "
        "they count among trials, and come before a grid",
    )
    warm_start: WarmStart | None = Field(
        default=None,
        description='an earlier sweep from whose results the sampler learns too, as in {"sweep": "sw0123456789"}; '
        "for samplers that learn",
    )
    constraints: list[Annotated[str, Field(max_length=MAX_LENGTH), AfterValidator(_check_constraint)]] = Field(
        default=[],
        max_length=MAX_CONSTRAINTS,
        description="comparisons that every point satisfies, such as "
        '"model.reflectors_u + model.reflectors_v <= model.hidden_size"; docs/search.md has the language',
    )

    @model_validator(mode="after")
    def _check_trials(self) -> Self:
        takes_trials = SAMPLERS[self.sampler].takes_trials
        if takes_trials and self.trials is None:
            problem = f"sampler {self.sampler} needs a number of trials"
            raise invalid_field("trials", problem, f"1 to {MAX_TRIALS:,}")
        if not takes_trials and self.trials is not None:
            others = [name for name, sampler in SAMPLERS.items() if sampler.takes_trials]
            problem = f"sampler {self.sampler} decides the number of trials itself"
            raise invalid_field("trials", problem, f"leave trials out, or use sampler {' or '.join(others)}")
        most = SAMPLERS[self.sampler].max_trials - (len(self.warm_start.results) if self.warm_start else 0)
        if self.trials is not None and self.trials > most:
            problem = f"sampler {self.sampler} learns from at most {most:,} trials: a proposal from more takes too long"
            raise invalid_field("trials", problem, f"at most {most:,}, or another sampler")
        if self.trials is not None and len(self.enqueue) > self.trials:
            problem = f"{len(self.enqueue)} points are more than the {self.trials} trials"
            raise invalid_field("enqueue", problem, f"at most {self.trials} points, or more trials")
        return self

    @model_validator(mode="after")
    def _check_warm_start(self) -> Self:
        if self.warm_start is not None and not SAMPLERS[self.sampler].learns:
            learners = [name for name, sampler in SAMPLERS.items() if sampler.learns]
            problem = f"sampler {self.sampler} does not learn from results"
            raise invalid_field("warm_start", problem, f"sampler {' or '.join(learners)}, or leave it out")
        return self

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        try:
            SAMPLERS[self.sampler].Options.model_validate(self.options)
        except ValidationError as error:
            item = error.errors(include_url=False)[0]
            field = ".".join(map(str, ("options", *item["loc"])))
            problem, allowed = describe(item["type"], item.get("ctx") or {}, str(item["msg"]))
            names = ", ".join(SAMPLERS[self.sampler].Options.model_fields)
            if item["type"] == "extra_forbidden":
                problem = f"is not an option of sampler {self.sampler}"
                allowed = f"one of {names}" if names else "leave it out"
            raise invalid_field(field, problem, allowed) from None
        return self


def _check_pruning_rule(name: Any) -> str:
    """Return ``name`` if it is "none" or in the table of pruning rules, and raise otherwise."""
    if isinstance(name, str) and (name == "none" or name in PRUNING_RULES):
        return name
    expected = f"one of none, {', '.join(PRUNING_RULES)}"
    raise PydanticCustomError("pruning_rule", "is not a known rule", {"expected": expected})


PruningRuleName = Annotated[
    str, PlainValidator(_check_pruning_rule), WithJsonSchema({"type": "string", "enum": ["none", *PRUNING_RULES]})
]


class EarlyStoppingSpec(EarlyStoppingOptions):
    """When to end a trial early that does worse than others or than a bound. Each rule has options of its own."""

    kind: PruningRuleName = Field(
        default="none", description="the rule; none: no trial ends early; GET /v1/early-stopping describes each"
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        rule = PRUNING_RULES.get(self.kind)
        for name in rule.required if rule else ():
            if getattr(self, name) is None:
                raise invalid_field(name, f"kind {self.kind} needs it", type(self).model_fields[name].description or "")
        # Earlier releases accepted these, and the documents that they stored have them.
        accepted = ("min_steps", "reduction") if self.kind in ("none", "median") else ()
        for name in self.misplaced:
            if name not in accepted:
                raise invalid_field(name, *self.why_misplaced(name))
        return self

    @property
    def misplaced(self) -> list[str]:
        """The options that are given and do not belong to the kind."""
        rule = PRUNING_RULES.get(self.kind)
        own = {"kind", *(rule.options if rule else ())}
        return [name for name in type(self).model_fields if name not in own and getattr(self, name) is not None]

    def why_misplaced(self, name: str) -> tuple[str, str]:
        """Return what is wrong with an option that does not belong to the kind, and what to do."""
        kinds = [kind for kind, rule in PRUNING_RULES.items() if name in rule.options]
        return f"{name} does not apply to kind {self.kind}", f"leave it out; it is for kind {' or '.join(kinds)}"


class ObjectiveSpec(SpecPart):
    """The metric by which trials are compared, and its direction. ``GET /v1/tasks`` lists the metrics of every task."""

    metric: str | None = Field(
        default=None, max_length=80, description="val/METRIC; default: val/accuracy if the task has it, else val/loss"
    )
    direction: Literal["minimize", "maximize"] | None = Field(
        default=None, description="which values are better; default: the metric's own direction"
    )
    statistic: Statistic = Field(
        default="mean", description="with repeats: what the objective of a point is, of those of its trials"
    )


COSTS = {
    "parameters": "the number of trainable parameters of the trial's network",
    "seconds": "the seconds of training until the trial's best checkpoint, evaluations included",
}
"""What may be a further objective beside the metrics of the task; smaller is better."""
MAX_FURTHER = 2
"""The most further objectives: with three in all, the hypervolume is computed exactly."""


class FurtherObjectiveSpec(SpecPart):
    """One more number by which the report compares trials, measured at the trial's best checkpoint by the objective."""

    metric: str = Field(max_length=80, description=f"val/METRIC of the task, or {' or '.join(COSTS)}")
    direction: Literal["minimize", "maximize"] | None = Field(
        default=None, description="which values are better; default: the metric's own direction, minimize for costs"
    )


class RetriesSpec(SpecPart):
    """How often a trial is tried again, by the cause of the failure."""

    user: int = Field(default=0, ge=0, le=100, description="retries after the trial itself failed, such as by bad data")
    infrastructure: int = Field(
        default=3, ge=0, le=1000, description="retries after the trial's process was lost, or its data were not there"
    )
    preemption: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="retries after its process was ended from outside, or its node was lost",
    )


class CheckpointsSpec(SpecPart):
    """Which checkpoints stay on the disk. While a trial is trained, it always keeps what it needs to go on."""

    keep: list[Literal["best", "last"]] = Field(
        default=["best", "last"],
        max_length=2,
        description="what stays of a trial that has ended, once MLflow has its copies: its best checkpoint by the "
        "objective, its last one, both, or none of them",
    )
    keep_every: int | None = Field(
        default=None, ge=1, description="checkpoints at multiples of this many steps stay too; null: none of them"
    )


def _check_printable(name: str) -> str:
    """Return ``name`` if all of its characters can be shown, and raise otherwise."""
    if not name.isprintable():
        raise PydanticCustomError("printable", "holds characters that cannot be shown", {"expected": "printable text"})
    return name


def _check_not_blank(name: str) -> str:
    """Return ``name`` if it neither begins nor ends with a space, and raise otherwise."""
    if name != name.strip():
        raise PydanticCustomError("blank", "begins or ends with a space", {"expected": "a name without it"})
    return name


EXPERIMENT_LENGTH = 120
"""The largest number of characters of an experiment's name."""
LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100
MAX_PARALLEL = 1_000_000
"""The largest value of ``max_parallel``; None stands for no bound."""


class SweepSpec(SpecPart):
    """A sweep: one task, one model and training setup, and the space of the fields that are searched."""

    name: Annotated[str, AfterValidator(_check_printable)] = Field(
        default="sweep", min_length=1, max_length=120, description="a name for people; need not be unique"
    )
    tags: Tags = Field(default=[])
    task: AnyTask = Field(description="what the networks learn; GET /v1/tasks lists the tasks and their fields")
    model: ModelSpec = Field(default=ModelSpec(), description="the network")
    training: TrainingSpec = Field(default=TrainingSpec(), description="how the network is trained")
    space: dict[str, AnyDimension] = Field(
        min_length=1,
        max_length=MAX_DIMENSIONS,
        description='what is searched: {"model.margin": {"low": 0.001, "high": 0.1, "log": true, "grid": 3}, '
        '"model.reflectors": [4, 8]}; any scalar field of task, model and training',
    )
    search: SearchSpec = Field(default=SearchSpec(), description="how points of the space are chosen")
    repeats: int = Field(
        default=1,
        ge=1,
        le=MAX_REPEATS,
        description="how many trials each point has, which differ in training.seed alone: the seed given there, and "
        "those after it",
    )
    early_stopping: EarlyStoppingSpec = Field(default=EarlyStoppingSpec(), description="when poor trials end early")
    objective: ObjectiveSpec = Field(default=ObjectiveSpec(), description="the metric that decides")
    further_objectives: list[FurtherObjectiveSpec] = Field(
        default=[],
        max_length=MAX_FURTHER,
        description="what the report compares trials by beside the objective: Pareto front and hypervolume; samplers, "
        "early stopping and the best trial follow the objective alone",
    )
    resources: ResourcesSpec = Field(default=ResourcesSpec(), description="what a pack of trials gets")
    priority: int = Field(
        default=0,
        ge=LOWEST_PRIORITY,
        le=HIGHEST_PRIORITY,
        description="sweeps of higher priority are trained first, and take the place of others; docs/scheduling.md",
    )
    max_parallel: int | None = Field(
        default=None, ge=1, le=MAX_PARALLEL, description="trials that run at the same time; null: as many as fit"
    )
    retries: RetriesSpec = Field(default=RetriesSpec(), description="how often a failed trial is tried again")
    checkpoints: CheckpointsSpec = Field(default=CheckpointsSpec(), description="which checkpoints stay on the disk")
    replays: str | None = Field(
        default=None,
        pattern=r"^sw[0-9a-f]{10}-[0-9]{4,6}$",
        description="the trial that the sweep trains again, to be compared with it; POST /v1/trials/ID/replay sets it",
    )
    experiment: Annotated[str, AfterValidator(_check_printable), AfterValidator(_check_not_blank)] | None = Field(
        default=None,
        min_length=1,
        max_length=EXPERIMENT_LENGTH,
        description="the MLflow experiment that shows the sweep; default: one for each task, such as spectral/adding",
    )

    @property
    def experiment_name(self) -> str:
        """The name of the MLflow experiment in which the sweep begins."""
        return self.experiment or f"spectral/{self.task.name}"

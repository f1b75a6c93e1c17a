"""From a sweep to its trials: one function makes a trial, or says why it cannot be trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from workers.errors import FieldError, SamplerError, SpecError
from workers.spec.constraint import parse_constraint
from workers.spec.field_errors import field_errors
from workers.spec.model import ModelSpec
from workers.spec.point_rules import PointRules
from workers.spec.repeats import observed_points, with_seeds
from workers.spec.samplers import SAMPLERS, EnqueuedFirst, LearningSampler, Observation, Sampler
from workers.spec.search_space import Params, Scalar, Values
from workers.spec.sweep import COSTS, SweepSpec
from workers.spec.training import RECOMPUTING_KINDS, TrainingSpec
from workers.spec.trial import Objective, TrialSpec
from workers.tasks import Task
from workers.tasks.dataset_info import DatasetTask

MAX_STEP_BYTES = 64 * 2**30
"""Bytes that one step of one trial may keep for its backward pass: about what the largest accelerators hold."""


@dataclass(frozen=True)
class TrialPlan:
    """One trial of a sweep: its point, and either its full specification or the reason why it cannot be trained.

    Exactly one of ``spec`` and ``error`` is None.
    """

    number: int
    params: Params
    spec: TrialSpec | None
    error: FieldError | None

    @property
    def reason(self) -> str:
        """Why the trial cannot be trained, in one line of at most 300 characters; empty if it can."""
        return "" if self.error is None else " ".join(str(self.error).split())[:300]

    def require_spec(self) -> TrialSpec:
        """Return the specification; raise SpecError if the trial cannot be trained."""
        if self.spec is None:
            assert self.error is not None
            raise SpecError([self.error])
        return self.spec


def sampler_of(sweep: SweepSpec) -> Sampler:
    """Return the sampler that ``search.sampler`` names, for the sweep's space, rules, seed, trials and objective.

    If ``search.enqueue`` has points, the sampler begins with them.
    """
    search, named = sweep.search, SAMPLERS[sweep.search.sampler]
    sampler = named(
        sweep.space,
        seed=search.seed,
        trials=search.trials,
        direction=objective(sweep).direction,
        rules=rules_of(sweep),
        options=named.Options.model_validate(search.options),
    )
    if isinstance(sampler, LearningSampler):
        sampler.is_trainable = lambda point: plan_trial(sweep, 0, point).error is None
    return EnqueuedFirst(search.enqueue, sampler) if search.enqueue else sampler


def rules_of(sweep: SweepSpec) -> PointRules:
    """Return the conditions and constraints of the sweep's space, with the values of the fields that are not searched.

    A field without a value is left out, so that constraints that name it say nothing.
    """
    constraints = [parse_constraint(text) for text in sweep.search.constraints]
    fixed: dict[str, Scalar] = {}
    for path in (field for constraint in constraints for field in constraint.fields if field not in sweep.space):
        part, _, name = path.partition(".")
        value = getattr(getattr(sweep, part, None), name, None)
        if isinstance(value, bool | int | float | str):
            fixed[path] = value
    return PointRules(sweep.space, constraints, fixed)


def trial_count(sweep: SweepSpec) -> int:
    """Return how many trials the sweep has, without listing them."""
    return sampler_of(sweep).trial_count * sweep.repeats


def points_of(sweep: SweepSpec) -> Iterator[Params]:
    """Yield the values of every trial in order, as the sampler proposes them before any result is known.

    With ``repeats``, each point comes once for each seed, with the seed among the values.
    """
    sampler = sampler_of(sweep)
    for number in range(sampler.trial_count):
        yield from with_seeds(sampler.propose(number, ()), sweep.repeats, sweep.training.seed)


def next_points(sweep: SweepSpec, earlier: Sequence[Observation], most: int | None = None) -> list[Params]:
    """Return the values of the trials that follow ``earlier``, as many as the sampler is ready to propose now.

    With ``repeats``, the sampler learns from points and proposes points, of which all trials are returned together. If
    ``earlier`` ends in the middle of a point, its other trials come first.

    Args:
        sweep: The sweep.
        earlier: All trials that exist, by number from 0, with their results so far.
        most: The largest number of trials to return; None for no limit. Only whole points are begun within it.

    Raises:
        SamplerError: The sampler fails, it proposes a point that sets other dimensions than those that exist there, or
            it waits for more results although all earlier trials have ended.
    """
    sampler, repeats = sampler_of(sweep), sweep.repeats
    known = observed_points(earlier, repeats, sweep.objective.statistic)
    begun = len(earlier) // repeats
    room = sampler.trial_count if most is None else (len(earlier) + most) // repeats
    last = min(sampler.trial_count, room)
    while len(known) < last and sampler.is_ready(len(known), known):
        known.append(Observation(len(known), _proposed(sweep, sampler, known)))
    if len(known) < last and all(trial.ended for trial in known):
        raise SamplerError(
            f"sampler {sweep.search.sampler} waits for more results before it proposes trial {len(known)}, but all "
            "earlier trials have ended"
        )
    added = [params for point in known[begun:] for params in with_seeds(point.params, repeats, sweep.training.seed)]
    return added[len(earlier) - begun * repeats :][:most]


def _proposed(sweep: SweepSpec, sampler: Sampler, known: Sequence[Observation]) -> Params:
    """Return the point of the trial that follows ``known``; raise SamplerError if there is none."""
    try:
        point = sampler.propose(len(known), known)
    except SamplerError:
        raise
    except Exception as error:
        raise SamplerError(
            f"sampler {sweep.search.sampler} failed to propose trial {len(known)}: {type(error).__name__}: {error}"
        ) from error
    rules = sampler.rules
    if (
        point.keys() - sweep.space.keys()
        or rules.settle(point) != point
        or any(path not in point and rules.exists(path, point) for path in sweep.space)
    ):
        raise SamplerError(
            f"sampler {sweep.search.sampler} proposed {sorted(point)} for trial {len(known)}; a point must set the "
            f"dimensions that exist there, of {sorted(sweep.space)}"
        )
    return point


def plan_trials(sweep: SweepSpec) -> list[TrialPlan]:
    """Return all trials of the sweep in order, as they are proposed before any result is known."""
    return [plan_trial(sweep, number, params) for number, params in enumerate(points_of(sweep))]


def plan_trial(sweep: SweepSpec, number: int, params: Mapping[str, Scalar]) -> TrialPlan:
    """Return trial ``number`` at the point ``params``, or the reason why it cannot be trained.

    This is the one place where a trial is made. If ``model.kind``, ``training.optimizer`` or ``training.schedule`` is
    in the space, the trial is made without the fields that only other kinds, optimisers or schedules have, also if
    ``params`` has a value for them.
    """
    point = dict(params)
    try:
        spec = _build(sweep, number, point)
    except ValidationError as misfit:
        return TrialPlan(number, point, None, _describe_misfit(sweep, point, field_errors(misfit)[0]))
    error = _unsupported(sweep, spec)
    return TrialPlan(number, point, None if error else spec, error)


def _build(sweep: SweepSpec, number: int, params: Params) -> TrialSpec:
    """Build the trial; raise pydantic's ValidationError if its values cannot be combined."""
    parts: dict[str, dict[str, Any]] = {
        "model": sweep.model.model_dump(exclude_unset=True),
        "training": sweep.training.model_dump(exclude_unset=True),
    }
    for path, value in params.items():
        part, field = path.split(".")
        if part != "task":
            parts[part][field] = value
    _drop_unused(parts["model"], parts["training"], params)
    return TrialSpec.model_validate(
        {
            "number": number,
            "params": params,
            "task": task_at(without_statistics(sweep), params),
            "objective": objective(sweep),
            **parts,
        }
    )


def _drop_unused(model: dict[str, Any], training: dict[str, Any], params: Params) -> None:
    """Remove, in place, the fields that the trial's own kind of model, optimiser or schedule does not have.

    This is done for a kind, an optimiser or a schedule that is swept; a field that does not suit a fixed one is left in
    and refused later.
    """
    if "model.kind" in params:
        kind = params["model.kind"]
        for field, kinds in ModelSpec.ONLY_FOR.items():
            if kind not in kinds:
                model.pop(field, None)
        if kind not in RECOMPUTING_KINDS:
            training.pop("recompute_every", None)
    for field, (chooser, choices) in TrainingSpec.ONLY_FOR.items():
        if f"training.{chooser}" in params and params[f"training.{chooser}"] not in choices:
            training.pop(field, None)


def task_at(sweep: SweepSpec, params: Mapping[str, Scalar]) -> Task | dict[str, Any]:
    """Return the task at a point of the space.

    If ``params`` sets no field of the task, that is the sweep's task, and else a dict of its fields with those of
    ``params``, which is still to be validated.
    """
    own = {path.removeprefix("task."): value for path, value in params.items() if path.startswith("task.")}
    return sweep.task.model_dump() | own if own else sweep.task


def without_statistics(sweep: SweepSpec) -> SweepSpec:
    """Return the sweep as its trials see it: without the numbers of its data, which change nothing about training."""
    if not isinstance(sweep.task, DatasetTask):
        return sweep
    return sweep.model_copy(update={"task": sweep.task.without_statistics()})


def tasks_of(sweep: SweepSpec) -> list[Task]:
    """Return the sweep's own task, followed by one task for every combination of swept task fields.

    Combinations that cannot be built are left out. Only the sweep's own task is returned if none of its fields is
    swept.
    """
    found: list[Task] = [sweep.task]
    if not any(path.startswith("task.") for path in sweep.space):
        return found
    points = {
        tuple((path, value) for path, value in params.items() if path.startswith("task.")): None
        for params in points_of(sweep)
    }
    for point in points:
        with suppress(ValidationError):
            found.append(type(sweep.task).model_validate(task_at(sweep, dict(point))))
    return found


def objective(sweep: SweepSpec) -> Objective:
    """Return the metric by which the sweep compares its trials, and whether it is minimised or maximised.

    Where the sweep does not say, the metric is val/accuracy if the task has it and else val/loss, and the direction is
    that of the metric in ``METRICS``.
    """
    metrics = sweep.task.metrics
    metric = sweep.objective.metric or ("val/accuracy" if "accuracy" in metrics else "val/loss")
    direction = sweep.objective.direction or metrics.get(metric.removeprefix("val/"), "minimize")
    return Objective(metric=metric, direction=direction)


def objectives(sweep: SweepSpec) -> tuple[Objective, ...]:
    """Return the sweep's objective, followed by its further objectives, each with its direction."""
    further = (
        Objective(
            metric=one.metric,
            direction=one.direction or sweep.task.metrics.get(one.metric.removeprefix("val/"), "minimize"),
        )
        for one in sweep.further_objectives
    )
    return (objective(sweep), *further)


def _describe_misfit(sweep: SweepSpec, params: Params, found: FieldError) -> FieldError:
    """Word the error of a trial whose values cannot be combined: which field, at which point, and the way out."""
    field = f"space.{found.field}" if found.field in params else found.field
    way_out = ""
    if found.field.startswith("model.") and found.field != "model.kind" and _another_kind_fits(sweep, params):
        way_out = f"; or a sweep of its own for kind {params['model.kind']}"
    problem = f"{found.problem} (at {_show(params)})"
    return FieldError(field, params.get(found.field, found.given), problem, f"{found.allowed}{way_out}")


def _another_kind_fits(sweep: SweepSpec, params: Params) -> bool:
    """Return whether another of the swept kinds of model can be combined with the trial's other values."""
    kinds = sweep.space.get("model.kind")
    for kind in kinds.values if isinstance(kinds, Values) else ():
        with suppress(ValidationError):
            _build(sweep, 0, params | {"model.kind": kind})
            return True
    return False


def _unsupported(sweep: SweepSpec, trial: TrialSpec) -> FieldError | None:
    """Return why a valid trial cannot be trained, or None if it can.

    Its states may be too large, its margin may be less than rounding, bfloat16 may be asked for without a GPU, or its
    task may lack the objective's metric.
    """
    if trial.step_bytes > MAX_STEP_BYTES:
        return _too_large(trial)
    if trial.model.spectral and trial.band_is_one_number:
        number_format, centre = trial.training.parameter_dtype, trial.model.band_centre
        problem = f"is less than the rounding of {number_format} at sigma {centre:g}: no singular value could move"
        wider = "" if number_format == "float64" else ", or training.dtype float64"
        field = "space.model.margin" if "model.margin" in trial.params else "model.margin"
        return FieldError(field, trial.model.band_margin, problem, f"a larger margin{wider}")
    if trial.training.dtype == "bfloat16" and not sweep.resources.gpus:
        allowed = "float32, float64, or resources.gpus above 0"
        return FieldError("training.dtype", "bfloat16", "needs a GPU, and resources.gpus is 0", allowed)
    wanted = [("objective.metric", trial.objective.metric)]
    wanted += [(f"further_objectives.{i}.metric", one.metric) for i, one in enumerate(sweep.further_objectives)]
    for field, metric in wanted:
        if metric not in COSTS and metric.removeprefix("val/") not in trial.task.metrics:
            known = ", ".join(f"val/{name}" for name in trial.task.metrics)
            problem = f"is not a metric of the task at {_show(trial.params)}"
            allowed = f"a metric of every trial's task: here one of {known}"
            return FieldError(field, metric, problem, allowed)
    return None


def _too_large(trial: TrialSpec) -> FieldError:
    """Word the error of a trial whose states and outputs no device could hold."""
    model, training = trial.model, trial.training
    return FieldError(
        "training.batch_size",
        training.batch_size,
        f"one step would keep {trial.step_bytes / 2**30:,.0f} GiB of states and outputs: batch_size "
        f"{training.batch_size}, {trial.task.sequence_length} steps, hidden_size {model.hidden_size}, {model.layers} "
        f"layers, {trial.task.output_size} outputs",
        f"at most {MAX_STEP_BYTES // 2**30} GiB; use a smaller batch_size, hidden_size, number of layers or sequence",
    )


def _show(params: Mapping[str, Scalar]) -> str:
    """Return a point as text: ``model.margin = 0.1, model.reflectors = 4``."""
    return ", ".join(f"{name} = {value}" for name, value in params.items())

"""What is wrong with a sweep's conditions, constraints and enqueued points, beyond the form of each alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic.fields import FieldInfo

from workers.errors import FieldError, NoValidPoint
from workers.spec.constraint import ALLOWED, ConstraintError, ValueKind
from workers.spec.expand import rules_of, sampler_of
from workers.spec.field_errors import MAX_LETTERS, shorten
from workers.spec.point_rules import PointRules, condition_problems, is_listed
from workers.spec.repeats import SEED_PATH
from workers.spec.samplers import SAMPLERS, GridSampler
from workers.spec.samplers.grid import MAX_EXAMINED
from workers.spec.search_space import MAX_TRIALS, Params, Range, Scalar, Values
from workers.spec.sweep import SweepSpec
from workers.spec.training import MAX_SEED
from workers.wording import one_of


def search_errors(sweep: SweepSpec, fields: Mapping[str, FieldInfo]) -> Iterator[FieldError]:
    """Yield what is wrong with conditions, constraints and enqueued points.

    Args:
        sweep: A sweep whose dimensions are right, each by itself.
        fields: The fields that a space can sweep, by dotted path.
    """
    for field, problem, allowed in condition_problems(sweep.space):
        path, _, other = field.partition(".when.")
        given = (sweep.space[path.removesuffix(".when")].when or {}).get(other) if other else None
        yield FieldError(f"space.{field}", given, problem, allowed)
    steps, sampler = sweep.space.get("training.steps"), sweep.search.sampler
    if steps is not None and (steps.when or SAMPLERS[sampler].learns):
        why = "with a condition" if steps.when else f"by sampler {sampler}"
        problem = f"cannot be searched {why}, because the steps of all trials are planned beforehand"
        yield FieldError("space.training.steps", None, problem, "sampler grid, random, sobol or halton, and no when")
    rules = rules_of(sweep)
    for number, constraint in enumerate(rules.constraints):
        field = f"search.constraints.{number}"
        problem, allowed = _constraint_problem(rules, constraint.fields, fields)
        if not problem:
            try:
                constraint.check_kinds({path: _kind(rules, path) for path in constraint.fields})
            except ConstraintError as error:
                problem, allowed = str(error), ALLOWED
        if problem:
            yield FieldError(field, constraint.text, problem, allowed)


def enqueue_errors(sweep: SweepSpec) -> Iterator[FieldError]:
    """Yield what is wrong with enqueued points of a sweep in which ``search_errors`` finds nothing."""
    rules = rules_of(sweep)
    for number, point in enumerate(sweep.search.enqueue):
        yield from _point_errors(rules, f"search.enqueue.{number}", point)


def repeat_errors(sweep: SweepSpec) -> Iterator[FieldError]:
    """Yield an error if repeats and seeds do not go together, or if a statistic is asked for that changes nothing."""
    repeats, seed, statistic = sweep.repeats, sweep.training.seed, sweep.objective.statistic
    if repeats == 1:
        if statistic != "mean":
            problem = "of the single trial of a point is its objective, whatever the statistic"
            yield FieldError("objective.statistic", statistic, problem, "repeats of at least 2, or leave it out")
        return
    if SEED_PATH in sweep.space:
        problem = f"give each point seeds of their own, and {SEED_PATH} is searched too"
        yield FieldError("repeats", repeats, problem, f"leave {SEED_PATH} out of the space, or repeats out")
    if seed + repeats - 1 > MAX_SEED:
        problem = f"is the first of {repeats} seeds, which follow each other"
        yield FieldError(SEED_PATH, seed, problem, f"at most {MAX_SEED - repeats + 1}")


def count_errors(sweep: SweepSpec) -> Iterator[FieldError]:
    """Yield an error if a sweep that is right otherwise has no trial, or more than ``MAX_TRIALS``."""
    sampler, name = sampler_of(sweep), sweep.search.sampler
    grid = grid_of(sweep)
    if grid is not None and not grid.rules.trivial and grid.combinations > MAX_EXAMINED:
        problem = f"the grid has {grid.combinations:,} combinations, too many to examine their conditions"
        yield FieldError("space", grid.combinations, problem, f"at most {MAX_EXAMINED:,}, or sampler random")
        return
    count = sampler.trial_count
    if count > MAX_TRIALS:
        problem = f"the {name} has {count:,} points"
        yield FieldError("space", count, problem, f"at most {MAX_TRIALS:,}; use fewer values or sampler random")
    elif count * sweep.repeats > MAX_TRIALS:
        problem = f"of each of {count:,} points are {count * sweep.repeats:,} trials, more than {MAX_TRIALS:,}"
        yield FieldError("repeats", sweep.repeats, problem, f"at most {MAX_TRIALS // count}, or fewer points")
    elif count == 0 and grid is not None:
        lost = ", ".join(f"{number:,} by {text}" for text, number in grid.excluded.items())
        problem = f"leave no point of the grid: {lost}"
        yield _no_point(sweep, problem)


def no_valid_point(sweep: SweepSpec, found: NoValidPoint) -> FieldError:
    """Return the error of a sweep for which a sampler finds no point that satisfies the constraints."""
    return _no_point(sweep, f"leave too little of the space: {found}")


def excluded_points(sweep: SweepSpec) -> int:
    """Return how many points of the sweep's grid break a constraint; 0 for other samplers, which draw again."""
    grid = grid_of(sweep)
    return 0 if grid is None else sum(grid.excluded.values())


def grid_of(sweep: SweepSpec) -> GridSampler | None:
    """Return the sampler of a sweep's grid, without enqueued points; None if another sampler is asked for."""
    if not issubclass(SAMPLERS[sweep.search.sampler], GridSampler):
        return None
    search = sweep.search.model_copy(update={"enqueue": []})
    found = sampler_of(sweep.model_copy(update={"search": search}))
    return found if isinstance(found, GridSampler) else None


def _no_point(sweep: SweepSpec, problem: str) -> FieldError:
    allowed = "constraints that more points satisfy, or a space that fits them"
    return FieldError("search.constraints", list(sweep.search.constraints), problem, allowed)


def _constraint_problem(rules: PointRules, named: tuple[str, ...], fields: Mapping[str, FieldInfo]) -> tuple[str, str]:
    """Return what is wrong with the fields of a constraint, and what is allowed; two empty texts if nothing is."""
    for path in named:
        if path not in fields:
            return f"names {path}, which is not a field of a trial", one_of(path, fields)
        if path not in rules.space and path not in rules.fixed:
            return f"names {path}, which has no value in this sweep", "give it a value, or make it a dimension"
    return "", ""


def _kind(rules: PointRules, path: str) -> ValueKind:
    """Return what the values of a field are; numbers if a list has several kinds, of which a field takes only one."""
    dimension = rules.space.get(path)
    if isinstance(dimension, Range):
        return "number"
    value = rules.fixed[path] if dimension is None else dimension.values[0]
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number"


def _point_errors(rules: PointRules, field: str, point: Params) -> Iterator[FieldError]:
    """Yield what is wrong with one enqueued point."""
    wrong = False
    for path, value in point.items():
        dimension = rules.space.get(path)
        if dimension is None:
            wrong = True
            allowed = one_of(path, rules.space)
            yield FieldError(f"{field}.{path}"[:MAX_LETTERS], shorten(value), "is not a dimension", allowed)
        elif not lies_in(value, dimension):
            wrong = True
            yield FieldError(
                f"{field}.{path}", shorten(value), "is not a value of the dimension", _values_of(dimension)
            )
    if wrong:
        return
    settled = rules.settle(point)
    for path in point.keys() - settled.keys():
        conditions = rules.space[path].when or {}
        problem = f"does not exist at this point: it needs {_show(conditions)}"
        yield FieldError(f"{field}.{path}", point[path], problem, "leave it out, or change the other values")
        return
    for path in rules.space:
        if path not in point and rules.exists(path, settled):
            yield FieldError(f"{field}.{path}", None, "is missing", _values_of(rules.space[path]))
            return
    constraint = rules.broken(settled)
    if constraint is not None:
        yield FieldError(field, dict(point), f"breaks the constraint {constraint.text}", "a point that satisfies it")


def lies_in(value: Scalar, dimension: Values | Range) -> bool:
    """Return whether a value is one that the dimension has."""
    if isinstance(dimension, Values):
        return is_listed(value, dimension.values)
    if isinstance(value, bool | str) or not dimension.low <= value <= dimension.high:
        return False
    if dimension.is_integer and not isinstance(value, int):
        return False
    if dimension.step is None:
        return True
    place = round((value - dimension.low) / dimension.step)
    return value == dimension.nth(place)


def _values_of(dimension: Values | Range) -> str:
    """Return the values of a dimension for a message."""
    if isinstance(dimension, Values):
        return f"one of {', '.join(str(value) for value in dimension.values[:20])}"
    kind = "a whole number" if dimension.is_integer else "a number"
    step = "" if dimension.step is None else f", a multiple of {dimension.step} above {dimension.low}"
    return f"{kind} from {dimension.low} to {dimension.high}{step}"


def _show(conditions: Mapping[str, list[Scalar]]) -> str:
    """Return conditions for a message: ``model.kind in spectral_rnn, ornn``."""
    return " and ".join(f"{path} in {', '.join(map(str, values))}" for path, values in conditions.items())

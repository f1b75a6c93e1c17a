"""Results of earlier sweeps for a sampler that learns: which of them say something about a new sweep.

A result counts where its trial, with the values that the new sweep searches, is a point of the new space. A value that
the earlier sweep did not search is the one that all of its trials had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from workers.errors import FieldError, SpecError
from workers.spec.expand import objective, plan_trial, rules_of
from workers.spec.point_rules import PointRules
from workers.spec.prior_results import MAX_PRIOR_RESULTS, PriorResult, WarmStart
from workers.spec.samplers import SAMPLERS, Observation
from workers.spec.search_checks import lies_in
from workers.spec.search_space import Params
from workers.spec.sweep import SweepSpec
from workers.spec.trial import Objective, TrialSpec
from workers.tasks.dataset_info import DatasetTask

FIELD = "search.warm_start.sweep"
UNIMPORTANT = frozenset(
    {
        "training.seed",
        "training.report_every",
        "training.checkpoint_every",
        "training.diagnose_every",
        "training.recompute_every",
    }
)
"""Fields of which results do not depend, or by chance alone."""
TASK_PARTS = ("name", "facts")
"""Fields of a task that are compared apart from the others."""


class EarlierSweep(NamedTuple):
    """An earlier sweep.

    Attributes:
        id: Its id.
        spec: Its document.
        points: Its points, in the order of their numbers.
    """

    id: str
    spec: SweepSpec
    points: Sequence[Observation]


def with_prior_results(sweep: SweepSpec, earlier: Sequence[EarlierSweep]) -> SweepSpec:
    """Return a sweep with the results of earlier sweeps in its document.

    If there are more of them than a sampler can take, half of them are the best ones, and the others the newest.

    Args:
        sweep: The sweep, which has ``search.warm_start``.
        earlier: The sweeps that it names.

    Raises:
        SpecError: Their objectives mean something else, or none of their results is in the space of the sweep.
    """
    assert sweep.search.warm_start is not None
    errors = [error for one in earlier for error in _incomparable(sweep, one)]
    if errors:
        raise SpecError(errors)
    goal, most = objective(sweep), _room(sweep)
    found: list[Observation] = []
    left_out = 0
    for one in earlier:
        inside, outside = _within(sweep, one, most, goal)
        found, left_out = found + inside, left_out + outside
    names = [one.id for one in earlier]
    if not found:
        problem = f"has no result in the space of this sweep; {left_out} lie outside" if left_out else "has no result"
        allowed = "an earlier sweep that has trained points of this space, or no warm_start"
        raise SpecError([FieldError(FIELD, ", ".join(names), problem, allowed)])
    differences = list(dict.fromkeys(text for one in earlier for text in _differences(sweep, one)))
    results = [PriorResult(params=one.params, objective=one.result or 0.0) for one in _chosen(found, most, goal)]
    warm = WarmStart(sweep=names, results=results, left_out=left_out, differences=differences)
    return sweep.model_copy(update={"search": sweep.search.model_copy(update={"warm_start": warm})})


def _room(sweep: SweepSpec) -> int:
    """Return how many results the sampler can take beside those of its own trials."""
    room = SAMPLERS[sweep.search.sampler].max_trials - (sweep.search.trials or 0)
    if room < 1:
        problem = f"leave no room for earlier results: sampler {sweep.search.sampler} learns from no more"
        allowed = f"at most {SAMPLERS[sweep.search.sampler].max_trials - 1} trials with a warm start"
        raise SpecError([FieldError("search.trials", sweep.search.trials, problem, allowed)])
    return min(room, MAX_PRIOR_RESULTS)


def _incomparable(sweep: SweepSpec, earlier: EarlierSweep) -> Iterator[FieldError]:
    """Yield why the objective of an earlier sweep means something else."""
    other = earlier.spec
    if sweep.task.name != other.task.name:
        problem = f"{earlier.id} is a sweep on task {other.task.name}, and this one is on {sweep.task.name}"
        yield FieldError(FIELD, earlier.id, problem, f"a sweep on task {sweep.task.name}")
        return
    own, theirs = objective(sweep), objective(other)
    if own != theirs:
        problem = f"{earlier.id} {theirs.direction}s {theirs.metric}, and this sweep {own.direction}s {own.metric}"
        yield FieldError(FIELD, earlier.id, problem, "a sweep with the same objective")
    if sweep.objective.statistic != other.objective.statistic:
        problem = f"{earlier.id} takes the {other.objective.statistic} of repeats, and this sweep the "
        yield FieldError(FIELD, earlier.id, problem + sweep.objective.statistic, "a sweep with the same statistic")
    searched = sweep.space.keys() | other.space.keys()
    for name in type(sweep.task).model_fields:
        if name not in TASK_PARTS and f"task.{name}" not in searched:
            mine, given = getattr(sweep.task, name), getattr(other.task, name)
            if mine != given:
                problem = f"{earlier.id} has task.{name} {given}, and this sweep {mine}"
                yield FieldError(FIELD, earlier.id, problem, "a sweep on the same task")
    if isinstance(sweep.task, DatasetTask) and isinstance(other.task, DatasetTask):
        facts, before = sweep.task.without_statistics().facts, other.task.without_statistics().facts
        for data in facts.keys() & before.keys():
            if facts[data] != before[data]:
                problem = f"the data of {data} have changed since {earlier.id} was submitted"
                yield FieldError(FIELD, earlier.id, problem, "a sweep on the same data")


def _differences(sweep: SweepSpec, earlier: EarlierSweep) -> Iterator[str]:
    """Yield, in words, the fields of model and training that both sweeps leave alone and that differ."""
    searched = sweep.space.keys() | earlier.spec.space.keys() | UNIMPORTANT
    for part in ("model", "training"):
        mine, other = getattr(sweep, part), getattr(earlier.spec, part)
        for name in type(mine).model_fields:
            if f"{part}.{name}" not in searched and getattr(mine, name) != getattr(other, name):
                yield f"{part}.{name} is {getattr(other, name)} in {earlier.id} and {getattr(mine, name)} here"


def _within(sweep: SweepSpec, earlier: EarlierSweep, most: int, goal: Objective) -> tuple[list[Observation], int]:
    """Return the results of an earlier sweep at points of the new space, and how many others there are."""
    known = [point for point in earlier.points if point.ended and point.result is not None]
    known.sort(key=lambda point: (point.place is None, point.place or 0, point.number))
    cheap = [point for point in known if _may_lie_in(sweep, point.params)]
    rules, found = rules_of(sweep), []
    # making a trial takes time, so no more are made than twice as many as can be taken
    examined = _chosen(cheap, 2 * most, goal)
    for one in examined:
        point = _point_of(sweep, rules, earlier.spec, one)
        if point is not None:
            found.append(Observation(one.number, point, one.result, True, one.place))
    return found, len(known) - len(cheap) + len(examined) - len(found)


def _may_lie_in(sweep: SweepSpec, params: Params) -> bool:
    return all(path not in sweep.space or lies_in(value, sweep.space[path]) for path, value in params.items())


def _point_of(sweep: SweepSpec, rules: PointRules, other: SweepSpec, earlier: Observation) -> Params | None:
    """Return an earlier point as one of the new space; None if it is none, or if its trial was another one."""
    theirs = plan_trial(other, earlier.number, earlier.params).spec
    if theirs is None:
        return None
    found: Params = {}
    for path in rules.order:
        if rules.exists(path, found):
            value = earlier.params.get(path, _value(theirs, path))
            if value is None or not lies_in(value, sweep.space[path]):
                return None
            found[path] = value
    point = {path: found[path] for path in sweep.space if path in found}
    mine = None if rules.broken(point) else plan_trial(sweep, 0, point).spec
    if mine is None:
        return None
    for path in other.space:
        # what the earlier sweep searched, and this one does not, has the value that it has here
        if path not in sweep.space and path not in UNIMPORTANT and _value(mine, path) != _value(theirs, path):
            return None
    return point if _same_task(mine, theirs) else None


def _same_task(mine: TrialSpec, theirs: TrialSpec) -> bool:
    names = (name for name in type(mine.task).model_fields if name != "facts")
    return all(getattr(mine.task, name) == getattr(theirs.task, name) for name in names)


def _value(trial: TrialSpec, path: str) -> Any:
    part, _, name = path.partition(".")
    return getattr(getattr(trial, part), name, None)


def _chosen(found: Sequence[Observation], most: int, goal: Objective) -> list[Observation]:
    """Return at most so many results in their order: half of them the best, and the others the newest."""
    if len(found) <= most:
        return list(found)
    places = sorted(range(len(found)), key=lambda place: (-goal.merit(found[place].result), -place))
    chosen = set(places[: most // 2])
    for place in range(len(found) - 1, -1, -1):
        if len(chosen) == most:
            break
        chosen.add(place)
    return [found[place] for place in sorted(chosen)]

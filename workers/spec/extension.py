"""Further trials for a sweep: a greater number of them, or new values of a grid's dimensions.

Trials that exist keep their numbers and points, whatever is added later. A sampler that takes a number of trials goes
on where it was. A grid is a set of points, and the number of a point in the larger grid is another one than in the
smaller; so the points that no trial has yet are appended, in the order of the larger grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workers.errors import FieldError, SpecError
from workers.spec import expand
from workers.spec.expand import points_of
from workers.spec.field_errors import MAX_LETTERS, MAX_SHOWN, refuse_unknown, shorten
from workers.spec.samplers import SAMPLERS, Observation
from workers.spec.samplers.grid import grid_values
from workers.spec.search_space import MAX_TRIALS, Params
from workers.spec.sweep import SweepSpec


@dataclass(frozen=True)
class Extension:
    """What is added to a sweep. Exactly one of the two is given.

    Attributes:
        trials: The number of further trials, with ``repeats`` of points; None if values are added.
        space: New values by the path of the dimension that gets them; empty if trials are added.
    """

    trials: int | None
    space: dict[str, list[Any]]


def parse_extension(document: Any) -> Extension:
    """Return what a document such as ``{"trials": 8}`` or ``{"space": {"model.margin": [0.3]}}`` adds to a sweep.

    Raises:
        SpecError: It is no such document.
    """
    if not isinstance(document, dict) or not document:
        problem = "is not what a sweep is extended by"
        raise SpecError([FieldError("(document)", shorten(document), problem, 'an object with "trials" or "space"')])
    refuse_unknown(document, ("trials", "space"))
    if len(document) == 2:
        problem = "and space cannot be given together: the sampler takes one of them"
        raise SpecError([FieldError("trials", shorten(document["trials"]), problem, "trials or space")])
    if "trials" in document:
        number = document["trials"]
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_TRIALS:
            problem = "is not a number of further trials"
            raise SpecError(
                [FieldError("trials", shorten(number), problem, f"a whole number from 1 to {MAX_TRIALS:,}")]
            )
        return Extension(number, {})
    space = document["space"]
    if not isinstance(space, dict) or not space:
        problem, allowed = "names no dimension", 'an object such as {"model.margin": [0.3]}'
        raise SpecError([FieldError("space", shorten(space), problem, allowed)])
    errors = [
        FieldError(
            f"space.{path}"[:MAX_LETTERS], shorten(values), "is not a list of new values", "a list such as [0.3]"
        )
        for path, values in space.items()
        if not isinstance(values, list) or not values
    ]
    if errors:
        raise SpecError(errors[:MAX_SHOWN])
    return Extension(None, space)


def extended_document(sweep: SweepSpec, stored: dict[str, Any], extension: Extension, count: int) -> dict[str, Any]:
    """Return the document of a sweep with what is added to it. It has yet to be checked, as a new document has.

    Args:
        sweep: The sweep.
        stored: Its stored document.
        extension: What is added.
        count: The number of trials that it has without that. With ``repeats``, ``extension.trials`` counts points.

    Raises:
        SpecError: The sweep's sampler does not take what is added, or a dimension is unknown or has a value already.
    """
    name = sweep.search.sampler
    takes_trials = SAMPLERS[name].takes_trials
    if extension.trials is not None:
        if not takes_trials:
            problem = f"sampler {name} decides the number of trials itself"
            allowed = 'new values of its dimensions: {"space": {"PATH": [VALUE]}}'
            raise SpecError([FieldError("trials", extension.trials, problem, allowed)])
        points = count // sweep.repeats
        if (points + extension.trials) * sweep.repeats > MAX_TRIALS:
            each = "" if sweep.repeats == 1 else f", with {sweep.repeats} repeats of each point,"
            problem = f"and the {count:,} trials that the sweep has{each} are more than a sweep may have"
            most = f"at most {MAX_TRIALS // sweep.repeats - points:,}"
            raise SpecError([FieldError("trials", extension.trials, problem, most)])
        return stored | {"search": stored["search"] | {"trials": points + extension.trials}}
    if takes_trials:
        problem = f"can be extended only in a grid: sampler {name} draws from the whole space already"
        raise SpecError([FieldError("space", sorted(extension.space), problem, '{"trials": NUMBER}')])
    errors = list(_misfits(sweep, extension.space))
    if errors:
        raise SpecError(errors[:MAX_SHOWN])
    space = dict(stored["space"])
    for path, values in extension.space.items():
        dimension = sweep.space[path]
        # a range becomes the list of its points: new values need not lie evenly
        space[path] = {"values": [*grid_values(dimension), *values]} | (
            {"when": dimension.when} if dimension.when else {}
        )
    return stored | {"space": space}


def in_extension(error: FieldError, sweep: SweepSpec, extension: Extension) -> FieldError:
    """Return an error about the extended document with the field as the extension names it."""
    for path in extension.space:
        before, prefix = len(grid_values(sweep.space[path])), f"space.{path}.values."
        position = error.field.removeprefix(prefix)
        if error.field.startswith(prefix) and position.isdigit() and int(position) >= before:
            place = f"space.{path}.{int(position) - before}"
            return FieldError(place, error.given, error.problem, error.allowed)
    return error


def next_points(sweep: SweepSpec, earlier: Sequence[Observation], most: int | None = None) -> list[Params]:
    """Return the values of the trials that follow ``earlier``, also if the sweep was extended since they were made.

    Args:
        sweep: The sweep.
        earlier: All trials that exist, by number from 0, with their results so far.
        most: The largest number of trials to return; None for no limit.

    Raises:
        SamplerError: The sampler fails, or breaks its contract.
    """
    if earlier and not SAMPLERS[sweep.search.sampler].takes_trials:
        return new_points(sweep, (trial.params for trial in earlier))[:most]
    return expand.next_points(sweep, earlier, most)


def new_points(sweep: SweepSpec, taken: Iterable[Params]) -> list[Params]:
    """Return the values of all trials of a sweep whose sampler decides their number that no trial has yet, in order.

    Args:
        sweep: The sweep.
        taken: The values of the trials that exist.
    """
    left = Counter(_key(params) for params in taken)
    found = []
    for params in points_of(sweep):
        key = _key(params)
        if left[key]:
            left[key] -= 1
        else:
            found.append(params)
    return found


def _misfits(sweep: SweepSpec, space: dict[str, list[Any]]) -> Iterable[FieldError]:
    for path, values in space.items():
        dimension = sweep.space.get(path)
        if dimension is None:
            problem = "is not a dimension of this sweep"
            yield FieldError(
                f"space.{path}"[:MAX_LETTERS], shorten(values), problem, f"one of {', '.join(sweep.space)}"
            )
            continue
        known = {_of_kind(value) for value in grid_values(dimension)}
        for place, value in enumerate(values):
            if isinstance(value, bool | int | float | str):
                if _of_kind(value) in known:
                    problem = "is a value of this dimension already, or is given twice"
                    yield FieldError(f"space.{path}.{place}", shorten(value), problem, "values that it does not have")
                known.add(_of_kind(value))


def _key(params: Params) -> frozenset[tuple[str, tuple[bool, Any]]]:
    """Return a point as a key: equal points have equal keys, and true is not 1."""
    return frozenset((path, _of_kind(value)) for path, value in params.items())


def _of_kind(value: Any) -> tuple[bool, Any]:
    return isinstance(value, bool), value

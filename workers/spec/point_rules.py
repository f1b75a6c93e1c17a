"""Which points of a search space there are: conditions of its dimensions, and constraints over several fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from workers.spec.constraint import Constraint
from workers.spec.search_space import Params, Scalar, SearchSpace, Values


class PointRules:
    """Tell which dimensions exist at a point, and whether a point may be a trial.

    Args:
        space: The dimensions. Their conditions are those that ``condition_problems`` accepts.
        constraints: What every point has to satisfy.
        fixed: The values of the fields that constraints name and the space does not search.
    """

    def __init__(
        self, space: SearchSpace, constraints: Sequence[Constraint] = (), fixed: Mapping[str, Scalar] | None = None
    ) -> None:
        self.space, self.constraints, self.fixed = space, tuple(constraints), dict(fixed or {})
        self.conditional = any(dimension.when for dimension in space.values())
        self.order = tuple(_controllers_first(space))
        """The paths of the dimensions, each after those that its condition names."""

    @property
    def trivial(self) -> bool:
        """Whether every combination of the dimensions' values is a point."""
        return not self.conditional and not self.constraints

    def exists(self, path: str, point: Mapping[str, Scalar]) -> bool:
        """Return whether a dimension exists at a point, which has the dimensions before it in ``order``."""
        return all(
            other in point and is_listed(point[other], allowed)
            for other, allowed in (self.space[path].when or {}).items()
        )

    def settle(self, point: Mapping[str, Scalar]) -> Params:
        """Return the point without the dimensions that do not exist there, in the order of the space."""
        if not self.conditional:
            return dict(point)
        found: Params = {}
        for path in self.order:
            if path in point and self.exists(path, found):
                found[path] = point[path]
        return {path: found[path] for path in self.space if path in found}

    def broken(self, point: Mapping[str, Scalar]) -> Constraint | None:
        """Return the first constraint that a settled point breaks, None if it satisfies all.

        A constraint says nothing about points at which one of its fields does not exist.
        """
        if not self.constraints:
            return None
        values = {**self.fixed, **point}
        for constraint in self.constraints:
            if all(field in values for field in constraint.fields) and not constraint.holds(values):
                return constraint
        return None


def is_listed(value: Scalar, values: Sequence[Scalar]) -> bool:
    """Return whether a value is one of a list; true and 1 are different values."""
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values)


def condition_problems(space: SearchSpace) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the conditions of a space: the field below ``space``, the problem, what is allowed.

    A condition names other dimensions that are lists, and values of these lists. Conditions do not go in a circle, and
    they can be met: what a dimension asks of another agrees with what the dimensions that it depends on ask of it.
    """
    named = False
    for path, dimension in space.items():
        for other, allowed in (dimension.when or {}).items():
            field, controller = f"{path}.when.{other}", space.get(other)
            if not isinstance(controller, Values) or other == path:
                lists = [name for name, one in space.items() if isinstance(one, Values) and name != path]
                named = True
                choice = f"one of {', '.join(lists)}" if lists else "leave when out"
                yield field, "is not another dimension that is a list of values", choice
                continue
            unknown = [value for value in allowed if not is_listed(value, controller.values)]
            if unknown or not allowed:
                named = True
                problem = f"{other} never has the value {unknown[0]}" if unknown else "has no values"
                yield field, problem, f"one of {', '.join(map(str, controller.values))}"
    if named:
        return
    for path in space:
        contradiction = _contradiction(space, path)
        if contradiction is not None:
            yield f"{path}.when", contradiction, "conditions that can be met together"


def _contradiction(space: SearchSpace, path: str) -> str | None:
    """Return why a dimension can never exist, None if it can: a circle, or two conditions that exclude each other."""
    asked: dict[str, Sequence[Scalar]] = {}
    waiting, seen = [path], {path}
    while waiting:
        current = waiting.pop()
        for other, allowed in (space[current].when or {}).items():
            if other == path:
                return f"depends on {current}, which depends on {path}"
            both = [value for value in asked.get(other, allowed) if is_listed(value, allowed)]
            if not both:
                return f"never exists: its conditions ask for different values of {other}"
            asked[other] = both
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return None


def _controllers_first(space: SearchSpace) -> Iterator[str]:
    """Yield the paths of a space in its order, but each after those that its condition names, if they are no circle."""
    placed: set[str] = set()
    remaining = list(space)
    while remaining:
        ready = next((p for p in remaining if all(o in placed for o in space[p].when or {} if o in space)), None)
        chosen = remaining[0] if ready is None else ready
        remaining.remove(chosen)
        placed.add(chosen)
        yield chosen

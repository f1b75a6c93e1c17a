"""Constraints: comparisons of several fields of a trial, in a small language of their own.

A constraint is text such as ``model.reflectors_u + model.reflectors_v <= model.hidden_size``. It is read with Python's
parser, but only the forms below are accepted, and it is computed by walking the tree: no Python code is run.

- fields by their dotted paths, numbers, text in quotes, ``true`` and ``false``
- ``+  -  *  /  //  %`` of numbers, and ``min``, ``max`` and ``abs``
- comparisons, which can be chained: ``<  <=  >  >=  ==  !=``, and ``in`` with a list in brackets
- ``and``, ``or`` and ``not`` of comparisons
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

from workers.spec.search_space import Scalar

MAX_LENGTH, MAX_DEPTH, MAX_NODES = 300, 16, 100
"""The largest number of characters of a constraint, of levels of its tree, and of operators, fields and numbers."""

ValueKind = Literal["number", "text", "truth"]
"""What an expression, or the values of a field, are."""
_Compute = Callable[[Mapping[str, Scalar]], Any]

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUALITIES: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs}
_NAMES: dict[str, bool] = {"true": True, "false": False, "True": True, "False": False}
ALLOWED = (
    "a comparison of fields such as model.margin * task.length <= 10: numbers, fields, + - * / // %, min, max, abs, "
    "< <= > >= == != in, and, or, not"
)
"""What a constraint may be, for messages."""


class ConstraintError(ValueError):
    """A constraint is not in the language, or compares what cannot be compared."""


@dataclass(frozen=True)
class Constraint:
    """A constraint that was read.

    Attributes:
        text: The constraint as it was given.
        fields: The dotted paths of the fields that it names, each once, as they come.
    """

    text: str
    fields: tuple[str, ...]
    _tree: ast.expr

    def check_kinds(self, kinds: Mapping[str, ValueKind]) -> None:
        """Raise ConstraintError unless each operator gets what it can compute, and the result is a comparison's.

        Args:
            kinds: What the values of each field are, by its path.
        """
        if _Reader(kinds).read(self._tree) != "truth":
            raise ConstraintError("compares nothing: its result is no yes or no")

    def holds(self, values: Mapping[str, Scalar]) -> bool:
        """Return whether the constraint holds for values of its fields; false if it divides by 0 or overflows.

        Args:
            values: A value for each of ``fields``, of the kind that ``check_kinds`` has accepted.
        """
        try:
            return bool(_compute(self._tree, values))
        except ArithmeticError:
            return False


@lru_cache(maxsize=1024)
def parse_constraint(text: str) -> Constraint:
    """Read a constraint.

    Raises:
        ConstraintError: The text is too long or nested too deeply, or has something that the language lacks.
    """
    if len(text) > MAX_LENGTH:
        raise ConstraintError(f"has {len(text):,} characters, more than {MAX_LENGTH}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of strange escapes in text, which do no harm
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ConstraintError("is not an expression that can be read") from None
    reader = _Reader(None)
    reader.read(tree)
    if not reader.fields:
        raise ConstraintError("names no field")
    return Constraint(text, tuple(reader.fields), tree)


class _Reader:
    """Walks a tree, refuses what the language lacks, collects the fields, and tells of which kind each part is.

    Args:
        kinds: The kinds of the fields; None while they are unknown, when kinds are not compared.
    """

    def __init__(self, kinds: Mapping[str, ValueKind] | None) -> None:
        self.fields: dict[str, None] = {}
        self._kinds = kinds
        self._nodes = 0

    def read(self, node: ast.expr, depth: int = 1) -> ValueKind | None:
        """Return the kind of a part of the expression, None if it is unknown."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise ConstraintError(f"is nested more than {MAX_DEPTH} deep, or has more than {MAX_NODES} parts")
        below = depth + 1
        match node:
            case ast.Constant(value=bool()):
                return "truth"
            case ast.Constant(value=int() | float()):
                return "number"
            case ast.Constant(value=str()):
                return "text"
            case ast.Name(id=name) if name in _NAMES:
                return "truth"
            case ast.Attribute(value=ast.Name(id=part), attr=field):
                self.fields[f"{part}.{field}"] = None
                return None if self._kinds is None else self._kinds[f"{part}.{field}"]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._expect("number", [operand], "-", below)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._expect("truth", [operand], "not", below)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                return self._expect("number", [left, right], "arithmetic", below)
            case ast.BoolOp(values=parts):
                return self._expect("truth", parts, "and, or", below)
            case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in _FUNCTIONS:
                if len(given) != 1 if name == "abs" else len(given) < 2:
                    raise ConstraintError(f"gives {name} {len(given)} values: abs takes one, min and max two or more")
                return self._expect("number", given, name, below)
            case ast.Compare(left=left, ops=ops, comparators=others):
                for first, comparison, second in zip([left, *others], ops, others, strict=False):
                    self._read_comparison(first, comparison, second, below)
                return "truth"
        raise ConstraintError(f"has {_name_of(node)}, which no constraint may have")

    def _expect(self, kind: ValueKind, parts: list[ast.expr], what: str, depth: int) -> ValueKind:
        for part in parts:
            found = self.read(part, depth)
            if found not in (kind, None):
                needed = "numbers" if kind == "number" else "comparisons"
                raise ConstraintError(f"uses {what} with {ast.unparse(part)}, but it takes {needed}")
        return kind

    def _read_comparison(self, first: ast.expr, op: ast.cmpop, second: ast.expr, depth: int) -> None:
        if type(op) in _ORDERS:
            self._expect("number", [first, second], "an order", depth)
            return
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(second, ast.List | ast.Tuple) or not second.elts:
                raise ConstraintError('uses "in" without a list in brackets')
            others = second.elts
        elif type(op) in _EQUALITIES:
            others = [second]
        else:
            raise ConstraintError("uses a comparison that the language lacks")
        kind = self.read(first, depth)
        for other in others:
            found = self.read(other, depth)
            if kind is not None and found is not None and found != kind:
                raise ConstraintError(f"compares {ast.unparse(first)}, which is {kind}, with {ast.unparse(other)}")


def _compute(node: ast.expr, values: Mapping[str, Scalar]) -> Any:
    """Return the value of a part of an expression that ``_Reader`` has accepted."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _NAMES[name]
        case ast.Attribute(value=ast.Name(id=part), attr=field):
            return values[f"{part}.{field}"]
        case ast.BinOp(op=op, left=left, right=right):
            return _ARITHMETIC[type(op)](_compute(left, values), _compute(right, values))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_compute(operand, values)
        case ast.UnaryOp(operand=operand):
            return not _compute(operand, values)
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_compute(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_compute(part, values) for part in parts)
        case ast.Call(func=ast.Name(id=name), args=given):
            return _FUNCTIONS[name](*(_compute(one, values) for one in given))
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_compute(part, values) for part in parts]
        case ast.Compare(left=left, ops=ops, comparators=others):
            found = [_compute(part, values) for part in (left, *others)]
            return all(_compare(op, *pair) for op, pair in zip(ops, pairwise(found), strict=True))
    raise AssertionError(f"{ast.dump(node)} was accepted")


def _compare(op: ast.cmpop, first: Any, second: Any) -> bool:
    if isinstance(op, ast.In | ast.NotIn):
        return (first in second) == isinstance(op, ast.In)
    return bool((_ORDERS | _EQUALITIES)[type(op)](first, second))


def _name_of(node: ast.expr) -> str:
    """Return a part of an expression as a message shows it: at most 40 characters."""
    text = ast.unparse(node)
    return text if len(text) <= 40 else text[:37] + "..."

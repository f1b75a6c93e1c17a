"""The dimensions of a search space: a list of values, or a range of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from workers.spec.base_spec import SpecPart, invalid_field

MAX_TRIALS = 20_000
"""The most trials of a sweep."""
MAX_DIMENSIONS = 32
"""The most fields that a sweep may search."""


def _is_finite(value: int | float) -> bool:
    """Return whether a number is finite; false for an integer too large for a float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _check_scalar(value: Any) -> bool | int | float | str:
    """Return ``value`` if it is a finite number, text or a boolean, and raise otherwise."""
    if isinstance(value, bool | str) or (isinstance(value, int | float) and _is_finite(value)):
        return value
    allowed = "a finite number, text, true or false"
    raise PydanticCustomError("scalar", "is not a finite number, text or true/false", {"expected": allowed})


def _check_number(value: Any) -> int | float:
    """Return ``value`` if it is a finite number, and raise otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
        return value
    raise PydanticCustomError("number", "is not a number that a range can end at", {"expected": "a finite number"})


Scalar = Annotated[
    bool | int | float | str, PlainValidator(_check_scalar), WithJsonSchema({"type": ["boolean", "number", "string"]})
]
Number = Annotated[int | float, PlainValidator(_check_number), WithJsonSchema({"type": "number"})]

Params = dict[str, Scalar]
"""The point of one trial: a value for every dimension, by the dotted path of the field that it sets."""


def _as_list(given: Any) -> list[Any]:
    """Return a list as it is, and anything else as a list of one."""
    return given if isinstance(given, list) else [given]


Condition = dict[str, Annotated[list[Scalar], BeforeValidator(_as_list)]]
"""Where a dimension exists: for each path of another dimension, the values at which it does."""


class Dimension(SpecPart):
    """One dimension of a search space: a field of the trials that is searched."""

    when: Condition | None = Field(
        default=None,
        max_length=8,
        description="where the dimension exists: the values of other dimensions, as in "
        '{"model.kind": ["spectral_rnn", "ornn"]}; elsewhere the field keeps its value from the document',
    )


class Values(Dimension):
    """A dimension that takes one of the listed values at each point."""

    values: list[Scalar] = Field(min_length=1, max_length=MAX_TRIALS, description="the values, each listed once")

    @property
    def is_numeric(self) -> bool:
        """Whether the list holds numbers alone."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        if len({(isinstance(v, bool), v) for v in self.values}) < len(self.values):
            raise invalid_field("values", "a value is listed twice", "each value once")
        return self


class Range(Dimension):
    """A dimension between ``low`` and ``high``, both included.

    If both are integers, and ``step`` too if it is given, all values are integers.
    """

    low: Number = Field(description="the smallest value")
    high: Number = Field(description="the largest value; greater than low")
    log: bool = Field(default=False, description="true: space values evenly by their logarithm, which needs low > 0")
    grid: int | None = Field(
        default=None,
        ge=1,
        le=MAX_TRIALS,
        description="number of points that the grid sampler takes, low and high included; "
        "a range of integers without it takes every integer",
    )

    step: Number | None = Field(
        default=None,
        gt=0,
        description="distance between neighbouring values, which start at low; not with log or grid",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.low < self.high:
            raise invalid_field("low", f"low {self.low} is not below high {self.high}", "a number below high")
        if self.log and self.low <= 0:
            problem = f"a logarithmic range starts above 0, not at {self.low}"
            raise invalid_field("low", problem, "above 0, or log: false")
        if self.step is not None:
            self._check_step(self.step)
        return self

    def _check_step(self, step: int | float) -> None:
        """Raise if ``step`` does not go with the other fields."""
        if self.log or self.grid is not None:
            other = "log" if self.log else "grid"
            raise invalid_field("step", f"a range has a step or {other}, not both", f"leave out step or {other}")
        if isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(step, int):
            raise invalid_field("step", f"a range of integers has no step of {step}", "a whole number, or low: 0.0")
        if step > self.high - self.low:
            problem = f"step {step} is more than the distance from low to high"
            raise invalid_field("step", problem, f"at most {self.high - self.low}")

    @property
    def is_integer(self) -> bool:
        """Whether the range holds integers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def count(self) -> int | None:
        """The number of values of a range with a step, and of one of integers without ``log``; None for any other."""
        if self.step is not None:
            # the last value counts although its distance from low, computed in floats, may be a little more than high's
            return math.floor((self.high - self.low) / self.step * (1 + 1e-12) + 1e-9) + 1
        return int(self.high) - int(self.low) + 1 if self.is_integer and not self.log else None

    def nth(self, position: int) -> int | float:
        """Return the value at a position from 0 of a range that has a ``count``; rounded to 12 digits if no integer."""
        if self.is_integer:
            return int(self.low) + position * int(self.step or 1)
        value = self.low + position * (self.step or 1)
        return float(f"{min(value, self.high):.12g}")

    def at(self, fraction: float) -> int | float:
        """Return the value that lies a ``fraction`` (0 to 1) of the way from ``low`` to ``high``.

        The way is measured in logarithms if ``log`` is set. The value is rounded to an integer if ``is_integer``, to
        one that ``step`` allows if there is a step, and else to 12 digits.
        """
        low, high = self.low, self.high
        if self.step is not None and self.count is not None:
            return self.nth(round(fraction * (self.count - 1)))
        if fraction in (0.0, 1.0):
            return high if fraction else low
        if self.log:
            value = math.exp(math.log(low) + fraction * (math.log(high) - math.log(low)))
        else:
            value = low + fraction * (high - low)
        return min(max(round(value), int(low)), int(high)) if self.is_integer else float(f"{value:.12g}")


def _dimension_tag(value: Any) -> str:
    """Return "Range" if a dimension's document has ``low`` or ``high``, and else "Values"."""
    given = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return "Range" if "low" in given or "high" in given else "Values"


def _expand_list(value: Any) -> Any:
    """Turn a plain list into the document of ``Values``; leave everything else as it is."""
    return {"values": value} if isinstance(value, list) else value


AnyDimension = Annotated[
    Annotated[Values, Tag("Values")] | Annotated[Range, Tag("Range")],
    Discriminator(_dimension_tag),
    BeforeValidator(_expand_list),
]

SearchSpace = Mapping[str, Values | Range]
"""The dimensions of a sweep, by the dotted path of the field that each one sets."""

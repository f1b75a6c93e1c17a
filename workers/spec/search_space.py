"""The dimensions of a search space: listed values, or a range."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from workers.spec.base_spec import SpecPart, wrong

MAX_TRIALS = 10_000


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


class Values(SpecPart):
    """A dimension that takes each of the listed values."""

    values: list[Scalar] = Field(min_length=1, max_length=MAX_TRIALS)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({(isinstance(v, bool), v) for v in self.values}) < len(self.values):
            raise wrong("values", "a value is listed twice", "each value once")
        return self


class Range(SpecPart):
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
            raise wrong("low", f"low {self.low} is not below high {self.high}", "a number below high")
        if self.log and self.low <= 0:
            raise wrong("low", f"a logarithmic range starts above 0, not at {self.low}", "above 0, or log: false")
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

"""The base class of every part of a sweep document."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class SpecPart(BaseModel):
    """One part of a sweep document: unknown fields are refused, types are not converted, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def invalid_field(name: str, problem: str, allowed: str) -> PydanticCustomError:
    """Return the error that a validator raises when a field of its own part is wrong.

    Args:
        name: The field, as a dotted path below the part.
        problem: What is wrong with it. Braces are kept as they are.
        allowed: What the user may give instead.
    """
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "name": name, "expected": allowed})

"""What every part of a sweep's document is made from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class SpecPart(BaseModel):
    """A part of the document: no unknown fields, no silent conversion, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def wrong(name: str, problem: str, allowed: str) -> PydanticCustomError:
    """The field ``name`` of the part at hand is wrong; braces in the texts stand for themselves."""
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "name": name, "expected": allowed})

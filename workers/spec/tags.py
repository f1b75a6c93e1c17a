"""Tags: a few short words by which users find their sweeps again. They change nothing about training."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

TAG_LENGTH, MAX_TAGS = 40, 10
"""The largest number of characters of a tag, and of tags of a sweep."""
_ALLOWED = "printable text without spaces and commas, such as baseline or run:7"


def _check_word(tag: str) -> str:
    """Return ``tag`` if it is one word, and raise otherwise."""
    if not tag.isprintable() or "," in tag or any(letter.isspace() for letter in tag):
        raise PydanticCustomError("tag", "is not one word", {"expected": _ALLOWED})
    return tag


def _check_different(tags: list[str]) -> list[str]:
    """Return ``tags`` if no two of them are the same, and raise otherwise."""
    if twice := next((tag for place, tag in enumerate(tags) if tag in tags[:place]), None):
        raise PydanticCustomError("tags", "has {tag} twice", {"tag": twice, "expected": "each tag once"})
    return tags


Tag = Annotated[str, StringConstraints(min_length=1, max_length=TAG_LENGTH), AfterValidator(_check_word)]
Tags = Annotated[
    list[Tag],
    AfterValidator(_check_different),
    Field(
        max_length=MAX_TAGS,
        description="short words by which the sweep is found again, such as baseline; they change nothing about it",
        json_schema_extra={"uniqueItems": True},
    ),
]

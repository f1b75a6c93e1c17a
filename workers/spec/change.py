"""What may be changed of a sweep that was submitted: its place in the queue, its tags, and whether it is archived."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError

from workers.errors import FieldError, SpecError
from workers.spec.base_spec import SpecPart
from workers.spec.field_errors import MAX_LETTERS, MAX_SHOWN, field_errors, shorten
from workers.spec.sweep import HIGHEST_PRIORITY, LOWEST_PRIORITY, MAX_PARALLEL
from workers.spec.tags import Tags


class SweepChange(SpecPart):
    """New values of some fields of a sweep; those that are left out stay as they are."""

    priority: int = Field(default=0, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="the greater comes first")
    max_parallel: int | None = Field(
        default=None, ge=1, le=MAX_PARALLEL, description="trials that run at the same time; null: as many as fit"
    )
    tags: Tags = Field(default=[])
    archived: bool = Field(default=False, description="whether lists leave the sweep out; true once it has ended")


def parse_change(document: Any) -> dict[str, Any]:
    """Return the fields that a document such as ``{"priority": 5}`` changes, with their new values.

    Raises:
        SpecError: It is no such document.
    """
    *names_before, last = SweepChange.model_fields
    names = f"{', '.join(names_before)} or {last}"
    if not isinstance(document, dict) or not document:
        raise SpecError([FieldError("(document)", shorten(document), "changes nothing", f"an object with {names}")])
    unknown = [str(name) for name in document if name not in SweepChange.model_fields]
    if unknown:
        problem = "cannot be changed of a sweep that was submitted"
        raise SpecError(
            [FieldError(name[:MAX_LETTERS], shorten(document[name]), problem, names) for name in unknown[:MAX_SHOWN]]
        )
    try:
        found = SweepChange.model_validate(document)
    except ValidationError as error:
        raise SpecError(field_errors(error)) from None
    return found.model_dump(include=set(document))

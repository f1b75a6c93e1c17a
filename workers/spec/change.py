"""What may be changed of a sweep that was submitted: its place in the queue, its tags, and whether it is archived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from workers.errors import FieldError, SpecError
from workers.spec.base_spec import SpecPart
from workers.spec.field_errors import MAX_LETTERS, MAX_SHOWN, field_errors, shorten
from workers.spec.sweep import HIGHEST_PRIORITY, LOWEST_PRIORITY, MAX_PARALLEL
from workers.spec.tags import MAX_TAGS, Tags


class SweepChange(SpecPart):
    """New values of some fields of a sweep; those that are left out stay as they are."""

    priority: int = Field(default=0, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="the greater comes first")
    max_parallel: int | None = Field(
        default=None, ge=1, le=MAX_PARALLEL, description="trials that run at the same time; null: as many as fit"
    )
    tags: Tags = Field(default=[], description="all tags that the sweep has from now on")
    add_tags: Tags = Field(default=[], description="tags that it gets beside those that it has")
    remove_tags: Tags = Field(default=[], description="tags that are taken from it; those that it lacks change nothing")
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
    if "tags" in document and ({"add_tags", "remove_tags"} & set(document)):
        problem = "replaces all tags, so that nothing can be added to them or removed"
        raise SpecError([FieldError("tags", shorten(document["tags"]), problem, "tags alone, or the other two")])
    return found.model_dump(include=set(document))


def settled(changes: Mapping[str, Any], tags: list[str]) -> Mapping[str, Any]:
    """Return the changes of a sweep with its ``tags`` from now on, in place of those to add and those to remove.

    Args:
        changes: What ``parse_change`` returned.
        tags: The tags that the sweep has.

    Raises:
        SpecError: The sweep would have more than ``MAX_TAGS``.
    """
    others = {name: value for name, value in changes.items() if name not in ("add_tags", "remove_tags")}
    if len(others) == len(changes):
        return changes
    add, kept = changes.get("add_tags", []), [tag for tag in tags if tag not in changes.get("remove_tags", [])]
    found = list(dict.fromkeys([*kept, *add]))
    if len(found) > MAX_TAGS:
        problem = f"would make {len(found)} tags, with the {len(kept)} that the sweep keeps"
        raise SpecError([FieldError("add_tags", shorten(add), problem, f"at most {MAX_TAGS} tags in all")])
    return others | {"tags": found}

"""Turn pydantic's errors about a sweep document into ``FieldError``: dotted path, what was given, what is allowed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from workers.errors import FieldError, SpecError
from workers.spec.sweep import SweepSpec
from workers.tasks import TASKS
from workers.wording import describe, one_of

MAX_SHOWN = 20
MAX_LETTERS = 200
"""The most characters of a field's path, and of a text that was given, which are shown."""
_DIMENSIONS = ("Values", "Range")


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return the errors that pydantic found in a sweep or a trial, without repetitions and at most ``MAX_SHOWN``."""
    found = [_field_error(item) for item in error.errors(include_url=False)[: 5 * MAX_SHOWN]]
    return list({str(one): one for one in found}.values())[:MAX_SHOWN]


def refuse_unknown(document: Mapping[str, Any], known: Sequence[str], problem: str = "is not a known field") -> None:
    """Raise SpecError if a document has other fields than those that are ``known``; it shows at most ``MAX_SHOWN``."""
    unknown = [name for name in document if name not in known]
    if unknown:
        allowed = " or ".join(known)
        shown = [(name[:MAX_LETTERS], shorten(document[name])) for name in unknown[:MAX_SHOWN]]
        raise SpecError([FieldError(name, given, problem, allowed) for name, given in shown])


def _field_error(item: Any) -> FieldError:
    """Return one of pydantic's errors as a FieldError."""
    context = item.get("ctx") or {}
    location = [str(part) for part in item["loc"]]
    task = location[1] if location[:1] == ["task"] and len(location) > 1 else None
    path = [part for place, part in enumerate(location) if not _is_tag(location[0], place, part)]
    if "name" in context:
        path.append(str(context["name"]))
    field = ".".join(path)[:MAX_LETTERS] or "(document)"
    given, kind = item.get("input"), item["type"]
    for part in str(context.get("name", "")).split(".") if "name" in context else ():
        given = given.get(part) if isinstance(given, dict) else given
    if kind == "missing":
        return FieldError(field, None, *describe(kind, context, ""))
    if kind == "extra_forbidden":
        return FieldError(field, shorten(given), "is not a known field", _near(path, task))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        name = given.get("name") if isinstance(given, dict) else given
        return FieldError("task.name", shorten(name), "is not a known task", one_of(name, TASKS))
    if kind in ("model_type", "model_attributes_type") and path[:1] == ["space"]:
        allowed = 'a list, {"values": [...]}, or {"low": ..., "high": ...}'
        return FieldError(field, shorten(given), "is not a dimension", allowed)
    problem, allowed = describe(kind, context, str(item["msg"]))
    if kind == "literal_error" and isinstance(given, str):
        allowed = one_of(given, re.findall(r"'([^']*)'", str(context["expected"])))
    return FieldError(field, shorten(given), problem, allowed)


def _is_tag(top: str, place: int, part: str) -> bool:
    """Return whether a part of pydantic's location names a member of a union and not a key of the document."""
    return (top == "task" and place == 1 and part in TASKS) or (top == "space" and place == 2 and part in _DIMENSIONS)


def _near(path: list[str], task: str | None) -> str:
    """Return what to give instead of an unknown field: the known fields of its part, as text.

    A question with the most similar field comes first, if one is similar. The answer is "leave it out" if the part has
    no fields or its task is unknown.

    Args:
        path: The dotted path of the unknown field, split at its dots.
        task: The name of the task, for a field of ``task``.
    """
    parts: dict[str, type[BaseModel]] = {
        name: info.annotation
        for name, info in SweepSpec.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }
    spec = SweepSpec if len(path) < 2 else parts.get(path[0])
    names = list(spec.model_fields) if spec else []
    if path[0] == "task":
        names = list(TASKS[task].model_fields) if task in TASKS else []
    return one_of(path[-1], names) if names else "leave it out"


def shorten(value: Any) -> Any:
    """Return a value as an error can show it in JSON.

    Numbers, booleans, None and texts of at most 200 characters are returned as they are, but NaN and infinity as text,
    since JSON has neither. So are lists and objects whose JSON is that short. Anything else becomes the text of its
    JSON, cut to 200 characters.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str | int | float | bool | None) and len(str(value)) <= MAX_LETTERS:
        return value
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > MAX_LETTERS:
        return text[: MAX_LETTERS - 3] + "..."
    return value if _is_json(value) else text


def _is_json(value: Any) -> bool:
    """Return whether a value can be written as JSON without loss: it is made of JSON's types and has no NaN."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True

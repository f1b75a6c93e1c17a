"""Read answers of the service as the documents that describe them (``service.schemas``), also those of a newer one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.client.errors import ApiError

D = TypeVar("D", bound=BaseModel)


def read(document: type[D], answer: Any) -> D:
    """Return an answer as a document.

    A newer service may have added fields, which are left out, and words such as another state, which are kept.

    Raises:
        ApiError: The answer lacks a field or has another form, because the service is of another release.
    """
    try:
        return document.model_validate(answer)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        fault = next((one for one in faults if one["type"] != "literal_error"), None)
        if fault is None:
            return _with_new_words(document, answer, faults)
        place = ".".join(str(part) for part in fault["loc"])
        detail = (
            f"this client cannot read the answer as a {document.__name__}: {place}: {fault['msg']}. The service is "
            "of another release; install the same release here, or use RestClient, which reads every answer"
        )
        raise ApiError({"title": "Unexpected answer", "status": 200, "detail": detail}) from error


def _with_new_words(document: type[D], answer: Any, faults: Sequence[ErrorDetails]) -> D:
    """Return an answer as a document, with words in it that are none of those that the document allows.

    It is read with allowed words in their places, and these are then replaced.
    """
    known = deepcopy(answer)
    places: list[list[Any]] = [list(fault["loc"]) for fault in faults]
    for fault, (*path, last) in zip(faults, places, strict=True):
        holder = known
        for part in path:
            holder = holder[part]
        allowed = re.match(r"'(.*?)'", fault["ctx"]["expected"])
        holder[last] = allowed[1] if allowed else None
    found = document.model_validate(known)
    for fault, (*path, last) in zip(faults, places, strict=True):
        inner: Any = found
        for part in path:
            inner = inner[part] if isinstance(inner, list | dict) else getattr(inner, _attribute(inner, part))
        if isinstance(inner, list | dict):
            inner[last] = fault["input"]
        else:
            object.__setattr__(inner, _attribute(inner, last), fault["input"])
    return found


def _attribute(holder: Any, name: str) -> str:
    """Return the attribute of a document in which the field with this name in JSON is."""
    fields = getattr(type(holder), "model_fields", {})
    return next((own for own, field in fields.items() if field.alias == name), name)

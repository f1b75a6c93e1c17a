"""Read answers of the service as the documents that describe them (``service.schemas``)."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from service.client.errors import ApiError

D = TypeVar("D", bound=BaseModel)


def read(document: type[D], answer: Any) -> D:
    """Return an answer as a document. Fields that this release does not know are left out.

    Raises:
        ApiError: The answer lacks a field or has another form, because the service is of another release.
    """
    try:
        return document.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        detail = (
            f"this client cannot read the answer as a {document.__name__}: {place}: {first['msg']}. The service is of "
            "another release; install the same release here, or use RestClient, which reads every answer"
        )
        raise ApiError({"title": "Unexpected answer", "status": 200, "detail": detail}) from error

"""Times in the API's answers: RFC 3339 in UTC, with milliseconds. The database keeps seconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, WithJsonSchema


@lru_cache(maxsize=8192)  # lists show the same times again and again
def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as ``2026-11-26T11:04:05.123Z``, rounded to milliseconds."""
    moment = datetime.fromtimestamp(round(seconds, 3), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    datetime,
    AfterValidator(lambda moment: moment.astimezone(UTC)),
    PlainSerializer(lambda moment: rfc3339(moment.timestamp()), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-26T11:04:05.123Z"]}),
]
"""The type of a field that takes seconds since 1970 or the text of ``rfc3339``, and is that text in JSON."""

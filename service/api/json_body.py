"""The JSON body of a request: its content type is checked, and it is read up to a limit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service import strict_json
from service.api.problems import Refused
from workers.errors import FieldError

MAX_DRAINED_BYTES = 64_000_000
"""A body that is too large is read up to this size and thrown away, so that its sender gets to read the answer."""


@dataclass(frozen=True)
class JsonBody:
    """The body of a request, decoded from strict JSON."""

    content: Any

    @property
    def hashes(self) -> tuple[str, str]:
        """Digests of the document, which do not depend on white space and escapes in the text.

        The first does not depend on the order of keys either; both depend on whether a number is written as an integer.
        The second is the one that earlier releases stored with an idempotency key.
        """
        return _digest(self.content, sort_keys=True), _digest(self.content, sort_keys=False)


def _digest(content: Any, *, sort_keys: bool) -> str:
    text = json.dumps(content, separators=(",", ":"), sort_keys=sort_keys)
    return hashlib.sha256(text.encode()).hexdigest()


async def _posted(request: Request) -> JsonBody:
    """Read the body of a request and decode it as strict JSON.

    Raises:
        Refused: The content type is not JSON (415), the body is too large (413), or it is not strict JSON (422).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        detail = f"the content type is {kind or 'missing'}; send Content-Type: application/json"
        raise Refused(415, "Unsupported media type", detail)
    raw = await _read(request, request.app.state.context.settings.max_body_bytes)
    try:
        return JsonBody(await run_in_threadpool(strict_json.decode, raw))
    except strict_json.NotStrictJson as error:
        title = "Malformed JSON" if error.malformed else "Invalid JSON"
        raise Refused(422, title, f"the body {error}" if error.malformed else str(error), error.errors) from None


Posted = Annotated[JsonBody, Depends(_posted)]
"""The type of a handler's parameter that takes the decoded body."""


async def _read(request: Request, limit: int) -> bytes:
    """Return the body. Its bytes are counted as they arrive, since its Content-Length may be missing or wrong.

    Raises:
        Refused: The body has more than ``limit`` bytes (413).
    """
    kept, seen = bytearray(), 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen <= limit:
            kept += chunk
        elif seen > MAX_DRAINED_BYTES:
            break
    if seen > limit:
        detail = f"the body is larger than the {limit:,} bytes allowed"
        given = f"{seen:,} bytes" + (" and more" if seen > MAX_DRAINED_BYTES else "")
        error = FieldError(strict_json.WHOLE, given, "is too large", f"at most {limit:,} bytes")
        raise Refused(413, "Body too large", detail, [error])
    return bytes(kept)

"""JSON documents in request bodies: read up to a limit, decoded strictly, every refusal naming the place."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from service.api.problems import Refused
from workers.errors import FieldError

MAX_DEPTH = 32
MAX_DRAINED_BYTES = 64_000_000
MAX_SHOWN = 20


@dataclass(frozen=True)
class Document:
    """A decoded body. ``hash``: equal for equal documents, whatever the spaces between their tokens."""

    content: Any

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.content, separators=(",", ":")).encode()).hexdigest()


async def posted(request: Request) -> Document:
    """The body as a document. Refuses another content type (415), too many bytes (413), what is not JSON (400, 422)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(
            415, "Unsupported media type", f"content type is {kind or 'missing'}; send Content-Type: application/json"
        )
    return Document(decode(await _read(request, request.app.state.context.settings.max_body_bytes)))


Posted = Annotated[Document, Depends(posted)]


async def _read(request: Request, limit: int) -> bytes:
    """The body, counted as it comes. The rest of one too large is let through unkept, so that its sender hears why."""
    kept, seen = bytearray(), 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen <= limit:
            kept += chunk
        elif seen > MAX_DRAINED_BYTES:
            break
    if seen > limit:
        raise Refused(413, "Body too large", f"the body is larger than the {limit:,} bytes allowed")
    return bytes(kept)


def decode(raw: bytes) -> Any:
    """JSON as the standard has it: no NaN or Infinity, no key twice, sound UTF-8, and of a depth that can be shown."""
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_int=_whole)
    except UnicodeDecodeError as error:
        raise Refused(400, "Malformed JSON", f"the body is not UTF-8: byte {error.start} is {error.reason}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(400, "Malformed JSON", f"the body is not JSON at {where}: {error.msg}") from None
    except RecursionError:
        raise Refused(422, "Invalid JSON", f"the document is nested deeper than {MAX_DEPTH} levels") from None
    errors = [error for _, error in zip(range(MAX_SHOWN), _faults(document), strict=False)]
    if errors:
        raise Refused(422, "Invalid JSON", "; ".join(str(error) for error in errors), errors)
    return document


class _Repeated(dict[str, Any]):
    """An object in which a key stood twice."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) == len(pairs):
        return document
    repeated = _Repeated(document)
    names = [name for name, _ in pairs]
    repeated.key = next(name for name in names if names.count(name) > 1)
    return repeated


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= 19 else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def _faults(document: Any) -> Iterator[FieldError]:
    """What the decoder let through, with its place; without recursion, since the document may be a trap."""
    left: list[tuple[tuple[str, ...], Any]] = [((), document)]
    while left:
        path, value = left.pop()
        field = ".".join(path) or "(document)"
        if isinstance(value, float) and not math.isfinite(value):
            yield FieldError(field, str(value), "is not a finite number", "a number JSON can hold, below 1e308")
        elif isinstance(value, str):
            if _unpaired(value):
                yield FieldError(field, ascii(value)[:200], "has half of a surrogate pair", "text in Unicode")
        elif isinstance(value, dict | list) and len(path) >= MAX_DEPTH:
            yield FieldError(field[:200], "...", "is nested too deep", f"at most {MAX_DEPTH} levels")
        elif isinstance(value, list):
            left += [((*path, str(i)), item) for i, item in enumerate(value)]
        elif isinstance(value, dict):
            if isinstance(value, _Repeated):
                name = ascii(value.key)[1:-1]
                yield FieldError(".".join((*path, name)), name, "is given twice in one object", "each key once")
            for name in filter(_unpaired, value):
                yield FieldError(field, ascii(name)[:200], "is a key with half of a surrogate pair", "text in Unicode")
            left += [((*path, name), item) for name, item in value.items()]


def _unpaired(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)

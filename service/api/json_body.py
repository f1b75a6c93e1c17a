"""JSON documents in request bodies: read up to a limit, decoded strictly, every refusal naming the place."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from service.api.problems import Refused
from workers.errors import FieldError

MAX_DEPTH = 32
MAX_DRAINED_BYTES = 64_000_000
MAX_SHOWN = 20
MAX_NAME = 200
WHOLE = "(document)"


@dataclass(frozen=True)
class JsonBody:
    """A decoded body. ``hash``: equal for equal documents, whatever the spaces between their tokens."""

    content: Any

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.content, separators=(",", ":")).encode()).hexdigest()


async def posted(request: Request) -> JsonBody:
    """The body as a document. Refuses another content type (415), too many bytes (413), what is not JSON (422)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(
            415, "Unsupported media type", f"content type is {kind or 'missing'}; send Content-Type: application/json"
        )
    raw = await _read(request, request.app.state.context.settings.max_body_bytes)
    return JsonBody(await run_in_threadpool(decode, raw))


Posted = Annotated[JsonBody, Depends(posted)]


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
        problem = f"the body is larger than the {limit:,} bytes allowed"
        given = f"{seen:,} bytes" + (" and more" if seen > MAX_DRAINED_BYTES else "")
        error = FieldError(WHOLE, given, "is too large", f"at most {limit:,} bytes")
        raise Refused(413, "Body too large", problem, [error])
    return bytes(kept)


def decode(raw: bytes) -> Any:
    """JSON as the standard has it: no NaN or Infinity, no key twice, sound UTF-8, and of a depth that can be shown."""
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_int=_whole)
    except UnicodeDecodeError as error:
        given = f"byte {raw[error.start]:#04x}"
        problem = f"the body is not UTF-8: byte {error.start} is {error.reason}"
        raise _malformed(given, problem, "JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        given = error.doc[error.pos : error.pos + 40] or "nothing more" if error.doc.strip() else "an empty body"
        raise _malformed(given, f"the body is not JSON at {where}: {error.msg}", "a JSON object") from None
    except RecursionError:
        problem = f"the document is nested deeper than {MAX_DEPTH} levels"
        raise _malformed("...", problem, f"at most {MAX_DEPTH} levels") from None
    errors = [error for _, error in zip(range(MAX_SHOWN), _faults(document), strict=False)]
    if errors:
        raise Refused(422, "Invalid JSON", "; ".join(str(error) for error in errors), errors)
    return document


def _malformed(given: str, problem: str, allowed: str) -> Refused:
    return Refused(422, "Malformed JSON", problem, [FieldError(WHOLE, given, problem, allowed)])


class _Repeated(dict[str, Any]):
    """An object in which a key stood twice."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) == len(pairs):
        return document
    repeated = _Repeated(document)
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            repeated.key = name
            break
        seen.add(name)
    return repeated


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= 19 else math.copysign(math.inf, -1 if text[0] == "-" else 1)


def _faults(document: Any) -> Iterator[FieldError]:
    """What the decoder let through, with its place; without recursion, since the document may be a trap."""
    left: list[tuple[tuple[str, ...], Any]] = [((), document)]
    while left:
        path, value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            yield FieldError(_field(path), str(value), "is not a finite number", "a number JSON can hold, below 1e308")
        elif isinstance(value, str):
            if _unpaired(value):
                yield FieldError(
                    _field(path), ascii(value)[:MAX_NAME], "has half of a surrogate pair", "text in Unicode"
                )
        elif isinstance(value, dict | list) and len(path) >= MAX_DEPTH:
            yield FieldError(_field(path), "...", "is nested too deep", f"at most {MAX_DEPTH} levels")
        elif isinstance(value, list):
            left += [((*path, str(i)), item) for i, item in enumerate(value)]
        elif isinstance(value, dict):
            if isinstance(value, _Repeated):
                name = ascii(value.key)[1:-1][:MAX_NAME]
                yield FieldError(_field((*path, name)), name, "is given twice in one object", "each key once")
            for name in filter(_unpaired, value):
                yield FieldError(
                    _field(path), ascii(name)[:MAX_NAME], "is a key with half of a surrogate pair", "text in Unicode"
                )
            left += [((*path, name), item) for name, item in value.items()]


def _field(path: tuple[str, ...]) -> str:
    """Made for what is wrong alone: a long key over many values would be copied for each."""
    return ".".join(part[:MAX_NAME] for part in path)[:MAX_NAME] or WHOLE


def _unpaired(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text)

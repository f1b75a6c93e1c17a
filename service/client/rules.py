"""What a client decides about calls and answers, without input or output of its own.

The blocking and the asynchronous sender ask these rules: whether a call is repeated and after how long, which error it
ends with, what a line of an event stream means, and where a list goes on.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from service.client.errors import ApiError, ServiceUnreachable
from service.http_client import reason
from service.states import SWEEP_ENDED

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]

ENDS = frozenset(f"sweep.{state}" for state in SWEEP_ENDED)
"""The kinds of a sweep's last event: ``sweep.`` and the state in which the sweep has ended."""
LATER = frozenset({429, 503})
"""The statuses of calls to repeat: there are too many at once, or the service cannot work for now."""
CALIBRATION_SECONDS = 120.0
"""For how long a calibration may say nothing."""
SILENCE_SECONDS = 60.0
"""An event stream on which nothing arrives for this long is broken: the server sends something every 15 seconds."""
RECONNECT_SECONDS = 0.2
"""The pause before a broken event stream is opened again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""The pauses between the tries of a call, in seconds; each is twice the one before."""
PAGE = 100
"""How many entries of a list are asked for at once."""


def timestamp(time: str) -> float:
    """Return a time of the API, such as ``2026-11-26T11:04:05.123Z``, as seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()


class Address:
    """Where calls go to, for the words of errors.

    Args:
        url: The service's address.
        through: Words about the proxy by which it is reached, as ``http_client.through`` gives them; empty without one.
    """

    def __init__(self, url: str, through: str) -> None:
        self.url, self.through = url, through

    def problem(self, response: httpx.Response) -> ApiError:
        """Return the error of an answer that is none of success. Its content has been read."""
        return ApiError(_problem(response, self.through))

    def document(self, response: httpx.Response) -> Json:
        """Return the document of an answer of success, which has been read.

        Raises:
            ApiError: It is no JSON object, such as a page of another server.
        """
        found = _content(response)
        if not isinstance(found, dict):
            raise ApiError(_unexpected(response, self.through))
        return found

    def documents(self, response: httpx.Response) -> list[Json]:
        """Return the documents of an answer of success that is a list of them.

        Raises:
            ApiError: It is no list of JSON objects.
        """
        found = _content(response)
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise ApiError(_unexpected(response, self.through))
        return found

    def final(self, error: Exception) -> Exception:
        """Return the error with which a call ends that is not repeated any more."""
        import httpx

        if not isinstance(error, httpx.RequestError):
            return error
        text = f"no answer from {self.url}{self.through}: {reason(error)}"
        if self.through:
            text += f". If it is reached without a proxy, add {httpx.URL(self.url).host} to NO_PROXY"
        return ServiceUnreachable(text)


class Tries:
    """The tries of one call.

    Args:
        address: Where the call goes to.
        method: Its HTTP method.
        patience: For how many seconds it is repeated.
    """

    def __init__(self, address: Address, method: str, patience: float) -> None:
        self._address, self._method = address, method
        self._until, self._pause = time.monotonic() + patience, FIRST_PAUSE
        self._was_sent = False
        self._error: Exception = ServiceUnreachable("no call was tried")

    def accepts(self, response: httpx.Response) -> bool:
        """Return whether an answer is the call's; False if the call is to be repeated.

        Raises:
            ApiError: The service refuses the call.
        """
        if response.is_success:
            return True
        if self._method == "DELETE" and response.status_code == 404 and self._was_sent:
            return True  # the call before has deleted it, and its answer was lost
        error = self._address.problem(response)
        if response.status_code not in LATER:
            raise error
        self._error = error
        return False

    def lost(self, error: httpx.RequestError) -> None:
        """Take note that a try got no answer."""
        import httpx

        self._error, self._was_sent = error, self._was_sent or not isinstance(error, httpx.ConnectError)

    def pause(self) -> float:
        """Return for how many seconds to wait before the next try.

        Raises:
            ApiError: There is no time for another try, and the last one was answered.
            ServiceUnreachable: There is no time for another try, and the last one was not answered.
        """
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        if time.monotonic() + pause > self._until:
            raise self._address.final(self._error) from self._error
        return pause


class StreamTries:
    """The connections to one event stream, each of which goes on after the last event seen.

    Args:
        address: Where the stream comes from.
        patience: For how many seconds a broken stream is opened again.
        after: The number of the last event that is known.
    """

    def __init__(self, address: Address, patience: float, after: int) -> None:
        self._address, self._patience, self.after = address, patience, after
        self._until: float | None = None

    def works(self) -> None:
        """Take note that the stream brings something."""
        self._until = None

    def seen(self, event: Json) -> bool:
        """Take note of an event that was passed on, and return whether it may be the last one."""
        self.after = event["seq"]
        return event["kind"] in ENDS

    def broken(self, error: Exception) -> None:
        """Take note that the stream has broken.

        Raises:
            ApiError: The service refuses the stream, or there is no time to open it again.
            ServiceUnreachable: There is no time to open the stream again.
        """
        self._until = self._until or time.monotonic() + self._patience
        if (isinstance(error, ApiError) and error.status not in LATER) or time.monotonic() > self._until:
            raise self._address.final(error) from error


class PageTurner:
    """Which page of a list comes next.

    Args:
        parameters: The list's other parameters.
        limit: The largest number of entries; None for all of them.
    """

    def __init__(self, parameters: Json, limit: int | None) -> None:
        self._parameters, self._left = parameters, limit
        self._cursor: str | None = None
        self.is_over = limit is not None and limit <= 0

    def parameters(self) -> Json:
        """Return the parameters of the next page."""
        page = {**self._parameters, "limit": min(self._left or PAGE, PAGE)}
        return page | ({"cursor": self._cursor} if self._cursor else {})

    def turn(self, page: Json, noun: str) -> list[Json]:
        """Return the entries of a page, which are in the field ``noun``, and go on to the next page.

        Raises:
            ApiError: It is no page of such a list.
        """
        entries: list[Json] = field_of(page, noun)
        self._left = None if self._left is None else self._left - len(entries)
        self._cursor = field_of(page, "next_cursor")
        self.is_over = self._cursor is None or (self._left is not None and self._left <= 0)
        return entries


class EventLines:
    """Reads an event stream line by line.

    An event is passed on once the empty line that ends it has come: until then the connection may be cut within it.
    """

    def __init__(self) -> None:
        self._data: str | None = None

    def read(self, line: str) -> tuple[bool, Json | None]:
        """Return whether a line shows that the stream works, and the event that it ends, if it ends one.

        Raises:
            ApiError: The event is none of this service.
        """
        if line.startswith("data:"):
            self._data = line.removeprefix("data:")
        if line or self._data is None:
            return line.startswith(":"), None
        data, self._data = self._data, None
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not event.keys() >= {"seq", "kind"}:
            raise ApiError(_not_ours(200, f"an event of the stream is none of this service: {data.strip()[:200]}"))
        return True, event


def field_of(document: Json, name: str) -> Any:
    """Return a field of an answer.

    Raises:
        ApiError: The answer lacks it.
    """
    if name not in document:
        raise ApiError(_not_ours(200, f"the answer lacks the field {name}, which every release of this service sends"))
    return document[name]


def has_ended(sweep: Json) -> bool:
    """Return whether a sweep has ended."""
    return field_of(sweep, "state") in SWEEP_ENDED


def idempotent(key: str | None) -> dict[str, str]:
    """Return the header that makes a repeated call have one effect, with a new key if none is given."""
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def quoted(id: str) -> str:
    """Return an id or a name as a part of a path."""
    from urllib.parse import quote

    return quote(id, safe="")


def subject(id: str) -> str:
    """Return the path of the sweep or trial with this id. An id with a hyphen is that of a trial."""
    return f"/v1/{'trials' if '-' in id else 'sweeps'}/{quoted(id)}"


def _content(response: httpx.Response) -> Any:
    """Return what an answer holds as JSON; None if it is none."""
    try:
        return response.json()
    except ValueError:
        return None


def _problem(response: httpx.Response, through: str) -> Json:
    document = _content(response)
    if not isinstance(document, dict) or "title" not in document:
        return _unexpected(response, through)
    errors = document.get("errors")
    known = isinstance(errors, list) and all(isinstance(one, dict) for one in errors)
    return {**document, "status": response.status_code, "errors": errors if known else []}


def _unexpected(response: httpx.Response, through: str) -> Json:
    """Return a problem document about an answer that is none of this service."""
    kind = response.headers.get("content-type", "").partition(";")[0] or "no content type"
    address = response.request.url.copy_with(path="", query=None)
    what = "JSON of another form" if kind == "application/json" else kind
    detail = (
        f"{address} answers with {what}, which this service does not send; give the address of the service, which "
        "spectral up prints"
    )
    if response.has_redirect_location:
        other = response.request.url.join(response.headers["location"]).copy_with(path="/", query=None, fragment=None)
        detail = f"the calls are sent on to {other}; no token is sent there by itself, so give that address instead"
    elif kind in ("text/plain", "no content type") and not response.is_success and response.text.strip():
        detail = response.text[:500]
    return _not_ours(response.status_code, detail, through)


def _not_ours(status: int, detail: str, through: str = "") -> Json:
    return {"title": f"Unexpected answer{through}", "status": status, "detail": detail, "errors": []}

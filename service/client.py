"""A client of the REST API.

    client = Client("http://127.0.0.1:8000")
    sweep = client.submit({"task": {"name": "digits"}, "space": {"model.margin": {"values": [0.01, 0.1]}}})
    print(client.wait(sweep["id"])["best"])

Documents go in and come out as plain dictionaries, shaped as /docs shows them. A server that cannot be reached, or
answers 503, is asked again until ``patience`` seconds have passed; that is safe, since every call may be repeated.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]

ENDS = frozenset({"sweep.succeeded", "sweep.failed", "sweep.stopped", "sweep.cancelled"})
SILENCE_SECONDS = 60.0  # an event stream says something every 15


class ApiError(Exception):
    """The server refused. ``problem`` is its problem document: title, status, detail and ``errors`` by field."""

    def __init__(self, problem: Json) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 0))
        self.errors: list[Json] = list(problem.get("errors") or [])
        super().__init__(f"{problem.get('title')} ({self.status}): {problem.get('detail')}")


class ServiceUnreachable(ConnectionError):
    """No server answered at this address."""


def timestamp(time: str) -> float:
    """Return a time of the API, such as ``2026-11-26T11:04:05.123Z``, as seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()


class Client:
    """``patience``: seconds to go on asking a server that does not answer; ``timeout``: seconds for one answer.

    ``transport``: an httpx transport in place of its own, for a proxy or certificates of yours.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        patience: float = 30.0,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        import httpx

        self.base_url = base_url.rstrip("/")
        self.patience = patience
        self._timeout = timeout
        self._http = httpx.Client(base_url=self.base_url, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(self, document: Json, key: str | None = None) -> Json:
        """Queue a sweep and return it. A repeated ``key`` gives the same sweep; without one a new key is made."""
        return self._json("POST", "/v1/sweeps", document, {"Idempotency-Key": key or uuid.uuid4().hex})

    def validate(self, document: Json) -> Json:
        """What the sweep would do: trials, shapes, warnings. Raises ApiError naming every wrong field."""
        return self._json("POST", "/v1/sweeps/validate", document)

    def sweep(self, sweep_id: str) -> Json:
        """A sweep with its counts, progress and best trial."""
        return self._json("GET", f"/v1/sweeps/{_part(sweep_id)}")

    def sweeps(self, state: Sequence[str] = (), limit: int | None = None) -> Iterator[Json]:
        """Sweeps, the newest first, page by page; all of them without a ``limit``."""
        return self._pages("/v1/sweeps", "sweeps", {"state": list(state)}, limit)

    def trials(
        self,
        sweep_id: str,
        sort: Literal["number", "objective"] = "number",
        state: Sequence[str] = (),
        limit: int | None = None,
    ) -> Iterator[Json]:
        """A sweep's trials by number, or the best first."""
        return self._pages(
            f"/v1/sweeps/{_part(sweep_id)}/trials", "trials", {"sort": sort, "state": list(state)}, limit
        )

    def trial(self, trial_id: str) -> Json:
        """One trial."""
        return self._json("GET", f"/v1/trials/{_part(trial_id)}")

    def metrics(self, trial_id: str, keys: Sequence[str] = ()) -> list[Json]:
        """What the trial reported: ``step``, ``at`` and ``values``, in order of step."""
        found = self._json("GET", f"/v1/trials/{_part(trial_id)}/metrics", parameters={"keys": list(keys)})
        return list(found["points"])

    def logs(self, trial_id: str) -> Json:
        """What happened to a trial: its attempts and why each ended, and its events."""
        return self._json("GET", f"/v1/trials/{_part(trial_id)}/logs")

    def report(self, sweep_id: str) -> Json:
        """Leaderboard and the objective over reflectors and margin."""
        return self._json("GET", f"/v1/sweeps/{_part(sweep_id)}/report")

    def pause(self, sweep_id: str) -> Json:
        """Start no more trials; running ones end at a checkpoint and go on after resume."""
        return self._json("POST", f"/v1/sweeps/{_part(sweep_id)}/pause")

    def resume(self, sweep_id: str) -> Json:
        """Go on with a paused sweep."""
        return self._json("POST", f"/v1/sweeps/{_part(sweep_id)}/resume")

    def stop(self, id: str) -> Json:
        """Let a sweep's running trials finish and start no more; or stop one trial."""
        return self._json("POST", f"{_subject(id)}/stop")

    def cancel(self, id: str) -> Json:
        """End a sweep, or one trial, now."""
        return self._json("POST", f"{_subject(id)}/cancel")

    def events(self, sweep_id: str, after: int = 0) -> Generator[Json, None, None]:
        """Each event after number ``after`` once, as it happens, until the one that ends the sweep.

        A connection that breaks is made again from the last event seen.
        """
        import httpx

        until = None
        while True:
            try:
                for event in self._stream(sweep_id, after):
                    until = None
                    if event is None:
                        continue
                    yield event
                    after = event["seq"]
                    if event["kind"] in ENDS:
                        return
                if self._over(sweep_id, after):
                    return
            except (httpx.TransportError, ApiError) as error:
                until = until or time.monotonic() + self.patience
                if (isinstance(error, ApiError) and error.status != 503) or time.monotonic() > until:
                    raise self._gone(error) from error
            time.sleep(0.2)

    def wait(self, sweep_id: str) -> Json:
        """Return the sweep once it has ended."""
        for _ in self.events(sweep_id):
            pass
        return self.sweep(sweep_id)

    def _stream(self, sweep_id: str, after: int) -> Iterator[Json | None]:
        """One connection's events; None for a sign of life."""
        import httpx

        path, headers = f"/v1/sweeps/{_part(sweep_id)}/events", {"Last-Event-ID": str(after)}
        timeout = httpx.Timeout(self._timeout, read=SILENCE_SECONDS)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise ApiError(_problem(response))
            yield None
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))
                elif line.startswith(":"):
                    yield None

    def _over(self, sweep_id: str, after: int) -> bool:
        """Whether a stream that ended has nothing more to tell, rather than a server that is going down."""
        response = self._send("GET", f"/v1/sweeps/{_part(sweep_id)}")
        ended = f"sweep.{response.json()['state']}" in ENDS
        return ended and not any(self._stream(sweep_id, after))

    def _pages(self, path: str, noun: str, parameters: Json, limit: int | None) -> Iterator[Json]:
        left, cursor = limit, None
        while left is None or left > 0:
            page = {**parameters, "limit": min(left or 100, 100)} | ({"cursor": cursor} if cursor else {})
            found = self._json("GET", path, parameters=page)
            yield from found[noun]
            left = None if left is None else left - len(found[noun])
            cursor = found["next_cursor"]
            if cursor is None:
                return

    def _json(
        self,
        method: str,
        path: str,
        document: Json | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Json | None = None,
    ) -> Json:
        found: Json = self._send(method, path, document, headers, parameters).json()
        return found

    def _send(
        self,
        method: str,
        path: str,
        document: Json | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Json | None = None,
    ) -> httpx.Response:
        import httpx

        until, pause = time.monotonic() + self.patience, 0.1
        while True:
            try:
                response = self._http.request(method, path, json=document, headers=headers, params=parameters)
                if not response.is_error:
                    return response
                error: Exception = ApiError(_problem(response))
                if response.status_code != 503:
                    raise error
            except httpx.TransportError as broken:
                error = broken
            if time.monotonic() + pause > until:
                raise self._gone(error) from error
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _gone(self, error: Exception) -> Exception:
        return error if isinstance(error, ApiError) else ServiceUnreachable(f"no answer from {self.base_url}: {error}")


def _part(id: str) -> str:
    from urllib.parse import quote

    return quote(id, safe="")


def _subject(id: str) -> str:
    """A trial's id is its sweep's, a hyphen and a number."""
    return f"/v1/{'trials' if '-' in id else 'sweeps'}/{_part(id)}"


def _problem(response: httpx.Response) -> Json:
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict) and "title" in document:
        return document
    return {"title": "Unexpected answer", "status": response.status_code, "detail": response.text[:500], "errors": []}

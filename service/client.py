"""A client of the service's REST API.

    client = Client("http://127.0.0.1:8000")
    sweep = client.submit({"task": {"name": "digits"}, "space": {"model.margin": {"values": [0.01, 0.1]}}})
    print(client.wait(sweep["id"])["best"])

Sweeps, trials and all other documents are dictionaries as decoded from JSON; the service's page ``/docs`` shows their
fields. If the service cannot be reached or answers 503 or 429, a call is repeated until ``patience`` seconds have
passed. That is safe: a call that arrives twice has the effect of one. If the answer to ``stop`` or ``cancel`` of a
trial was lost, however, the repetition may find the trial ended and raise ApiError with status 409.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from service.access.token_source import token_to_send
from service.http_client import http_client, reason, through

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]

ENDS = frozenset({"sweep.succeeded", "sweep.failed", "sweep.stopped", "sweep.cancelled"})
"""The kinds of a sweep's last event: ``sweep.`` and the state in which the sweep has ended."""
LATER = frozenset({429, 503})
"""The statuses of calls to repeat: there are too many at once, or the service cannot work for now."""
CALIBRATION_SECONDS = 120.0
"""For how long a calibration may say nothing."""
SILENCE_SECONDS = 60.0
"""An event stream on which nothing arrives for this long is broken: the server sends something every 15 seconds."""


class ApiError(Exception):
    """The server answered a call with an error status.

    Attributes:
        problem: The server's problem document, with ``title``, ``status``, ``detail`` and ``errors``. If the answer was
            none, such as that of a proxy, its title begins with "Unexpected answer", and its detail says what came.
        status: The HTTP status code.
        errors: The refused fields or parameters, each with ``field``, ``given``, ``problem`` and ``allowed``; empty if
            the problem lies elsewhere.
    """

    def __init__(self, problem: Json) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 0))
        self.errors: list[Json] = list(problem.get("errors") or [])
        remedy = "; Client takes a token as token=..., or from SPECTRAL_TOKEN" if self.status == 401 else ""
        super().__init__(f"{problem.get('title')} ({self.status}): {problem.get('detail')}{remedy}")


class ServiceUnreachable(ConnectionError):
    """No server answered at the client's address within its patience."""


def timestamp(time: str) -> float:
    """Return a time of the API, such as ``2026-11-26T11:04:05.123Z``, as seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()


class Client:
    """Calls one service. As a context manager it closes its connections at the end of the block.

    Every method that calls the service raises ApiError if the service answers with an error status, and
    ServiceUnreachable if no service answers.

    Args:
        base_url: The address of the service, such as ``http://127.0.0.1:8000``.
        patience: For how many seconds a call is repeated while the server cannot be reached, or answers 503 or 429; 0
            for a single try.
        timeout: For how many seconds a single try waits for the connection, or for the next part of the answer.
        transport: An httpx transport of your own, for instance for certificates. By default a service on this machine
            is reached without a proxy, and one elsewhere by the proxy that the environment names for it.
        token: The token by which the service admits the calls; by default that of SPECTRAL_TOKEN, or of the file that
            SPECTRAL_TOKEN_FILE names, if one is set. It is sent to ``base_url`` alone: redirects are not followed.

    Raises:
        TokenUnusable: What is given as a token is none.
        ConnectionUnusable: The address, or the proxy or certificates that the environment names, cannot be used.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        patience: float = 30.0,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
        token: str | None = None,
    ) -> None:
        import httpx

        token = token_to_send(token)
        self.base_url = base_url.rstrip("/")
        self.patience = patience
        self._timeout = timeout
        self._through = "" if transport else through(self.base_url)
        if transport is not None:
            self._http = httpx.Client(base_url=self.base_url, timeout=timeout, transport=transport)
        else:
            self._http = http_client(self.base_url, timeout=timeout)
        if token is not None:
            self._http.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the service. The client cannot be used afterwards."""
        self._http.close()

    def submit(self, document: Json, key: str | None = None) -> Json:
        """Submit a sweep and return it as stored, without waiting for its trials.

        Args:
            document: The sweep.
            key: An idempotency key: the same document with the same key again returns the existing sweep, and another
                document with the same key raises ApiError with status 409. By default every call makes a new key, which
                is kept while this call is repeated.
        """
        return self._json("POST", "/v1/sweeps", document, {"Idempotency-Key": key or uuid.uuid4().hex})

    def validate(self, document: Json, *, calibrate: bool = False) -> Json:
        """Check a sweep without submitting it, and return its trials, packs and warnings, and how long it will take.

        Args:
            document: The sweep.
            calibrate: Have the server measure what a step takes, in up to a minute, where no earlier sweep says it.
        """
        if not calibrate:
            return self._json("POST", "/v1/sweeps/validate", document)
        return self._json("POST", "/v1/sweeps/validate?calibrate=true", document, timeout=CALIBRATION_SECONDS)

    def sweep(self, sweep_id: str) -> Json:
        """Return a sweep with the number of trials in each state, its progress and its best trial."""
        return self._json("GET", f"/v1/sweeps/{_quoted(sweep_id)}")

    def sweeps(self, state: Sequence[str] = (), limit: int | None = None) -> Iterator[Json]:
        """Yield sweeps, newest first, fetched page by page.

        Args:
            state: The states of the sweeps to yield; all states if empty.
            limit: The largest number of sweeps to yield; None for all of them.
        """
        return self._pages("/v1/sweeps", "sweeps", {"state": list(state)}, limit)

    def trials(
        self,
        sweep_id: str,
        sort: Literal["number", "objective"] = "number",
        state: Sequence[str] = (),
        limit: int | None = None,
    ) -> Iterator[Json]:
        """Yield the trials of a sweep that have been created, fetched page by page.

        Args:
            sweep_id: The sweep.
            sort: ``number`` for ascending numbers; ``objective`` for the best trial first and those without a result
                last: those that have no objective, have failed or were cancelled.
            state: The states of the trials to yield; all states if empty.
            limit: The largest number of trials to yield; None for all of them.
        """
        return self._pages(
            f"/v1/sweeps/{_quoted(sweep_id)}/trials", "trials", {"sort": sort, "state": list(state)}, limit
        )

    def trial(self, trial_id: str) -> Json:
        """Return a trial: its parameters, state, step and best objective."""
        return self._json("GET", f"/v1/trials/{_quoted(trial_id)}")

    def metrics(self, trial_id: str, keys: Sequence[str] = ()) -> list[Json]:
        """Return the first 10,000 reports of a trial in order of step, each with ``step``, ``at`` and ``values``.

        Args:
            trial_id: The trial.
            keys: The names of the metrics to return; all if empty. Reports without any of them are left out.
        """
        found = self._json("GET", f"/v1/trials/{_quoted(trial_id)}/metrics", parameters={"keys": list(keys)})
        return list(found["points"])

    def weights(self, trial_id: str, which: Literal["best", "last"] = "best") -> bytes:
        """Return the parameters of a trial's best or last checkpoint, as the content of a safetensors file.

        Raises:
            ApiError: With status 404 if there is no such checkpoint, and 410 if it was removed.
        """
        parameters = {"which": which, "download": 1}
        return self._send("GET", f"/v1/trials/{_quoted(trial_id)}/checkpoint", parameters=parameters).content

    def logs(
        self,
        trial_id: str,
        only: Literal["history", "output"] | None = None,
        *,
        after: str | None = None,
        events_after: int = 0,
        limit: int = 1_000,
    ) -> Json:
        """Return a trial's history and the lines that its workers have printed.

        Args:
            trial_id: The trial.
            only: ``history`` for its attempts and events alone, ``output`` for the lines alone; None for both.
            after: The ``id`` of a line, behind which the lines begin; None for the first ones.
            events_after: The number of an event, behind which the events begin; at most 1,000 are returned.
            limit: The largest number of lines, up to 2,000. ``more_lines`` says whether there are further ones.
        """
        parameters: Json = {"events_after": events_after, "limit": limit}
        parameters |= {name: value for name, value in (("only", only), ("after", after)) if value is not None}
        return self._json("GET", f"/v1/trials/{_quoted(trial_id)}/logs", parameters=parameters)

    def report(self, sweep_id: str, include: Sequence[str] = (), trial: int | None = None) -> Json:
        """Return a sweep's 20 best trials, its trials' objectives by reflectors and margin, and further parts.

        Args:
            sweep_id: The sweep.
            include: The further parts: ``importance``, ``learning_curves``, ``best_so_far``, ``parallel_coordinates``,
                ``pareto``, ``diagnostics``. The others are None.
            trial: The number of the trial whose ``diagnostics`` are returned; None for the best one.
        """
        parameters: Json = {"include": list(include)} | ({} if trial is None else {"trial": trial})
        return self._json("GET", f"/v1/sweeps/{_quoted(sweep_id)}/report", parameters=parameters)

    def report_file(self, sweep_id: str, name: str, trial: int | None = None) -> bytes:
        """Return a file of a sweep's report.

        Args:
            sweep_id: The sweep.
            name: ``report.html``, ``trials.csv``, ``optuna.db``, or a figure, such as ``figures/importance.svg``.
            trial: The number of the trial that ``figures/spectrum`` or ``figures/gradients`` shows; None for the best.
        """
        path = "/".join(_quoted(part) for part in name.split("/"))
        parameters = None if trial is None else {"trial": trial}
        return self._send("GET", f"/v1/sweeps/{_quoted(sweep_id)}/{path}", parameters=parameters).content

    def points(self, sweep_id: str, limit: int | None = None) -> Iterator[Json]:
        """Yield the points of a sweep, the best first: its settings, each with the spread of its repeats.

        Args:
            sweep_id: The sweep.
            limit: The largest number of points to yield; None for all of them.
        """
        return self._pages(f"/v1/sweeps/{_quoted(sweep_id)}/points", "points", {}, limit)

    def compare(self, sweep_id: str, points: Sequence[int]) -> Json:
        """Compare points of a sweep with each other, by their trials of equal seeds.

        Args:
            sweep_id: The sweep.
            points: The numbers of 2 to 20 points.

        Returns:
            The ``points``, and ``comparisons`` of each of them with each of those after it, with a ``verdict``: the
            first is ``better``, ``worse`` or ``not told apart``.
        """
        wanted = ",".join(map(str, points))
        return self._json("GET", f"/v1/sweeps/{_quoted(sweep_id)}/compare", parameters={"points": wanted})

    def pause(self, sweep_id: str) -> Json:
        """Pause a sweep, and return it: running trials write a checkpoint and wait for ``resume``."""
        return self._json("POST", f"/v1/sweeps/{_quoted(sweep_id)}/pause")

    def resume(self, sweep_id: str) -> Json:
        """Continue a paused sweep, and return it: its trials go on from their checkpoints."""
        return self._json("POST", f"/v1/sweeps/{_quoted(sweep_id)}/resume")

    def change(self, sweep_id: str, **fields: int | None) -> Json:
        """Change a sweep that has not ended, and return it.

        Args:
            sweep_id: The sweep.
            fields: ``priority``: sweeps of a higher one are trained first, and take the place of others;
                ``max_parallel``: how many of its trials run at the same time, None for as many as fit. What is left out
                stays as it is.

        Raises:
            ApiError: With status 409 if the sweep has ended or is being cancelled.
        """
        return self._json("PATCH", f"/v1/sweeps/{_quoted(sweep_id)}", fields)

    def stop(self, id: str) -> Json:
        """Let a sweep's running trials finish and start no others, or end one trial, which keeps its checkpoints.

        Args:
            id: The id of a sweep or of a trial.

        Returns:
            The sweep or the trial, which may not have ended yet.
        """
        return self._json("POST", f"{_subject(id)}/stop")

    def cancel(self, id: str) -> Json:
        """End a sweep with all of its trials, or one trial, without a new checkpoint.

        Args:
            id: The id of a sweep or of a trial.

        Returns:
            The sweep or the trial, which may not have ended yet.
        """
        return self._json("POST", f"{_subject(id)}/cancel")

    def rerun(self, id: str, key: str | None = None) -> Json:
        """Run the failed trials of a sweep again, or one failed trial; a sweep that has ended is running again.

        Args:
            id: The id of a sweep or of a trial.
            key: An idempotency key, as for ``submit``.

        Returns:
            The sweep or the trial.

        Raises:
            ApiError: With status 409 if nothing has failed, or if the sweep's state does not permit it.
        """
        return self._json("POST", f"{_subject(id)}/rerun", headers={"Idempotency-Key": key or uuid.uuid4().hex})

    def extend(
        self,
        id: str,
        trials: int | None = None,
        space: Mapping[str, Sequence[Any]] | None = None,
        key: str | None = None,
        *,
        steps: int | None = None,
    ) -> Json:
        """Give a sweep further trials, or a trial that has succeeded more steps; a sweep that has ended runs again.

        The trials that exist keep their numbers, points and results. A trial with more steps keeps its reports.

        Args:
            id: The id of a sweep, or with ``steps`` of a trial.
            trials: How many trials to add, for a sampler that takes a number of them.
            space: New values by the path of the dimension that gets them, for a grid.
            key: An idempotency key, as for ``submit``.
            steps: How many steps the trial is to have, with those that it has done.

        Returns:
            The sweep or the trial.
        """
        added: Json = {} if trials is None else {"trials": trials}
        added |= {} if space is None else {"space": {path: list(values) for path, values in space.items()}}
        added |= {} if steps is None else {"steps": steps}
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self._json("POST", f"{_subject(id)}/extend", added, headers)

    def replay(self, trial_id: str, key: str | None = None) -> Json:
        """Train a trial once more with exactly its settings, as a new sweep of one trial, and return that sweep.

        Args:
            trial_id: The trial, which has ended and has reports.
            key: An idempotency key, as for ``submit``.
        """
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self._json("POST", f"/v1/trials/{_quoted(trial_id)}/replay", headers=headers)

    def compare_trials(self, trial_id: str, other: str | None = None) -> Json:
        """Compare the reports of two trials step by step.

        Args:
            trial_id: A trial.
            other: Another one; None for the one that it is a replay of.

        Returns:
            Their ``likeness``: ``equal``, ``equal to rounding``, ``different`` or ``nothing in common``; the
            ``metrics``, each with its largest relative difference and the first step that differs; and
            ``explanations``.
        """
        given: Json = {} if other is None else {"other": other}
        return self._json("GET", f"/v1/trials/{_quoted(trial_id)}/compare", parameters=given)

    def delete(self, sweep_id: str) -> None:
        """Delete a sweep that has ended, with its trials, its checkpoints and its runs in MLflow.

        Raises:
            ApiError: With status 409 if the sweep has not ended, and 404 if there is no such sweep.
        """
        self._send("DELETE", f"/v1/sweeps/{_quoted(sweep_id)}")

    def events(self, sweep_id: str, after: int = 0) -> Generator[Json, None, None]:
        """Yield the events of a sweep in order, each once: past ones first, then new ones as they happen.

        The last event is the one that ends the sweep. A sweep that was run again or extended has ended before, and goes
        on after that event. If the connection breaks, the client connects again, within its
        patience, and goes on after the last event seen.

        Args:
            sweep_id: The sweep.
            after: The number of the last event that is already known; 0 yields all events.
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
                    if event["kind"] in ENDS and self._has_ended(sweep_id, after):
                        return
                if self._has_ended(sweep_id, after):
                    return
            except (httpx.TransportError, ApiError) as error:
                until = until or time.monotonic() + self.patience
                if (isinstance(error, ApiError) and error.status not in LATER) or time.monotonic() > until:
                    raise self._final(error) from error
            time.sleep(0.2)

    def wait(self, sweep_id: str) -> Json:
        """Wait, without a time limit, until a sweep has ended, and return it."""
        for _ in self.events(sweep_id):
            pass
        return self.sweep(sweep_id)

    def _stream(self, sweep_id: str, after: int) -> Iterator[Json | None]:
        """Connect once, and yield the events after number ``after``; None for the answer's start and each comment."""
        import httpx

        path, headers = f"/v1/sweeps/{_quoted(sweep_id)}/events", {"Last-Event-ID": str(after)}
        timeout = httpx.Timeout(self._timeout, read=SILENCE_SECONDS)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise ApiError(_problem(response, self._through))
            yield None
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))
                elif line.startswith(":"):
                    yield None

    def _has_ended(self, sweep_id: str, after: int) -> bool:
        """Return whether the sweep has ended and has no event after number ``after``.

        A stream that ends while this is false was cut off.
        """
        response = self._send("GET", f"/v1/sweeps/{_quoted(sweep_id)}")
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
        timeout: float | None = None,
    ) -> Json:
        found: Json = self._send(method, path, document, headers, parameters, timeout).json()
        return found

    def _send(
        self,
        method: str,
        path: str,
        document: Json | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Json | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        import httpx

        seconds = timeout or self._timeout
        until, pause, was_sent = time.monotonic() + self.patience, 0.1, False
        while True:
            try:
                response = self._http.request(
                    method, path, json=document, headers=headers, params=parameters, timeout=seconds
                )
                if response.is_success:
                    return response
                if method == "DELETE" and response.status_code == 404 and was_sent:
                    return response  # the call before has deleted it, and its answer was lost
                error: Exception = ApiError(_problem(response, self._through))
                if response.status_code not in LATER:
                    raise error
            except httpx.TransportError as broken:
                error, was_sent = broken, was_sent or not isinstance(broken, httpx.ConnectError)
            if time.monotonic() + pause > until:
                raise self._final(error) from error
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _final(self, error: Exception) -> Exception:
        import httpx

        if not isinstance(error, httpx.TransportError):
            return error
        text = f"no answer from {self.base_url}{self._through}: {reason(error)}"
        if self._through:
            text += f". If it is reached without a proxy, add {self._http.base_url.host} to NO_PROXY"
        return ServiceUnreachable(text)


def _quoted(id: str) -> str:
    from urllib.parse import quote

    return quote(id, safe="")


def _subject(id: str) -> str:
    """Return the path of the sweep or trial with this id. An id with a hyphen is that of a trial."""
    return f"/v1/{'trials' if '-' in id else 'sweeps'}/{_quoted(id)}"


def _problem(response: httpx.Response, through: str) -> Json:
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict) and "title" in document:
        return document
    kind = response.headers.get("content-type", "").partition(";")[0] or "no content type"
    detail = (
        f"{response.request.url.copy_with(path='', query=None)} answers with {kind}, which this service does not send; "
        "give the address of the service, which spectral up prints"
    )
    if response.has_redirect_location:
        other = response.request.url.join(response.headers["location"]).copy_with(path="/", query=None, fragment=None)
        detail = f"the calls are sent on to {other}; no token is sent there by itself, so give that address instead"
    elif kind in ("text/plain", "no content type") and response.text.strip():
        detail = response.text[:500]
    return {"title": f"Unexpected answer{through}", "status": response.status_code, "detail": detail, "errors": []}

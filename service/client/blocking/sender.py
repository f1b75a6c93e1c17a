# Written by `make blocking-client` from the module of the same name in service/client/asynchronous.
"""Sends calls to one service. What is repeated, and with which error a call ends, is decided by ``rules``."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Self

from service.access.token_source import token_to_send
from service.client import rules
from service.client.errors import ApiError
from service.client.rules import Json
from service.http_client import http_client, through

if TYPE_CHECKING:
    import httpx


class Sender:
    """The connections to one service.

    As a context manager it closes its connections at the end of the block.

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
        self._address = rules.Address(self.base_url, "" if transport else through(self.base_url))
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

    def events(self, sweep_id: str, after: int = 0) -> Generator[Json]:
        """Yield the events of a sweep in order, each once: past ones first, then new ones as they happen.

        The last event is the one that ends the sweep. A sweep that was run again or extended has ended before, and goes
        on after that event. If the connection breaks, the client connects again, within its patience, and goes on after
        the last event seen.

        Args:
            sweep_id: The sweep.
            after: The number of the last event that is already known; 0 yields all events.
        """
        import httpx

        tries = rules.StreamTries(self._address, self.patience, after)
        while True:
            try:
                with closing(self._stream(sweep_id, tries.after)) as stream:
                    for event in stream:
                        tries.works()
                        if event is None:
                            continue
                        yield event
                        if tries.seen(event) and self._has_ended(sweep_id, tries.after):
                            return
                if self._has_ended(sweep_id, tries.after):
                    return
            except (httpx.RequestError, ApiError) as error:
                tries.broken(error)
            time.sleep(rules.RECONNECT_SECONDS)

    def _stream(self, sweep_id: str, after: int) -> Generator[Json | None]:
        """Connect once, and yield the events after number ``after``; None for the answer's start and each comment."""
        import httpx

        path, headers = f"/v1/sweeps/{rules.quoted(sweep_id)}/events", {"Last-Event-ID": str(after)}
        timeout = httpx.Timeout(self._timeout, read=rules.SILENCE_SECONDS)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise self._address.problem(response)
            yield None
            lines = rules.EventLines()
            for line in response.iter_lines():
                works, event = lines.read(line)
                if works:
                    yield event

    def _has_ended(self, sweep_id: str, after: int) -> bool:
        """Return whether the sweep has ended and has no event after number ``after``.

        A stream that ends while this is false was cut off.
        """
        if not rules.has_ended(self._json("GET", f"/v1/sweeps/{rules.quoted(sweep_id)}")):
            return False
        with closing(self._stream(sweep_id, after)) as stream:
            for event in stream:
                if event is not None:
                    return False
        return True

    def _pages(self, path: str, noun: str, parameters: Json, limit: int | None) -> Iterator[Json]:
        turner = rules.PageTurner(parameters, limit)
        while not turner.is_over:
            yield from turner.turn(self._json("GET", path, parameters=turner.parameters()), noun)

    def _json(
        self,
        method: str,
        path: str,
        document: Json | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Json | None = None,
        timeout: float | None = None,
    ) -> Json:
        return self._address.document(self._send(method, path, document, headers, parameters, timeout))

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

        seconds, tries = timeout or self._timeout, rules.Tries(self._address, method, self.patience)
        while True:
            try:
                response = self._http.request(
                    method, path, json=document, headers=headers, params=parameters, timeout=seconds
                )
                if tries.accepts(response):
                    return response
            except httpx.RequestError as error:
                tries.lost(error)
            time.sleep(tries.pause())

"""Clients of both kinds for the same tests: those for an event loop run each call in one, and wait for it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from service.client import AsyncClient, AsyncRestClient, Client, RestClient


class Faults:
    """Faults of the first calls: the reply is lost after the work has been done, or it is a 503."""

    def __init__(self, *faults: str) -> None:
        self.left, self.keys = list(faults), list[str]()

    def next(self, request: httpx.Request) -> str | None:
        self.keys.append(request.headers.get("idempotency-key", ""))
        return self.left.pop() if self.left else None


class BlockingWire(httpx.HTTPTransport):
    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fault = self.faults.next(request)
        if fault == "unavailable":
            return httpx.Response(503)
        answer = super().handle_request(request)
        if fault == "reply lost":
            answer.read()
            raise httpx.RemoteProtocolError("connection closed before the reply")
        return answer


class AsyncWire(httpx.AsyncHTTPTransport):
    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fault = self.faults.next(request)
        if fault == "unavailable":
            return httpx.Response(503)
        answer = await super().handle_async_request(request)
        if fault == "reply lost":
            await answer.aread()
            raise httpx.RemoteProtocolError("connection closed before the reply")
        return answer


class Awaited:
    """An asynchronous object whose calls are run to their end, so that it can be used like its blocking twin."""

    def __init__(self, runner: asyncio.Runner, subject: Any) -> None:
        self.runner, self.subject = runner, subject

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.subject, name)
        if not inspect.ismethod(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            return self._result(found(*arguments, **named))

        return call

    def __repr__(self) -> str:
        return repr(self.subject)

    def __iter__(self) -> Iterator[Any]:
        entries = aiter(self.subject)
        while True:
            try:
                yield self._result(self.runner.run(self._next(entries)))
            except StopAsyncIteration:
                return

    async def _next(self, entries: Any) -> Any:
        return await anext(entries)

    def _result(self, found: Any) -> Any:
        if inspect.iscoroutine(found):
            found = self.runner.run(found)
        if isinstance(found, list):
            return [self._result(one) for one in found]
        if hasattr(found, "__aiter__"):
            return Awaited(self.runner, found) if type(found).__name__ == "AsyncRows" else iter(self._over(found))
        return Awaited(self.runner, found) if type(found).__name__.startswith("Async") else found

    def _over(self, entries: Any) -> Iterator[Any]:
        return iter(Awaited(self.runner, entries))


class Connect:
    """Makes clients of one kind, ``blocking`` or ``asynchronous``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    @contextmanager
    def rest(self, url: str, faults: Faults | None = None, **options: Any) -> Iterator[RestClient]:
        with self._opened(RestClient, AsyncRestClient, url, faults, options) as client:
            yield client

    @contextmanager
    def typed(self, url: str, faults: Faults | None = None, **options: Any) -> Iterator[Client]:
        with self._opened(Client, AsyncClient, url, faults, options) as client:
            yield client

    @contextmanager
    def _opened(
        self, blocking: Any, asynchronous: Any, url: str, faults: Faults | None, options: dict[str, Any]
    ) -> Iterator[Any]:
        if self.kind == "blocking":
            transport = {} if faults is None else {"transport": BlockingWire(faults)}
            with blocking(url, **transport, **options) as client:
                yield client
            return
        transport = {} if faults is None else {"transport": AsyncWire(faults)}
        with asyncio.Runner() as runner:
            client = asynchronous(url, **transport, **options)
            try:
                yield Awaited(runner, client)
            finally:
                runner.run(client.close())


@pytest.fixture(params=["blocking", "asynchronous"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """A function that makes clients of one kind; each test runs with both."""
    return Connect(request.param)

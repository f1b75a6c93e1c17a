"""Bounds on what is let in: reads beside blocked writers, refusals instead of queues, heads and bodies without end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import make_url
from starlette.types import Message, Receive, Scope, Send

from service.api import admission, bounded_http
from service.api.admission import Admission, Turns
from service.api.app import create_app
from service.api.bounded_http import BoundedHttp
from service.api.problems import Refused
from service.settings import ApiSettings
from service.store.database import Database
from service.store.tables import Sweep
from tests.service.api.test_sweeps import rows
from tests.service.conftest import serving

JSON = {"Content-Type": "application/json"}


def exchange(application: Admission, scope: dict[str, Any], *body: bytes) -> Callable[[], Any]:
    """Return a call of the application, which returns the statuses that it sent."""
    parts = iter([{"type": "http.request", "body": part, "more_body": True} for part in body])
    whole = {"type": "http.request", "body": b"", "more_body": False}

    async def call() -> list[int]:
        sent: list[int] = []

        async def receive() -> Message:
            return next(parts, whole)

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent.append(message["status"])

        given = {"type": "http", "path": "/v1/x", "query_string": b"", "headers": [], "method": "GET"}
        await application(given | scope, receive, send)
        return sent

    return call


class Inner:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.go, self.inside, self.most, self.seen = asyncio.Event(), 0, 0, bytearray()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        while True:
            message = await receive()
            self.seen += message["body"]
            if not message["more_body"]:
                break
        await self.go.wait()
        self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(("method", "at_once"), [("GET", admission.READERS), ("POST", admission.WRITERS)])
def test_as_many_as_fit_are_let_in_and_the_rest_is_refused_at_once(method: str, at_once: int) -> None:
    waiting = admission.MAX_WAITING_READS if method == "GET" else admission.MAX_WAITING_WRITES

    async def run() -> None:
        inner = Inner()
        application = Admission(inner, 1_000)
        calls = [asyncio.create_task(exchange(application, {"method": method})()) for _ in range(at_once + waiting)]
        while inner.inside < at_once:
            await asyncio.sleep(0)
        for _ in range(3):
            assert await exchange(application, {"method": method})() == [503]
        other = "POST" if method == "GET" else "GET"
        inner.go.set()
        assert await exchange(application, {"method": other})() == [200], "the other kind has a gate of its own"
        assert await asyncio.gather(*calls) == [[200]] * len(calls)
        assert inner.most == at_once + 1
        assert await exchange(application, {"method": method})() == [200]

    asyncio.run(run())


def test_calls_that_wait_for_mlflow_keep_no_others_out() -> None:
    async def run() -> None:
        inner = Inner()
        application = Admission(inner, 1_000)
        to_mlflow = admission.MLFLOW_REQUESTS + admission.MAX_WAITING_FOR_MLFLOW
        calls = [
            asyncio.create_task(exchange(application, {"path": "/mlflow/x", "method": method})())
            for method in ("GET", "POST") * (to_mlflow // 2)
        ]
        while inner.inside < admission.MLFLOW_REQUESTS:
            await asyncio.sleep(0)
        assert await exchange(application, {"path": "/mlflow/x"})() == [503]
        others = [asyncio.create_task(exchange(application, {"method": method})()) for method in ("GET", "POST")]
        while inner.inside < admission.MLFLOW_REQUESTS + 2:
            await asyncio.sleep(0)
        inner.go.set()
        assert await asyncio.gather(*others, *calls) == [[200]] * (2 + to_mlflow)

    asyncio.run(run())


def test_a_request_that_waits_too_long_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.01)

    async def run() -> None:
        gate = Turns(1, 1)
        await gate.enter()
        for _ in range(5):
            with pytest.raises(Refused, match="try again"):
                await gate.enter()
        ended = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
        gate.leave()
        await gate.enter()

    asyncio.run(run())


def test_live_is_answered_whoever_waits() -> None:
    async def run() -> None:
        inner = Inner()
        application = Admission(inner, 1_000)
        application._reads = Turns(0, 0)
        assert await exchange(application, {})() == [503]
        inner.go.set()
        assert await exchange(application, {"path": "/health/live"})() == [200]

    asyncio.run(run())


def test_slow_bodies_take_no_place_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BODY_SECONDS", 0.05)

    async def run() -> None:
        inner = Inner()
        inner.go.set()
        application = Admission(inner, 1_000)
        sent: list[int] = []

        async def never() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message.get("status", 0))

        slow = {"type": "http", "path": "/v1/x", "query_string": b"", "method": "POST"}
        slow["headers"] = [(b"transfer-encoding", b"chunked")]
        many = [asyncio.create_task(application(slow, never, send)) for _ in range(500)]
        await asyncio.sleep(0)
        assert await exchange(application, {"method": "POST"})() == [200]
        await asyncio.gather(*many)
        assert [status for status in sent if status] == [408] * 500

    asyncio.run(run())


def test_a_body_arrives_whole_and_its_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        inner = Inner()
        inner.go.set()
        application = Admission(inner, 1_000)
        posted = {"method": "POST", "headers": [(b"content-length", b"6")]}
        assert await exchange(application, posted, b"ab", b"cd", b"ef")() == [200]
        assert inner.seen == b"abcdef"
        monkeypatch.setattr(admission, "MAX_HELD_BYTES", 3)
        assert await exchange(application, posted, b"ab", b"cd", b"ef")() == [503]
        assert application._held == 0

    asyncio.run(run())


@pytest.fixture
def locked(settings: ApiSettings) -> Iterator[None]:
    """A database that another process has locked for writing."""
    other = sqlite3.connect(make_url(settings.database_url).database or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def test_reads_go_on_beside_more_blocked_writers_than_there_are_threads(
    settings: ApiSettings, locked: None, document: dict[str, Any]
) -> None:
    with serving(settings) as address, ThreadPoolExecutor(60) as pool:

        def post(number: int) -> httpx.Response:
            headers = {"Idempotency-Key": f"k{number}"}
            return httpx.post(f"{address}/v1/sweeps", json=document, headers=headers, timeout=120)

        posts = [pool.submit(post, number) for number in range(60)]
        while not any(future.done() for future in posts):
            for path in ("/v1/sweeps", "/health/live", "/v1/cluster"):
                answer = httpx.get(f"{address}{path}", timeout=120)
                assert answer.status_code == 200
        for future in posts:
            assert future.result().status_code == 503
            assert int(future.result().headers["Retry-After"]) >= 1


@contextlib.contextmanager
def bounded(settings: ApiSettings) -> Iterator[int]:
    """Serve the API as its own process serves it, and give the port."""
    config = uvicorn.Config(create_app(settings), port=0, http=BoundedHttp, ws="none", log_level="error")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def send_until_closed(port: int, begin: bytes, more: bytes, most: int) -> tuple[bytes, int]:
    """Send ``begin``, then ``more`` again and again; return the answer, and how many bytes the server took."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        sent = 0
        with contextlib.suppress(ConnectionError):
            connection.sendall(begin)
            while sent < most:
                connection.sendall(more)
                sent += len(more)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
        return answer, sent


POST = b"POST /v1/sweeps/validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Endless: ",
        b"GET /",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX-Trailer: ",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;extension=",
    ],
    ids=["header", "path", "trailer", "chunk extension"],
)
def test_what_never_ends_is_cut(settings: ApiSettings, begin: bytes) -> None:
    with bounded(settings) as port:
        answer, sent = send_until_closed(port, begin, b"a" * 16_384, 200_000_000)
        assert sent < 50_000_000, "the connection was closed by the server, not by the end of the test"
        assert not answer or answer.split()[1] in (b"431", b"400")
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200


def test_a_head_that_is_too_large_is_refused_in_words(settings: ApiSettings) -> None:
    with bounded(settings) as port:
        headers = {"Idempotency-Key": "k" * 40_000}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/sweeps", json={}, headers=headers)
        assert answer.status_code == 431
        assert "32,768" in answer.json()["detail"]
        assert len(answer.content) < 1_000


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["silent", "half a head"])
def test_half_open_connections_are_closed(settings: ApiSettings, monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_SECONDS", 0.2)
    with bounded(settings) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(begin)
        assert connection.recv(1) == b""


def test_a_connection_serves_many_requests_and_large_bodies(settings: ApiSettings, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    body += b" " * (900_000 - len(body))
    with bounded(settings) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            assert client.get("/health/live").status_code == 200
            assert client.post("/v1/sweeps/validate", content=body, headers=JSON).status_code == 200
            assert client.post("/v1/sweeps/validate", content=iter([body[:9], body[9:]]), headers=JSON).is_success
        assert client.post("/v1/sweeps/validate", content=b"[" * 1_500_000, headers=JSON).status_code == 413


def test_two_idempotency_keys_are_refused(api: httpx.Client, database: Database, document: dict[str, Any]) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = api.post("/v1/sweeps", json=document, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["problem"] == "is given more than once"
    assert rows(database, Sweep) == 0

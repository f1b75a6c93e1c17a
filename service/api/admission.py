"""How many requests are let in at once: beyond a bound the answer is 503 at once, instead of a queue without end.

Requests that only read and those that may write are counted apart, so that reads go on while the database is locked
by a writer: blocked writers take neither all threads nor all connections.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import security_headers
from service.api.problems import Refused, busy, refusal

READERS, WRITERS, REPORTERS = 3, 2, 1
"""How many requests of each kind one process works on at once; each may hold a thread and a connection.

More would not be faster: Python runs one thread at a time, and threads that take turns cost time of their own.
"""
MLFLOW_REQUESTS, MAX_WAITING_FOR_MLFLOW = 12, 60
"""How many requests to MLflow one process hands on at once, apart from the others: MLflow may be slow, or hang."""
MAX_WAITING_READS, MAX_WAITING_WRITES, MAX_WAITING_REPORTS = 200, 60, 20
"""How many more of each kind may wait for their turn in one process."""
WAIT_SECONDS, REPORT_WAIT_SECONDS = 5.0, 30.0
"""How long a request may wait for its turn, and one for a report, which takes longer."""
BODY_SECONDS = 30.0
"""How long a client may take to send a body."""
MAX_HELD_BYTES = 64_000_000
"""The most bytes of bodies that are being received at a time in one process."""
MAX_HEAD_BYTES = 32 * 1024
"""The most bytes of a request's path, query and headers."""
MLFLOW = "/mlflow/"
"""What begins so goes on to MLflow, and writes nothing to our database."""
REPORTS = re.compile(r"/v1/sweeps/[^/]+/(?:figures/.*|report\.html|trials\.csv|optuna\.db)")
"""Paths whose answers take seconds of computing, and so have a row of their own; so has a report with further parts."""
ALWAYS_OPEN = ("/health/live", "/health/ready")
"""Paths that are answered however many requests are waiting."""


class Turns:
    """Lets a number of requests through at once and a number wait for their turn; others are refused with 503.

    Args:
        at_once: How many may be inside at a time.
        waiting: How many may wait.
        seconds: How long one may wait.
    """

    def __init__(self, at_once: int, waiting: int, seconds: float | None = None) -> None:
        self._turn, self._left = asyncio.Semaphore(at_once), at_once + waiting
        self._seconds = seconds

    async def enter(self) -> None:
        """Wait for the turn; raise Refused (503) if too many wait, or if it has not come in time."""
        if self._left <= 0:
            raise busy()
        self._left -= 1
        try:
            async with asyncio.timeout(WAIT_SECONDS if self._seconds is None else self._seconds):
                await self._turn.acquire()
        except TimeoutError:
            self._left += 1
            raise busy() from None
        except BaseException:
            self._left += 1
            raise

    def leave(self) -> None:
        """Let the next one in."""
        self._turn.release()
        self._left += 1


class Admission:
    """ASGI middleware that admits requests in four rows: for reads, for what may write, for reports, and for MLflow.

    A body is received whole before its request is counted, so that slow senders keep nobody out. A request gives its
    place back when its answer begins, so that an open event stream takes none.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app, self._most = app, max_body_bytes
        self._reads = Turns(READERS, MAX_WAITING_READS)
        self._writes = Turns(WRITERS, MAX_WAITING_WRITES)
        self._reports = Turns(REPORTERS, MAX_WAITING_REPORTS, REPORT_WAIT_SECONDS)
        self._mlflow = Turns(MLFLOW_REQUESTS, MAX_WAITING_FOR_MLFLOW)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; everything but HTTP is passed on."""
        if scope["type"] != "http" or scope["path"] in ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        try:
            _check_head(scope)
            with self._received() as body:
                replayed = await self._whole(scope, receive, body)
                await self._admitted(scope, replayed, send)
        except Refused as error:
            await refusal(error)(scope, receive, partial(_secured, scope, send))

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        turns = self._turns(scope)
        await turns.enter()
        inside = True

        async def leaving(message: Message) -> None:
            nonlocal inside
            if inside and message["type"] == "http.response.start":
                inside = False
                turns.leave()
            await send(message)

        try:
            await self._app(scope, receive, leaving)
        finally:
            if inside:
                turns.leave()

    def _turns(self, scope: Scope) -> Turns:
        if scope["path"].startswith(MLFLOW):
            return self._mlflow
        if REPORTS.fullmatch(scope["path"]) or (scope["path"].endswith("/report") and scope["query_string"]):
            return self._reports
        return self._reads if scope["method"] in ("GET", "HEAD", "OPTIONS") else self._writes

    @contextmanager
    def _received(self) -> Iterator[list[Message]]:
        """Give a list for the parts of a body, which count as held until the block ends."""
        parts: list[Message] = []
        try:
            yield parts
        finally:
            self._held -= sum(len(part.get("body", b"")) for part in parts)

    async def _whole(self, scope: Scope, receive: Receive, parts: list[Message]) -> Receive:
        """Receive the body, up to the size above which it is refused, and return what gives it again.

        Raises:
            Refused: It takes too long (408), or too much is being received already (503).
        """
        if not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
            return receive
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while size <= self._most:
                    message = await receive()
                    parts.append(message)
                    got = len(message.get("body", b""))
                    size, self._held = size + got, self._held + got
                    if message["type"] != "http.request" or not message.get("more_body"):
                        break
                    if self._held > MAX_HELD_BYTES:
                        raise busy()
        except TimeoutError:
            detail = f"the body was not there after {BODY_SECONDS:g} seconds; send it again, whole"
            raise Refused(408, "Body too slow", detail) from None
        kept = iter(parts)

        async def again() -> Message:
            return next(kept, None) or await receive()

        return again


async def _secured(scope: Scope, send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        security_headers.add(message, scope["path"], scope.get("scheme") == "https")
    await send(message)


def _check_head(scope: Scope) -> None:
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MAX_HEAD_BYTES:
        detail = f"path, query and headers have {size:,} bytes; at most {MAX_HEAD_BYTES:,} are allowed"
        raise Refused(431, "Head too large", detail)

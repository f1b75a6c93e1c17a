"""An HTTP proxy before a server that loses, delays and repeats what passes through it, as a bad network does."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Act = Literal["drop reply", "drop request", "delay reply", "repeat request"]
"""What happens to a request that a rule takes:

- ``drop reply``: it is carried out, and the connection is reset before the reply.
- ``drop request``: the connection is reset before the server gets it.
- ``delay reply``: it is carried out, and the reply comes ``seconds`` later.
- ``repeat request``: the server gets it twice, one after the other, and the client gets the second reply.
"""
OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
"""Headers that concern one connection alone, in lower case."""


@dataclass
class Rule:
    """Which requests are disturbed, and how.

    Attributes:
        method: The method, such as "POST"; an empty text for any.
        path: A regular expression that is found in the path and query, such as "runs/create$".
        act: What happens to the request.
        nth: The first matching request that is taken, from 1.
        times: How many matching requests are taken, one after the other.
        seconds: How long ``delay reply`` waits.
        taken: How many requests were taken so far.
    """

    method: str
    path: str
    act: Act
    nth: int = 1
    times: int = 1
    seconds: float = 0.0
    taken: int = 0
    _matched: int = field(default=0, repr=False)

    def takes(self, method: str, path: str) -> bool:
        """Count a request that matches, and return whether it is one of those to disturb."""
        if (self.method and self.method != method) or not re.search(self.path, path):
            return False
        self._matched += 1
        if not self.nth <= self._matched < self.nth + self.times:
            return False
        self.taken += 1
        return True


@dataclass(frozen=True)
class Passed:
    """A request that came to the proxy.

    Attributes:
        method: Its method.
        path: Its path and query.
        act: What a rule did to it; empty if no rule took it.
        status: The server's status; 0 if the server did not get it, or gave no answer.
    """

    method: str
    path: str
    act: Act | Literal["", "cut"]
    status: int


class ReplyProxy:
    """Passes HTTP requests on to a server, except for what its rules say. Use it as a context manager.

    Args:
        target: The address of the server, such as "http://127.0.0.1:5000".
        port: The port to listen on at 127.0.0.1; 0 for a free one.

    Attributes:
        target: The address of the server. It may be changed while the proxy runs, as if the server had moved.
        url: The address of the proxy.
    """

    def __init__(self, target: str, port: int = 0) -> None:
        self.target = target
        self._rules: list[Rule] = []
        self._passed: list[Passed] = []
        self._lock = threading.Lock()
        self._cut = False
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> ReplyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, rule: Rule) -> Rule:
        """Add a rule and return it. Of several rules that take one request, the first added one acts."""
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def cut(self) -> None:
        """Reset every request from now on, without passing it on, until ``mend``."""
        self._cut = True

    def mend(self) -> None:
        """Pass requests on again."""
        self._cut = False

    def passed(self, path: str = "", method: str = "") -> list[Passed]:
        """Return the requests so far in whose path the regular expression ``path`` is found, the oldest first."""
        with self._lock:
            return [p for p in self._passed if re.search(path, p.path) and (not method or method == p.method)]

    def _act_on(self, method: str, path: str) -> tuple[Act | Literal["", "cut"], float]:
        if self._cut:
            return "cut", 0.0
        with self._lock:
            taking = [rule for rule in self._rules if rule.takes(method, path)]
        return (taking[0].act, taking[0].seconds) if taking else ("", 0.0)

    def _note(self, passed: Passed) -> None:
        with self._lock:
            self._passed.append(passed)

    def _ask(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the server's status, headers and body. Raises OSError or http.client.HTTPException."""
        address = urlsplit(self.target)
        connection = http.client.HTTPConnection(str(address.hostname), address.port or 80, timeout=120)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()


def _handler_of(proxy: ReplyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            answer = self._answer()
            if answer is None:
                self._reset()
            else:
                self._reply(*answer)

        def _answer(self) -> tuple[int, list[tuple[str, str]], bytes] | None:
            """Return the status, headers and body of the reply; None if the client gets none."""
            body = self._body()
            act, seconds = proxy._act_on(self.command, self.path)
            answer = None
            if act not in ("cut", "drop request"):
                headers = [(name, value) for name, value in self.headers.items() if name.lower() not in OWN_HEADERS]
                with suppress(OSError, http.client.HTTPException):
                    for _ in range(2 if act == "repeat request" else 1):
                        answer = proxy._ask(self.command, self.path, headers, body)
            proxy._note(Passed(self.command, self.path, act, answer[0] if answer else 0))
            if act == "delay reply":
                time.sleep(seconds)
            return None if act == "drop reply" else answer

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in OWN_HEADERS:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _reset(self) -> None:
            """Close the connection with a reset, so that the client sees an error and no end of a reply."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def handle(self) -> None:
            with suppress(OSError):  # the client has gone, or the connection was reset
                super().handle()

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

        def log_message(self, *_: Any) -> None:
            """Write nothing: ``ReplyProxy.passed`` has the requests."""

    return Handler

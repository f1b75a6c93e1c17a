"""HTTP connections that are bounded in what they may send beside bodies, and in how long a head may take.

uvicorn's fast parser has no such bounds: an endless header, trailer or chunk extension keeps the event loop busy and
fills the memory, and a connection that never finishes a head stays open for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_BYTES = 64 * 1024
"""The most bytes that may arrive without the end of a head or a piece of a body, to within one read of the socket."""
HEAD_SECONDS = 15.0
"""How long a client may take for a head, from the connection or from the first bytes of a later head."""
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol; it closes a connection whose head takes too long, or that sends endless heads or trailers."""

    _unused_bytes = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """End all waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, and close the connection if too much of it is neither head nor body."""
        self._unused_bytes += len(data)
        super().data_received(data)
        if not self._unused_bytes or self.transport.is_closing():
            return
        if self._unused_bytes > MAX_BYTES:
            if self._in_head and (self.cycle is None or self.cycle.response_complete):
                self.transport.write(TOO_LARGE)
            self.transport.close()
        elif self._in_head and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def on_headers_complete(self) -> None:
        """Note that the head is whole; httptools calls this."""
        self._in_head, self._unused_bytes = False, 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that a piece of a body has arrived; httptools calls this."""
        self._unused_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the next bytes belong to another head; httptools calls this."""
        self._in_head, self._unused_bytes = True, 0
        super().on_message_complete()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._in_head and not self.transport.is_closing():
            self.transport.close()

"""A real HTTP server that gets webhooks, verifies them with nothing but the standard library, and can misbehave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def verified(secret: str, headers: Any, body: bytes) -> bool:
    """What docs/webhooks.md tells a receiver to do, without the check of the time."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    shown = [part.partition(",")[2] for part in headers["webhook-signature"].split()]
    return any(hmac.compare_digest(expected, signature) for signature in shown)


class Receiver:
    """Serves during a ``with`` block.

    Attributes:
        got: The id and the document of each request, in order, whatever was answered.
        statuses: What is answered to the next requests; 200 once it is empty.
        before_answer: Called before each answer.
    """

    def __init__(self, port: int = 0) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.bodies: dict[str, set[bytes]] = {}
        self.statuses: list[int] = []
        self.before_answer: Callable[[], object] = lambda: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert verified(SECRET, self.headers, body)
                message_id = self.headers["webhook-id"]
                receiver.bodies.setdefault(message_id, set()).add(body)
                receiver.got.append((message_id, json.loads(body)))
                receiver.before_answer()
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Location", f"{receiver.url}/elsewhere")
                self.end_headers()

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

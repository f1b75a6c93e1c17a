"""A real HTTP server that stands in MLflow's place, keeps what it gets, and has large and hostile answers."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

PIECE = b"\0" * 65536


@dataclass
class Received:
    """One request: of a large body only the size is kept."""

    method: str
    target: str
    headers: Message
    body: bytes
    size: int


class Upstream:
    """Serves during a ``with`` block."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _pieces(self) -> list[bytes]:
                """Read the body; keep its first 1,000 bytes, and the sizes of the pieces."""
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return [self.rfile.read(int(self.headers.get("Content-Length", 0)))]
                sizes, first = 0, b""
                while count := int(self.rfile.readline(), 16):
                    piece = self.rfile.read(count)
                    self.rfile.readline()
                    first, sizes = first or piece[:1000], sizes + count
                self.rfile.readline()
                self.size = sizes
                return [first]

            def _keep(self) -> None:
                self.size = 0
                body = b"".join(self._pieces())
                size = self.size or len(body)
                upstream.requests.append(Received(self.command, self.path, self.headers, body, size))

            def _send(self, status: int, size: int, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(size))
                self.end_headers()

            def do_GET(self) -> None:
                self._keep()
                address = urlsplit(self.path)
                if address.path == "/redirect":
                    self._send(302, 0, Location=f"{upstream.url}/there")
                elif address.path == "/large":
                    left = int(parse_qs(address.query)["size"][0])
                    self._send(200, left)
                    while left:
                        left -= self.wfile.write(PIECE[:left])
                else:
                    self._send(200, 2, Content_Type="text/html", Set_Cookie="session=1", Server="MLflow")
                    self.wfile.write(b"ok")

            def do_POST(self) -> None:
                self.do_GET()

            def do_PUT(self) -> None:
                self._keep()
                self._send(204, 0)

        return Handler

"""Hide where the server keeps its files from everyone but administrators.

Reasons of failures and messages about data files name files by their whole paths, which an administrator needs and
which are nobody else's business. Known folders are replaced by names in every answer that is text.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.principal import principal_of
from service.settings import ApiSettings

TEXTS = ("application/json", "application/problem+json", "text/event-stream", "text/plain")
SHORTEST = 4
"""A shorter path, such as that of the root folder, is not replaced."""


def folders_of(settings: ApiSettings) -> dict[str, str]:
    """Return the folders of the server with the names that stand for them in answers.

    Args:
        settings: Where the data, the checkpoints and the database are.
    """
    kind, _, file = settings.database_url.partition(":///")
    found = {str(Path(folder).expanduser()): "SERVER" for folder in (Path.cwd(), Path.home(), tempfile.gettempdir())}
    found |= dict.fromkeys((sys.prefix, sys.base_prefix, str(Path(__file__).parents[2])), "PYTHON")
    if kind == "sqlite" and file:
        found[str(Path(file).resolve().parent)] = "SERVER"
    found[str(settings.checkpoint_dir.expanduser().absolute())] = "CHECKPOINTS"
    if settings.data_dir is not None:
        found[str(settings.data_dir.expanduser().absolute())] = "DATA"
    return found


class HiddenPaths:
    """ASGI middleware, inside the gate, that replaces folders in the answers to whoever is no administrator.

    Args:
        app: What is behind it.
        folders: The folders, each with the name that is put in its place.
    """

    def __init__(self, app: ASGIApp, folders: dict[str, str]) -> None:
        self._app = app
        self._names = {
            written: name
            for folder, name in folders.items()
            if len(folder) >= SHORTEST
            for path in {folder, str(Path(folder).resolve())}
            for written in _as_json(path)
        }
        longest_first = sorted(self._names, key=len, reverse=True)
        self._folders = re.compile(b"(?:" + b"|".join(map(re.escape, longest_first)) + rb")(?![\w-]|\.\w)")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        who = principal_of(scope) if scope["type"] == "http" else None
        if who is None or who.is_admin:
            await self._app(scope, receive, send)
            return
        held: Message | None = None
        is_text = False

        async def hidden(message: Message) -> None:
            nonlocal held, is_text
            if message["type"] == "http.response.start":
                headers = Headers(raw=message["headers"])
                is_text = headers.get("content-type", "").partition(";")[0] in TEXTS
                if is_text and "content-length" in headers:
                    held = message  # its Content-Length depends on the body; a stream has none, and begins at once
                    return
            elif is_text:
                message = {**message, "body": self._folders.sub(self._name, message.get("body", b""))}
                if held is not None:
                    changed = MutableHeaders(scope=held)
                    del changed["content-length"]
                    if not message.get("more_body"):
                        changed["content-length"] = str(len(message["body"]))
                    await send(held)
                    held = None
            await send(message)

        await self._app(scope, receive, hidden)

    def _name(self, found: re.Match[bytes]) -> bytes:
        return self._names[found[0]].encode()


def _as_json(path: str) -> Iterable[bytes]:
    """Return a path as the text of a JSON document may hold it."""
    return {json.dumps(path, ensure_ascii=escaped)[1:-1].encode() for escaped in (True, False)}

"""Fixtures for a service that requires tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from service.access.administration import create_token
from service.access.scopes import TokenScope
from service.settings import ApiSettings
from service.store.database import Database

NewToken = Callable[..., str]


@pytest.fixture
def settings(url: str) -> ApiSettings:
    return ApiSettings(database_url=url, auth="tokens", event_poll_seconds=0.01)


@pytest.fixture
def new_token(database: Database) -> NewToken:
    """A function that makes a token and returns its text."""

    def make(owner: str = "ada", scope: TokenScope = "submit", seconds: float | None = 3600) -> str:
        return create_token(database, owner, scope, seconds)[1]

    return make


@pytest.fixture
def call(base_url: str) -> Iterator[Callable[..., httpx.Response]]:
    """A function that makes one request, by default without a token, and with the headers given."""
    with httpx.Client(base_url=base_url, timeout=60) as client:

        def request(method: str, path: str, token: str | None = None, **options: object) -> httpx.Response:
            headers = dict(options.pop("headers", {}))  # type: ignore[call-overload]
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            client.cookies.clear()
            return client.request(method, path, headers=headers, **options)  # type: ignore[arg-type]

        yield request

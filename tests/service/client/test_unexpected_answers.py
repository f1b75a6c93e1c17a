"""The client in front of what is not the service, or of a connection that is cut within an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from service.client import ApiError, Client, RestClient, ServiceUnreachable

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler) -> Client:
    return Client("http://far.example", transport=httpx.MockTransport(handler), patience=0)


@pytest.mark.parametrize(
    "answer",
    [
        {"html": "<h1>Sign in</h1>"},
        {"json": [1]},
        {"json": {"other": 1}},
        {"content": b""},
        {"content": b'{"sweeps": [', "headers": {"content-type": "application/json"}},
    ],
)
def test_what_is_no_answer_of_the_service_is_an_api_error(answer: dict[str, Any]) -> None:
    with client_of(lambda _request: httpx.Response(200, **answer)) as client:
        metrics = partial(client.rest.metrics, "sw0123456789-0000")
        for call in (client.sweeps().to_list, partial(client.sweep, "sw0123456789"), metrics):
            with pytest.raises(ApiError, match=r"Unexpected answer \(200\)") as caught:
                call()
            assert caught.value.errors == []


def test_a_problem_of_another_server_is_an_api_error_with_its_status() -> None:
    other = {"title": "Bad request", "status": "wrong", "errors": {"name": ["is required"]}}
    with client_of(lambda _request: httpx.Response(400, json=other)) as client:
        with pytest.raises(ApiError, match=r"Bad request \(400\)") as caught:
            client.sweep("sw0123456789")
        assert (caught.value.status, caught.value.errors) == (400, [])


def test_an_answer_that_cannot_be_unpacked_is_no_answer() -> None:
    def damaged(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))

    with client_of(damaged) as client, pytest.raises(ServiceUnreachable, match=r"far\.example"):
        client.sweep("sw0123456789")


def test_an_event_that_is_cut_off_is_read_again_on_the_next_connection() -> None:
    one, two = ({"seq": seq, "kind": kind} for seq, kind in ((1, "sweep.running"), (2, "sweep.succeeded")))
    whole = [f"id: {event['seq']}\ndata: {json.dumps(event)}\n\n" for event in (one, two)]
    streams = [whole[0] + whole[1][:-8], whole[1], ""]

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, text=streams.pop(0))
        return httpx.Response(200, json={"state": "succeeded" if len(streams) < 2 else "running"})

    with RestClient("http://far.example", transport=httpx.MockTransport(handler), patience=0) as client:
        assert list(client.events("sw0123456789")) == [one, two]
    assert streams == []


@pytest.mark.parametrize("data", ["{no json", "[1]", '{"seq": 1}'])
def test_an_event_of_another_server_is_an_api_error(data: str) -> None:
    with (
        client_of(lambda _request: httpx.Response(200, text=f"data: {data}\n\n")) as client,
        pytest.raises(ApiError, match="an event of the stream is none of this service"),
    ):
        list(client.rest.events("sw0123456789"))

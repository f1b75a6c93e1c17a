"""Event streams over real HTTP: nothing lost, nothing twice, over reconnects and beside concurrent writers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from service.api import events as streaming
from service.settings import ApiSettings
from service.store import events, sweeps
from service.store.database import Database
from service.store.tables import Sweep
from tests.service.conftest import serving

BACKENDS = ["sqlite", "postgresql"]
NewSweep = Callable[..., Sweep]


def stream(api: httpx.Client, sweep_id: str, last: int | None = None, **query: Any) -> Iterator[dict[str, Any]]:
    """Yield the events of one connection, and check each one's id."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with api.stream("GET", f"/v1/sweeps/{sweep_id}/events", headers=headers, params=query) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        block: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
            elif "data" in block:
                event = json.loads(block["data"])
                assert (block["id"], block["event"]) == (str(event["seq"]), event["kind"])
                yield event
                block = {}


def write(database: Database, sweep_id: str, count: int, writer: int = 0) -> None:
    for number in range(count):
        with database.write() as session:
            events.record(session, sweep_id, "trial.metrics", {"writer": writer, "number": number})


def finish(database: Database, sweep_id: str) -> None:
    with database.write() as session:
        sweeps.move(session, sweep_id, "cancelling")
        sweeps.move(session, sweep_id, "cancelled")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stream_of_an_ended_sweep_ends(
    backend: str, api: httpx.Client, database: Database, new_sweep: NewSweep
) -> None:
    id = new_sweep().id
    write(database, id, 3)
    finish(database, id)
    found = list(stream(api, id))
    assert [event["seq"] for event in found] == [1, 2, 3, 4, 5, 6]
    assert found[-1]["kind"] == "sweep.cancelled"
    assert [event["seq"] for event in stream(api, id, last=4)] == [5, 6]
    assert [event["seq"] for event in stream(api, id, after=5)] == [6]
    assert [event["seq"] for event in stream(api, id, last=5, after=1)] == [6]
    assert api.get(f"/v1/sweeps/{id}/events", headers={"Last-Event-ID": "6"}).status_code == 204


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_lost_or_repeated_over_reconnects_beside_writers(
    backend: str, api: httpx.Client, database: Database, new_sweep: NewSweep
) -> None:
    id, writers, each = new_sweep().id, 4, 25
    found: list[dict[str, Any]] = []
    with ThreadPoolExecutor(writers + 1) as pool:
        written = [pool.submit(write, database, id, each, writer) for writer in range(writers)]

        def end() -> None:
            for writer in written:
                writer.result()
            finish(database, id)

        ending = pool.submit(end)
        while not found or found[-1]["kind"] != "sweep.cancelled":
            last = found[-1]["seq"] if found else 0
            found += islice(stream(api, id, last=last), 7)  # then the connection is dropped
        ending.result()
    assert [event["seq"] for event in found] == list(range(1, writers * each + 4))
    for writer in range(writers):
        mine = [e["data"]["number"] for e in found if e["data"].get("writer") == writer]
        assert mine == list(range(each))


def test_events_come_as_they_happen(api: httpx.Client, database: Database, new_sweep: NewSweep) -> None:
    id = new_sweep().id
    reader = stream(api, id)
    assert next(reader)["kind"] == "sweep.queued"
    for number in range(3):
        write(database, id, 1, writer=number)
        assert next(reader)["data"]["writer"] == number
    finish(database, id)
    assert [event["kind"] for event in reader] == ["sweep.cancelling", "sweep.cancelled"]


def test_a_quiet_stream_shows_that_it_lives(
    api: httpx.Client, database: Database, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "KEEPALIVE_SECONDS", 0.01)
    id = new_sweep().id
    with api.stream("GET", f"/v1/sweeps/{id}/events?after=1") as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [": ping", "", ": ping", ""]


def test_a_database_that_goes_away_and_comes_back_costs_no_event(
    api: httpx.Client, database: Database, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = new_sweep().id
    reader = stream(api, id)
    next(reader)
    fetched = failing_once(monkeypatch, events, "after")
    looked = failing_once(monkeypatch, sweeps, "heads")
    finish(database, id)
    assert [event["seq"] for event in reader] == [2, 3]
    assert fetched.is_set()
    assert looked.is_set()


def failing_once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> threading.Event:
    """Let a function of the store fail at its next call, and return what is set then."""
    failed, function = threading.Event(), getattr(module, name)

    def sometimes(*arguments: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise OperationalError("SELECT", {}, Exception("gone"))
        return function(*arguments)

    monkeypatch.setattr(module, name, sometimes)
    return failed


def test_listeners_share_one_look_at_the_database(
    api: httpx.Client, database: Database, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    fetched: list[str] = []
    shared, heads, after = threading.Event(), sweeps.heads, events.after

    def noted_heads(session: Any, ids: Any) -> Any:
        asked.append(len(ids))
        if len(asked) >= 5 and max(asked) >= 3:
            shared.set()
        return heads(session, ids)

    def noted_after(session: Any, id: str, *rest: Any) -> Any:
        fetched.append(id)
        return after(session, id, *rest)

    ids = [new_sweep().id for _ in range(3)]
    readers = [stream(api, ids[number % 3]) for number in range(9)]
    with ThreadPoolExecutor(len(readers)) as pool:
        assert [event["seq"] for event in pool.map(next, readers)] == [1] * 9
        monkeypatch.setattr(sweeps, "heads", noted_heads)
        monkeypatch.setattr(events, "after", noted_after)
        waiting = [pool.submit(next, reader) for reader in readers]
        assert shared.wait(60)
        assert max(asked) == 3, "one query asks for each sweep once, however many listen to it"
        assert fetched == [], "nobody reads events while there are none"
        for id in ids:
            finish(database, id)
        assert [future.result()["kind"] for future in waiting] == ["sweep.cancelling"] * 9
        assert [[event["seq"] for event in reader] for reader in readers] == [[3]] * 9


def test_an_open_stream_does_not_keep_the_server_from_ending(settings: ApiSettings, new_sweep: NewSweep) -> None:
    id = new_sweep().id
    with httpx.Client(timeout=30) as client:
        with serving(settings) as address:
            client.base_url = httpx.URL(address)
            reader = stream(client, id)
            assert next(reader)["seq"] == 1
        with pytest.raises((httpx.TransportError, StopIteration)):
            next(reader)

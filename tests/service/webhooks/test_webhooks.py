"""Each end of a sweep or trial reaches each webhook that wants it, whatever the webhook and the controller do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service.stack import ports
from service.store import components, leases, sweeps, trials, webhooks
from service.store.database import Database, LeadLost
from service.store.tables import Sweep, Trial
from service.webhooks import deliverer as module
from service.webhooks import sending
from service.webhooks.deliverer import Deliverer
from service.webhooks.targets import WebhookTarget
from tests.service.webhooks.receiver import SECRET, Receiver
from tests.waiting import until

Ended = tuple[Sweep, list[Trial]]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(module, "NOTE_SECONDS", 0.0)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "hook.secret"
    file.touch(0o600)
    file.write_text(SECRET + "\n")
    return file


@pytest.fixture
def target(secret: Path) -> Callable[..., WebhookTarget]:
    def make(url: str, **changes: object) -> WebhookTarget:
        fields = {"name": "hook", "url": url, "secret_file": secret, "private": True} | changes
        return WebhookTarget.model_validate(fields)

    return make


@contextmanager
def delivering(database: Database, *targets: WebhookTarget) -> Iterator[Deliverer]:
    """Lead, and deliver during the block."""
    with database.write() as session:
        term = leases.acquire(session, f"me {time.monotonic()}", 0.0)
    assert term is not None
    deliverer = Deliverer(database, targets, term)
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop()


def register(database: Database, *targets: WebhookTarget) -> None:
    with database.write() as session:
        webhooks.put_all(session, {target.name: target.events for target in targets})


def end_all(database: Database, running: tuple[Sweep, list[Trial]]) -> list[str]:
    """End the sweep's first two trials and then the sweep; return the ids of what has ended."""
    sweep, (first, second, *_) = running
    with database.write() as session:
        for trial, state in ((first, "succeeded"), (second, "failed")):
            row = trials.get(session, trial.id)
            trials.move(session, row, "running")
            row.objective = 0.25 if state == "succeeded" else None
            trials.move(session, row, state, None if state == "succeeded" else "no luck")  # type: ignore[arg-type]
    with database.write() as session:
        sweeps.move(session, sweep.id, "succeeded")
    return [first.id, second.id, sweep.id]


def subjects(receiver: Receiver) -> list[str]:
    return [document["data"].get("trial", document["data"]["sweep"])["id"] for _, document in receiver.got]


def left(database: Database) -> int:
    with database.read() as session:
        return webhooks.waiting(session)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_each_end_is_told_once_and_nothing_that_has_not_ended(
    backend: str, database: Database, running: Ended, target: Callable[..., WebhookTarget]
) -> None:
    with Receiver() as receiver, delivering(database, target(receiver.url)):
        ended = end_all(database, running)
        until(lambda: len(receiver.got) == len(ended) and not left(database))
    assert sorted(subjects(receiver)) == sorted(ended)
    assert len({message_id for message_id, _ in receiver.got}) == len(ended)
    of = {subject: document for subject, (_, document) in zip(subjects(receiver), receiver.got, strict=True)}
    first, second, sweep = (of[id] for id in ended)
    assert first["type"] == "trial.ended"
    assert (first["data"]["trial"]["state"], first["data"]["trial"]["objective"]) == ("succeeded", 0.25)
    assert (second["data"]["trial"]["state"], second["data"]["trial"]["reason"]) == ("failed", "no luck")
    assert sweep["type"] == "sweep.ended"
    assert (sweep["data"]["sweep"]["state"], sweep["data"]["sweep"]["name"]) == ("succeeded", "margins")
    assert sweep["data"]["best"]["id"] == ended[0]
    assert sweep["data"]["trials"] == {"succeeded": 1, "failed": 1, "waiting": 2}
    assert sweep["data"]["links"]["report"] == f"/v1/sweeps/{ended[2]}/report"
    assert sweep["timestamp"].endswith("Z")


def test_a_webhook_that_fails_first_gets_all_with_the_same_ids_and_bodies(
    database: Database, running: Ended, target: Callable[..., WebhookTarget]
) -> None:
    with Receiver() as receiver, delivering(database, target(receiver.url)):
        receiver.statuses = [500, 503, 429, 404, 302, 500]
        ended = end_all(database, running)
        until(lambda: not left(database))
    assert set(subjects(receiver)) == set(ended)
    assert len(receiver.got) == len(ended) + 6
    assert all(len(bodies) == 1 for bodies in receiver.bodies.values())  # nor was the redirect followed


def test_a_webhook_that_is_killed_and_comes_back_gets_all(
    database: Database, running: Ended, target: Callable[..., WebhookTarget]
) -> None:
    (port,) = ports.free(1)
    with delivering(database, target(f"http://127.0.0.1:{port}")):
        with Receiver(port) as first:
            first.statuses = [500] * 1000
            ended = end_all(database, running)
            until(lambda: first.got)
        until(lambda: tries(database) > 5)
        with Receiver(port) as second:
            until(lambda: not left(database))
    assert set(subjects(second)) == set(ended)


def tries(database: Database) -> int:
    with database.read() as session:
        return sum(message.tries for message in webhooks.next_messages(session, "hook", 100))


def test_a_slow_webhook_delays_no_other_and_is_not_waited_for(
    database: Database, running: Ended, target: Callable[..., WebhookTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 2.0)
    stop = threading.Event()
    with Receiver() as slow, Receiver() as quick:
        slow.before_answer = lambda: stop.wait(60)
        with delivering(database, target(slow.url, name="slow"), target(quick.url, name="quick")):
            ended = end_all(database, running)
            until(lambda: len(quick.got) == len(ended))
            until(lambda: len(slow.got) > 1)
            stop.set()
            until(lambda: not left(database))
    assert set(subjects(slow)) == set(ended)


def test_ends_while_no_controller_runs_are_told_by_the_next(
    database: Database, running: Ended, target: Callable[..., WebhookTarget]
) -> None:
    with Receiver() as receiver:
        register(database, target(receiver.url))
        ended = end_all(database, running)
        with delivering(database, target(receiver.url)):
            until(lambda: not left(database))
    assert sorted(subjects(receiver)) == sorted(ended)


def test_a_controller_that_dies_before_it_notes_the_delivery_repeats_the_id(
    database: Database, running: Ended, target: Callable[..., WebhookTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as receiver:
        with monkeypatch.context() as patched:
            patched.setattr(webhooks, "delivered", lambda *_: (_ for _ in ()).throw(LeadLost("killed here")))
            with delivering(database, target(receiver.url)):
                ended = end_all(database, running)
                until(lambda: receiver.got)
        with delivering(database, target(receiver.url)):
            until(lambda: not left(database))
    assert receiver.got[0] in receiver.got[1:]
    assert set(subjects(receiver)) == set(ended)


def test_a_change_that_is_rolled_back_tells_nobody(
    database: Database, running: Ended, target: Callable[..., WebhookTarget]
) -> None:
    register(database, target("http://127.0.0.1:9"))
    with suppress(ArithmeticError), database.write() as session:
        sweeps.move(session, running[0].id, "failed")
        assert webhooks.waiting(session) == 1
        raise ArithmeticError("power cut")
    assert left(database) == 0


def test_a_webhook_gets_only_the_events_that_it_wants(
    database: Database, running: Ended, target: Callable[..., WebhookTarget]
) -> None:
    with Receiver() as receiver, delivering(database, target(receiver.url, events=["sweep.ended"])):
        ended = end_all(database, running)
        until(lambda: receiver.got and not left(database))
    assert subjects(receiver) == ended[2:]


def test_one_that_is_gone_and_one_that_fails_for_a_day_are_given_up_and_health_says_so(
    database: Database, running: Ended, target: Callable[..., WebhookTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVE_UP_SECONDS", -60.0)  # everything ended longer ago than this
    with Receiver() as gone, Receiver() as failing:
        gone.statuses, failing.statuses = [410] * 100, [500] * 100
        with delivering(database, target(gone.url, name="gone"), target(failing.url, name="failing")):
            end_all(database, running)
            until(lambda: not left(database))
            until(lambda: len(health(database)[2]["given_up"]) == 2)
        healthy, message, detail = health(database)
    assert not healthy
    assert detail["given_up"] == {"gone": 3, "failing": 3}
    assert "failing was not told of 3 ends: the answer has status 500" in message


def health(database: Database) -> tuple[bool, str, dict[str, dict[str, int]]]:
    with database.read() as session:
        row = components.get(session, "webhooks")
    return (row.healthy, row.message, row.detail) if row else (True, "", {"given_up": {}})


def test_after_many_tries_a_message_is_given_up(
    database: Database, running: Ended, target: Callable[..., WebhookTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_TRIES", 3)
    with Receiver() as receiver, delivering(database, target(receiver.url, events=["sweep.ended"])):
        receiver.statuses = [500] * 100
        end_all(database, running)
        until(lambda: not left(database))
    assert len(receiver.got) == 3


def test_a_webhook_that_is_taken_out_of_the_file_gets_nothing_more(
    database: Database, running: Ended, target: Callable[..., WebhookTarget]
) -> None:
    with Receiver() as receiver:
        register(database, target(receiver.url))
        end_all(database, running)
        with delivering(database):
            pass
        assert left(database) == 0
        assert receiver.got == []
        assert health(database)[0]


def test_a_private_address_is_called_only_if_it_is_meant(
    database: Database, running: Ended, secret: Path, target: Callable[..., WebhookTarget]
) -> None:
    with Receiver() as receiver:
        by_name = target(f"https://localhost:{receiver.port}", private=False)
        by_number = target(f"https://127.0.0.1:{receiver.port}", private=False, name="number")
        with delivering(database, by_name, by_number):
            end_all(database, running)
            until(lambda: tries(database) > 1)
            until(lambda: last_errors(database, "number"))
        assert receiver.got == []
        assert "which is not public" in last_errors(database, "hook")[0]
        assert "127.0.0.1, which is not public" in last_errors(database, "number")[0]


def last_errors(database: Database, name: str) -> list[str]:
    with database.read() as session:
        return [m.last_error for m in webhooks.next_messages(session, name, 100) if m.last_error]


def test_messages_carry_no_secret_and_no_path_of_the_server(
    database: Database, running: Ended, target: Callable[..., WebhookTarget], tmp_path: Path
) -> None:
    with Receiver() as receiver, delivering(database, target(receiver.url)):
        end_all(database, running)
        until(lambda: not left(database))
    text = json.dumps(receiver.got)
    assert SECRET not in text
    assert str(tmp_path) not in text

"""The thread that tells the webhooks what has ended: each by itself, again after growing pauses, for a day at most."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from service.store import components, webhooks
from service.store.database import Database, LeadLost
from service.store.tables import WebhookMessage
from service.webhooks.message import body_of, headers_of
from service.webhooks.sending import NotDelivered, send
from service.webhooks.targets import WebhookTarget, WrongWebhooks, secrets_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""The pause between two looks for messages."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 3600.0
"""How long a webhook is left alone after its first failure in a row, and at most; the pause doubles with each."""
GIVE_UP_SECONDS, FORGET_SECONDS = 86_400.0, 7 * 86_400.0
"""After a failure, what ended longer ago than this is given up; and what was given up is forgotten after this time."""
MOST_TRIES = 40
BATCH = 20
"""The most messages that one webhook gets between two looks."""
NOTE_SECONDS = 5.0
STOP_SECONDS = 5.0


class Deliverer:
    """Sends the waiting messages in a thread of its own, from ``start`` until ``stop`` or the end of the term.

    A message is deleted only after its webhook has said that it has it. If the controller is killed between the two,
    the message is sent again, with the same id.

    Args:
        database: The service's database.
        targets: The webhooks.
        term: The leadership term, checked with every write to the database.
    """

    def __init__(self, database: Database, targets: Sequence[WebhookTarget], term: int) -> None:
        self._database, self._targets, self._term = database, {t.name: t for t in targets}, term
        self._stop = threading.Event()
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._noted_at = -NOTE_SECONDS
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Store which webhooks there are, and start the thread. It can be started only once.

        Raises:
            LeadLost: If another controller leads by now.
            sqlalchemy.exc.SQLAlchemyError: If the database cannot be used.
        """
        with self._database.write(self._term) as session:
            webhooks.put_all(session, {name: target.events for name, target in self._targets.items()})
            if not self._targets:
                components.remove(session, "webhooks")
        if self._targets:
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end after the tries that are under way, and wait for that at most ``STOP_SECONDS``."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=STOP_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                asyncio.run(self.deliver())
                self._write_health()
            except LeadLost:
                return  # the controller's own loop logs it
            except SQLAlchemyError as error:
                log.warning("webhooks wait for the database: %s", str(error).splitlines()[0])
            except Exception:
                log.exception("unexpected error while calling webhooks; trying again")
                self._stop.wait(LONGEST_PAUSE_SECONDS / 60)
            self._stop.wait(LOOK_SECONDS)

    async def deliver(self) -> None:
        """Send each webhook that is not paused up to ``BATCH`` of its messages, all webhooks side by side.

        Raises:
            LeadLost: If another controller leads by now.
            sqlalchemy.exc.SQLAlchemyError: If the database cannot be used.
        """
        now = time.monotonic()
        due = [target for name, target in self._targets.items() if self._not_before.get(name, 0.0) <= now]
        results = await asyncio.gather(*(self._deliver_to(target) for target in due), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _deliver_to(self, target: WebhookTarget) -> None:
        with self._database.read() as session:
            messages = webhooks.next_messages(session, target.name, BATCH)
            bodies = [body_of(session, message) for message in messages]
        for message, body in zip(messages, bodies, strict=True):
            if self._stop.is_set():
                return
            try:
                await send(target, body, headers_of(message.id, body, secrets_of(target), time.time()))
            except (NotDelivered, WrongWebhooks) as error:
                self._has_failed(target, message, error)
                return
            with self._database.write(self._term) as session:
                webhooks.delivered(session, message.id)
            self._failures.pop(target.name, None)

    def _has_failed(self, target: WebhookTarget, message: WebhookMessage, error: NotDelivered | WrongWebhooks) -> None:
        failures = self._failures.get(target.name, 0)
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(failures, 20), LONGEST_PAUSE_SECONDS)
        self._failures[target.name] = failures + 1
        self._not_before[target.name] = time.monotonic() + pause
        give_up = (isinstance(error, NotDelivered) and error.gone) or message.tries + 1 >= MOST_TRIES
        with self._database.write(self._term) as session:
            webhooks.failed(session, message.id, str(error), give_up=give_up)
            lost = webhooks.give_up_older(session, target.name, time.time() - GIVE_UP_SECONDS, str(error))
        if give_up or lost:
            log.error("webhook %s is not told of %d ends: %s", target.name, lost + give_up, error)
        elif not failures:
            log.warning("webhook %s did not take a message; trying again: %s", target.name, error)

    def _write_health(self) -> None:
        if time.monotonic() - self._noted_at < NOTE_SECONDS:
            return
        with self._database.write(self._term) as session:
            webhooks.forget_given_up(session, time.time() - FORGET_SECONDS)
            lost, waiting = webhooks.given_up(session), webhooks.waiting(session)
            message = "; ".join(
                [
                    f"{waiting} messages wait",
                    *(f"{name} does not answer as it should" for name in self._failures),
                    *(f"{name} was not told of {count} ends: {why}" for name, (count, why) in lost.items()),
                ]
            )
            detail = {"waiting": waiting, "given_up": {name: count for name, (count, _) in lost.items()}}
            components.note(session, "webhooks", not self._failures and not lost, message, detail)
        self._noted_at = time.monotonic()

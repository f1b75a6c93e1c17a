"""Webhooks, and the messages that each has yet to get. The caller commits.

A message is written in the transaction that ends a sweep or trial, one for each webhook that wants to know, and is
deleted once the webhook has it. It names what has ended; its body is made from the other tables when it is sent, and is
the same at every try, because what has ended does not change. If it is run again, or is deleted, the message goes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from service.store.tables import Sweep, Trial, Webhook, WebhookMessage

SWEEP_ENDED: Final = "sweep.ended"
TRIAL_ENDED: Final = "trial.ended"
"""What a webhook can be told."""


def put_all(session: Session, events: Mapping[str, Iterable[str]]) -> None:
    """Replace all webhooks, and delete the messages of those that are gone.

    Args:
        session: A session in a write transaction.
        events: The kinds of message that each webhook wants, by its name.
    """
    for webhook in session.scalars(select(Webhook)):
        if webhook.name not in events:
            session.execute(delete(WebhookMessage).where(WebhookMessage.webhook == webhook.name))
            session.delete(webhook)
    for name, kinds in events.items():
        session.merge(Webhook(name=name, events=sorted(kinds)))


def sweep_ended(session: Session, sweep: Sweep) -> None:
    """Add a message about a sweep that has ended, for each webhook that wants it."""
    _add(session, SWEEP_ENDED, sweep.id, None, sweep.ended_at)


def trial_ended(session: Session, trial: Trial) -> None:
    """Add a message about a trial that has ended, for each webhook that wants it."""
    _add(session, TRIAL_ENDED, trial.sweep_id, trial.id, trial.ended_at)


def withdraw(session: Session, sweep_id: str, trial_ids: Sequence[str] | None = None) -> None:
    """Delete the messages that are yet to be sent about the ends of some trials, or of the sweep itself for None."""
    about = WebhookMessage.trial_id.is_(None) if trial_ids is None else WebhookMessage.trial_id.in_(trial_ids)
    session.execute(delete(WebhookMessage).where(WebhookMessage.sweep_id == sweep_id, about))


def next_messages(session: Session, webhook: str, limit: int) -> list[WebhookMessage]:
    """Return the messages that a webhook is to get next: those that were tried least often, the oldest first."""
    query = select(WebhookMessage).where(WebhookMessage.webhook == webhook, WebhookMessage.gave_up.is_(False))
    return list(
        session.scalars(query.order_by(WebhookMessage.tries, WebhookMessage.at, WebhookMessage.id).limit(limit))
    )


def subject(session: Session, message: WebhookMessage) -> tuple[Sweep, Trial | None]:
    """Return what a message is about: the sweep, and the trial if it is about one."""
    trial = session.get_one(Trial, message.trial_id) if message.trial_id else None
    return session.get_one(Sweep, message.sweep_id), trial


def delivered(session: Session, message_id: str) -> None:
    """Delete a message that its webhook has got; do nothing if it is gone already."""
    session.execute(delete(WebhookMessage).where(WebhookMessage.id == message_id))


def failed(session: Session, message_id: str, error: str, *, give_up: bool) -> None:
    """Note that a try to send a message has failed, and why.

    Args:
        session: A session in a write transaction.
        message_id: The message.
        error: The reason, for a person to read.
        give_up: Whether it is not to be tried again.
    """
    changed = {"tries": WebhookMessage.tries + 1, "last_error": error, "gave_up": give_up}
    session.execute(update(WebhookMessage).where(WebhookMessage.id == message_id).values(changed))


def give_up_older(session: Session, webhook: str, than: float, error: str) -> int:
    """Give up the messages of a webhook about what ended before a time, and return how many these are."""
    old = (WebhookMessage.webhook == webhook, WebhookMessage.gave_up.is_(False), WebhookMessage.at < than)
    changed = update(WebhookMessage).where(*old).values(gave_up=True, last_error=error).returning(WebhookMessage.id)
    return len(session.scalars(changed).all())


def forget_given_up(session: Session, than: float) -> None:
    """Delete the messages that were given up, about what ended before a time."""
    session.execute(delete(WebhookMessage).where(WebhookMessage.gave_up.is_(True), WebhookMessage.at < than))


def given_up(session: Session) -> dict[str, tuple[int, str]]:
    """Return how many messages of each webhook were given up, and one of the reasons, by the webhook's name."""
    query = select(WebhookMessage.webhook, func.count(), func.max(WebhookMessage.last_error))
    rows = session.execute(query.where(WebhookMessage.gave_up.is_(True)).group_by(WebhookMessage.webhook))
    return {name: (count, reason or "") for name, count, reason in rows}


def waiting(session: Session) -> int:
    """Return how many messages are yet to be sent."""
    query = select(func.count()).select_from(WebhookMessage).where(WebhookMessage.gave_up.is_(False))
    return session.scalar(query) or 0


def _add(session: Session, kind: str, sweep_id: str, trial_id: str | None, at: float | None) -> None:
    for webhook in _known(session):
        if kind in webhook.events:
            message_id = f"msg_{secrets.token_hex(12)}"
            session.add(
                WebhookMessage(
                    id=message_id, webhook=webhook.name, kind=kind, sweep_id=sweep_id, trial_id=trial_id, at=at
                )
            )


def _known(session: Session) -> list[Webhook]:
    """Return all webhooks, read once for each session: one transaction may end thousands of trials."""
    if "webhooks" not in session.info:
        session.info["webhooks"] = list(session.scalars(select(Webhook)))
    found: list[Webhook] = session.info["webhooks"]
    return found

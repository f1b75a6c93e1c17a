"""The body and the signature of a message, as the Standard Webhooks describe them (standardwebhooks.com)."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from service.store import points, trials, webhooks
from service.store.tables import Sweep, Trial, WebhookMessage


def body_of(session: Session, message: WebhookMessage) -> bytes:
    """Return the body of a message, which is the same at every try: JSON about what has ended.

    Links are paths below the address of the service.
    """
    sweep, trial = webhooks.subject(session, message)
    data: dict[str, Any] = {"sweep": _sweep(sweep)}
    if trial is not None:
        data |= {
            "trial": _trial(trial),
            "links": {"trial": f"/v1/trials/{trial.id}", "sweep": f"/v1/sweeps/{sweep.id}"},
        }
    else:
        best = points.best_trial(session, sweep)
        data |= {
            "best": _trial(best) if best else None,
            "trials": {state: count for state, (count, _) in trials.tally(session, [sweep.id])[sweep.id].items()},
            "links": {"sweep": f"/v1/sweeps/{sweep.id}", "report": f"/v1/sweeps/{sweep.id}/report"},
        }
    document = {"type": message.kind, "timestamp": _time(message.at), "data": data}
    return json.dumps(document, separators=(",", ":")).encode()


def headers_of(message_id: str, body: bytes, secrets: Sequence[bytes], now: float) -> dict[str, str]:
    """Return the headers of one try: the id, which is the same at every try, its time, and a signature by each secret.

    Args:
        message_id: The id of the message.
        body: The body.
        secrets: What it is signed with.
        now: The time, in seconds since the Unix epoch.
    """
    timestamp = str(int(now))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": "spectral-rnn-service",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _sweep(sweep: Sweep) -> dict[str, Any]:
    return {
        "id": sweep.id,
        "name": sweep.name,
        "owner": getattr(sweep, "owner", "local"),
        "state": sweep.state,
        "reason": sweep.reason,
        "created_at": _time(sweep.created_at),
        "ended_at": _time(sweep.ended_at),
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "id": trial.id,
        "number": trial.number,
        "params": trial.params,
        "state": trial.state,
        "reason": trial.reason,
        "step": trial.step,
        "objective": trial.objective,
        "best_step": trial.best_step,
        "ended_at": _time(trial.ended_at),
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

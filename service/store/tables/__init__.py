"""The tables, which are the source of truth. The state of Ray, of MLflow and of the web page follows from these rows.

Times are in seconds since the Unix epoch. JSON columns hold plain documents.
"""

from service.store.tables.access import LOCAL_OWNER, AuditEntry, Owner, PageSession, Token
from service.store.tables.controllers import Component, Lease
from service.store.tables.messages import Event, OutboxEntry, Projection, Webhook, WebhookMessage
from service.store.tables.metadata import Base
from service.store.tables.packs import Attempt, CostSample, Pack, PackLine
from service.store.tables.sweeps import IdempotencyKey, RemovedSweep, Sweep, SweepTag
from service.store.tables.trials import Trial, TrialCheckpoint, TrialReport

__all__ = [
    "LOCAL_OWNER",
    "Attempt",
    "AuditEntry",
    "Base",
    "Component",
    "CostSample",
    "Event",
    "IdempotencyKey",
    "Lease",
    "OutboxEntry",
    "Owner",
    "Pack",
    "PackLine",
    "PageSession",
    "Projection",
    "RemovedSweep",
    "Sweep",
    "SweepTag",
    "Token",
    "Trial",
    "TrialCheckpoint",
    "TrialReport",
    "Webhook",
    "WebhookMessage",
]

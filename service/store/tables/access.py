"""The tables of who may use the service: owners, their tokens and browser sessions, and what was asked for."""

from __future__ import annotations

import time

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.metadata import Base

LOCAL_OWNER = "local"
"""The owner of what is stored while no tokens are required, and of what releases without owners stored."""


class Owner(Base):
    """Who may own tokens and sweeps, and how much of the service is theirs at a time. A limit of None is the default.

    Attributes:
        requests_per_second: How many requests each process of the API answers.
        running_trials: How many trials are trained at the same time.
        open_sweeps: How many sweeps may be submitted that have not ended.
        open_trials: How many trials these sweeps may have together.
        stored_bytes: How many bytes the checkpoints of all their sweeps may take when a sweep is submitted.
        weight: Their part of the cluster while it is short, compared with the weights of others.
        running_cpus: How many CPUs their packs take at the same time.
        running_gpus: How many GPUs their packs take at the same time.
        highest_priority: The highest priority of their sweeps.
    """

    __tablename__ = "owners"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    requests_per_second: Mapped[float | None]
    running_trials: Mapped[int | None]
    open_sweeps: Mapped[int | None]
    open_trials: Mapped[int | None]
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    weight: Mapped[float | None]
    running_cpus: Mapped[float | None]
    running_gpus: Mapped[float | None]
    highest_priority: Mapped[int | None]
    created_at: Mapped[float] = mapped_column(default=time.time)


class Token(Base):
    """A token that admits requests. Its text is not stored, and was shown once.

    Attributes:
        id: The public part of the text.
        digest: The SHA-256 of the whole text. The text has 256 random bits, so a slower hash would add nothing.
        scope: ``read``, ``submit`` or ``admin``.
        expires_at: From when on it admits nothing; None for never.
        revoked_at: When it was revoked; None if it was not.
        used_at: When it was last used, to within a few minutes; None if it never was.
    """

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), index=True, unique=True)
    owner: Mapped[str] = mapped_column(ForeignKey("owners.name"), index=True)
    scope: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    used_at: Mapped[float | None]


class PageSession(Base):
    """A browser that has signed in with a token. It is admitted as long as its token is, at most until ``expires_at``.

    Attributes:
        digest: The SHA-256 of the cookie's 256 random bits.
    """

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"), index=True)
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float] = mapped_column(index=True)


class AuditEntry(Base):
    """One request that changed something or was refused, or one command of an administrator.

    Attributes:
        owner: Who made it; None if that is not known.
        token_id: The token's public part; None without a token.
        action: The method and the path, or the command.
        subject: The id of the sweep, trial or token that it was about; None if there is none.
        client: The address that it came from; ``command line`` for a command.
        status: The HTTP status of the answer; 200 for a command.
        reason: Why it was refused; None if it was not.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(index=True, default=time.time)
    owner: Mapped[str | None] = mapped_column(String(60))
    token_id: Mapped[str | None] = mapped_column(String(20))
    action: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str | None] = mapped_column(String(48))
    client: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(200))

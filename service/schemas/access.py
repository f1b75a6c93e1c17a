"""Who is signed in, and what was changed or refused."""

from __future__ import annotations

from service.access.scopes import TokenScope
from service.schemas.document import Document
from service.schemas.times import Time


class WhoAmI(Document):
    """Who makes this request, and what they may do."""

    owner: str
    """Under which name sweeps are submitted; ``local`` while no tokens are required."""
    scope: TokenScope
    """``read``, ``submit``, which includes read, or ``admin``, which includes both and sees what others own."""
    token_id: str | None
    """The public part of the token; null while no tokens are required."""
    expires_at: Time | None
    """When the token or the session ends; null for never."""


class AuditView(Document):
    """One request that changed something or was refused, or one command of an administrator."""

    id: int
    """The entry's number; later ones are higher."""
    at: Time
    """When it happened."""
    owner: str | None
    """Who made it; null if that is not known."""
    token_id: str | None
    """The public part of the token; null without a token."""
    action: str
    """The method and the path, or the command."""
    subject: str | None
    """The id of the sweep, trial or token that it was about; null if there is none."""
    client: str
    """The address that it came from; ``command line`` for a command."""
    status: int
    """The HTTP status of the answer; 200 for a command."""
    reason: str | None
    """Why it was refused; null if it was not."""


class AuditPage(Document):
    """One page of the audit log, the newest entries first."""

    entries: list[AuditView]
    """The entries of this page."""
    next_before: int | None
    """The ``before`` of the next page; null if this page is not full."""

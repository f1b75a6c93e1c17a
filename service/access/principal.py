"""Who makes a request, and what they may do. The API's gate finds it out once, and puts it into the request's scope."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from service.access.scopes import SCOPES, TokenScope
from service.store.tables import LOCAL_OWNER

_KEY = "spectral.principal"


@dataclass(frozen=True)
class Principal:
    """Who makes a request.

    Attributes:
        owner: The name under which the request's sweeps are stored.
        scope: What the request may do.
        token_id: The public part of the token; None while no tokens are required.
        expires_at: When the token or the session ends, in seconds since 1970; None for never.
        requests_per_second: How many requests the owner may make; None for any number.
    """

    owner: str
    scope: TokenScope
    token_id: str | None = None
    expires_at: float | None = None
    requests_per_second: float | None = None

    @property
    def is_admin(self) -> bool:
        """Whether the request may see and steer what others own, and read the audit log and the server's paths."""
        return self.scope == "admin"

    @property
    def sees(self) -> str | None:
        """The owner whose sweeps the request sees; None if it sees those of every owner."""
        return None if self.is_admin else self.owner

    def may(self, scope: TokenScope) -> bool:
        """Return whether the request has a scope, itself or by one that includes it."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


LOCAL = Principal(LOCAL_OWNER, "admin")
"""Who makes every request while no tokens are required."""


def principal_of(scope: MutableMapping[str, Any]) -> Principal | None:
    """Return who makes the request of an ASGI scope.

    It is None on the few routes that are open to everyone, for a request without a valid token or session.
    """
    found: Principal | None = scope.get(_KEY)
    return found


def mark(scope: MutableMapping[str, Any], principal: Principal | None) -> None:
    """Store who makes the request in its ASGI scope, where ``principal_of`` finds it."""
    scope[_KEY] = principal

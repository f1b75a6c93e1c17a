"""What a token permits."""

from __future__ import annotations

from typing import Literal, get_args

TokenScope = Literal["read", "submit", "admin"]
"""What a token permits; each includes those before it."""
SCOPES: tuple[TokenScope, ...] = get_args(TokenScope)

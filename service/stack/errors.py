"""Why a stack does not start, each with what to do."""

from __future__ import annotations

from pathlib import Path


class StackError(RuntimeError):
    """Of all below."""


class PortTaken(StackError):
    def __init__(self, port: int, what: str, option: str) -> None:
        super().__init__(f"port {port}, wanted for {what}, is taken by another program; choose another with {option}")


class HomeBusy(StackError):
    def __init__(self, home: Path, holder: str) -> None:
        super().__init__(f"{home} is in use by {holder}; use that one, stop it, or choose another folder with --home")


class StackFailed(StackError):
    """A part ended or did not get ready."""

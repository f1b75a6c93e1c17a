"""Why a stack does not start, each with what to do."""

from __future__ import annotations

from pathlib import Path


class StackError(RuntimeError):
    """Of all below."""


class Unusable(StackError):
    """Something given cannot be used as it is."""


class PortTaken(Unusable):
    def __init__(self, port: int, what: str, option: str) -> None:
        super().__init__(f"port {port}, wanted for {what}, is taken by another program; choose another with {option}")


class SamePort(Unusable):
    def __init__(self, port: int) -> None:
        super().__init__(f"--port and --mlflow-port are both {port}; give two different ones")


class HomeUnusable(Unusable):
    def __init__(self, home: Path, error: OSError) -> None:
        why = (error.strerror or type(error).__name__).lower()
        super().__init__(f"{home} cannot be used as a folder ({why}); choose another one with --home")


class HomeBusy(StackError):
    def __init__(self, home: Path, holder: str) -> None:
        super().__init__(f"{home} is in use by {holder}; use that one, stop it, or choose another folder with --home")


class StackFailed(StackError):
    """A part ended or did not get ready."""

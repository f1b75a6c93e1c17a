"""Why a stack does not start. Each message says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class StackError(RuntimeError):
    """The base of the errors below."""


class Unusable(StackError):
    """An option, or this installation, cannot be used as it is."""


class NotInstalled(Unusable):
    """A package that the stack needs is missing."""

    def __init__(self, names: Sequence[str]) -> None:
        missing = " and ".join(names)
        verb = "is" if len(names) == 1 else "are"
        super().__init__(f"{missing} {verb} not installed; run: pip install 'spectral-rnn-service[all]'")


class PortTaken(Unusable):
    """Another program listens on a port."""

    def __init__(self, port: int, what: str, option: str) -> None:
        super().__init__(
            f"port {port}, meant for {what}, is taken by another program; choose another one with {option}"
        )


class SamePort(Unusable):
    """The API and MLflow were given the same port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"--port and --mlflow-port are both {port}; give two different ones")


class HomeUnusable(Unusable):
    """The home cannot be created or written to."""

    def __init__(self, home: Path, error: OSError) -> None:
        why = (error.strerror or type(error).__name__).lower()
        super().__init__(f"{home} cannot be used as a folder ({why}); choose another one with --home")


class HomeBusy(StackError):
    """Another stack runs in the home."""

    def __init__(self, home: Path, holder: str) -> None:
        super().__init__(
            f"{home} is in use by {holder}; use that service, stop it, or choose another folder with --home"
        )


class StackFailed(StackError):
    """A process ended during the start, or did not get ready in time."""

"""The reasons why a stack does not start. Each message says what was found and what to do, or where the logs are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class StackError(RuntimeError):
    """A stack cannot start, or does not work after its start. It is the base of the errors below."""


class Unusable(StackError):
    """A stack cannot start with these options or this installation; starting it again needs a change of them."""


class NotInstalled(Unusable):
    """Packages that the stack's processes import are not installed for this Python.

    Args:
        names: The missing packages.
        on_pythonpath: Those of them that are in a folder of PYTHONPATH, which the processes do not get.
    """

    def __init__(self, names: Sequence[str], on_pythonpath: Sequence[str] = ()) -> None:
        message = f"{_listed(names)} not installed; run: pip install 'spectral-rnn-service[all]'"
        if on_pythonpath:
            message += (
                f". {_listed(on_pythonpath)} in a folder of PYTHONPATH, which the service's processes do not get; to "
                "pass it on to them, set SPECTRAL_PASS_ENV=PYTHONPATH"
            )
        super().__init__(message)


class PortTaken(Unusable):
    """A port that was asked for cannot be listened on: another program does, or the user may not."""

    def __init__(self, port: int, what: str, option: str) -> None:
        super().__init__(
            f"port {port}, meant for {what}, is taken by another program or reserved; choose another one with {option}"
        )


class SamePort(Unusable):
    """The same port was asked for, or picked, for the API and for MLflow."""

    def __init__(self, port: int) -> None:
        super().__init__(f"--port and --mlflow-port are both {port}; give two different ones")


class HomeUnusable(Unusable):
    """The stack's folder, or a file in it, cannot be created or opened for writing."""

    def __init__(self, home: Path, error: OSError) -> None:
        why = (error.strerror or type(error).__name__).lower()
        super().__init__(f"{home} cannot be used as a folder ({why}); choose another one with --home")


class HomeOpen(Unusable):
    """Other users of this machine could read the stack's folder or change what is in it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} {why}, so other users of this machine could read or change results; choose a folder of your own "
            "with --home"
        )


class HomeBusy(StackError):
    """Another process has locked the stack's folder: a stack runs in it."""

    def __init__(self, home: Path, holder: str) -> None:
        super().__init__(
            f"{home} is in use by {holder}; use that service, stop it, or choose another folder with --home"
        )


class StackFailed(StackError):
    """During the start a process ended again and again, or was not ready in time."""


def _listed(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"

"""What goes wrong with a call: the service refuses it, or no service answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.schemas import SweepSummary


class ApiError(Exception):
    """The server answered a call with an error status, or with what is no answer of this service.

    Attributes:
        problem: The server's problem document, with ``title``, ``status``, ``detail`` and ``errors``. If the answer was
            none, such as that of a proxy, its title begins with "Unexpected answer", and its detail says what came.
        status: The HTTP status code.
        errors: The refused fields or parameters, each with ``field``, ``given``, ``problem`` and ``allowed``; empty if
            the problem lies elsewhere.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        self.problem = problem
        self.status = int(problem.get("status", 0))
        self.errors: list[dict[str, Any]] = list(problem.get("errors") or [])
        remedy = "; Client takes a token as token=..., or from SPECTRAL_TOKEN" if self.status == 401 else ""
        super().__init__(f"{problem.get('title')} ({self.status}): {problem.get('detail')}{remedy}")


class ServiceUnreachable(ConnectionError):
    """No server answered at the client's address within its patience."""


class SweepFailed(Exception):
    """A sweep that was waited for has failed.

    Attributes:
        sweep: The sweep. Its ``reason`` says why it failed.
    """

    def __init__(self, sweep: SweepSummary) -> None:
        self.sweep = sweep
        super().__init__(f"the sweep {sweep.id} has failed: {sweep.reason or 'no reason is known'}")

"""Clients of the service.

    from service.client import Client

    client = Client("http://127.0.0.1:8000")
    sweep = client.submit({"task": {"name": "digits"}, "space": {"model.margin": [0.01, 0.1]}})
    sweep.wait()
    print(sweep.best.objective, sweep.trials().to_pandas())
    network = sweep.best_trial().load()

``Client`` returns sweeps and trials as objects. ``AsyncClient`` has the same methods, to be awaited. ``RestClient`` and
``AsyncRestClient`` return all documents as dictionaries, as they are in JSON; the service's page ``/docs`` shows their
fields.
"""

# The code is written once, in service.client.asynchronous; service.client.blocking is made of it by `make
# blocking-client`. What is repeated, and which error a call ends with, is decided in service.client.rules.

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.client.asynchronous.client import AsyncClient
    from service.client.asynchronous.rest import AsyncRestClient
    from service.client.asynchronous.rows import AsyncRows
    from service.client.asynchronous.sweeps import AsyncListedSweep, AsyncSweepHandle
    from service.client.asynchronous.trials import AsyncTrialHandle
    from service.client.blocking.client import Client
    from service.client.blocking.rest import RestClient
    from service.client.blocking.rows import Rows
    from service.client.blocking.sweeps import ListedSweep, SweepHandle
    from service.client.blocking.trials import TrialHandle
    from service.client.errors import ApiError, ServiceUnreachable, SweepFailed
    from service.client.frames import MetricHistory
    from service.client.loading import NetworkUnreadable
    from service.client.rules import ENDS, Json, timestamp
    from service.client.sweep_files import DocumentUnreadable

_BLOCKING = {
    "Client": "client",
    "RestClient": "rest",
    "Rows": "rows",
    "ListedSweep": "sweeps",
    "SweepHandle": "sweeps",
    "TrialHandle": "trials",
}
_MODULES = {
    "ApiError": "errors",
    "DocumentUnreadable": "sweep_files",
    "ENDS": "rules",
    "Json": "rules",
    "MetricHistory": "frames",
    "NetworkUnreadable": "loading",
    "ServiceUnreachable": "errors",
    "SweepFailed": "errors",
    "timestamp": "rules",
    **{name: f"blocking.{module}" for name, module in _BLOCKING.items()},
    **{f"Async{name}": f"asynchronous.{module}" for name, module in _BLOCKING.items()},
}
"""The module of each name, which is imported when the name is first used: a command that lists sweeps needs little."""

__all__ = [
    "ENDS",
    "ApiError",
    "AsyncClient",
    "AsyncListedSweep",
    "AsyncRestClient",
    "AsyncRows",
    "AsyncSweepHandle",
    "AsyncTrialHandle",
    "Client",
    "DocumentUnreadable",
    "Json",
    "ListedSweep",
    "MetricHistory",
    "NetworkUnreadable",
    "RestClient",
    "Rows",
    "ServiceUnreachable",
    "SweepFailed",
    "SweepHandle",
    "TrialHandle",
    "timestamp",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, *globals()]

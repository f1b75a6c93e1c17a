"""One embedded stack for all: real Ray, real MLflow, real HTTP."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client import RestClient
from service.stack import Stack
from tests.end_to_end.small_sweep import SWEEP, Json

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow's client leaves its sockets to the garbage collector, which may find them in any test."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore:.*socket:ResourceWarning"))


@pytest.fixture(scope="session", autouse=True)
def _sockets_end_here() -> Iterator[None]:
    """None of them is left for the tests of other folders."""
    yield
    from mlflow.utils.request_utils import _cached_get_request_session

    with warnings.catch_warnings(action="ignore"):
        _cached_get_request_session.cache_clear()
        gc.collect()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home: Path = tmp_path_factory.mktemp("stack") / "home"
    with Stack(home, 0, 0, cpus=2, say=print) as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[RestClient]:
    with RestClient(stack.url) as client:
        yield client


@pytest.fixture(scope="session")
def undisturbed(client: RestClient) -> Json:
    """A sweep that nothing happened to."""
    sweep = client.wait(client.submit(SWEEP)["id"])
    assert sweep["state"] == "succeeded", sweep["reason"]
    return sweep

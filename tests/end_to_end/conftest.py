"""One embedded stack for all: real Ray, real MLflow, real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_sweep import SWEEP, Json

from service.client import Client
from service.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home: Path = tmp_path_factory.mktemp("stack") / "home"
    with Stack(home, 0, 0, cpus=2, say=print) as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url) as client:
        yield client


@pytest.fixture(scope="session")
def undisturbed(client: Client) -> Json:
    """A sweep that nothing happened to."""
    sweep = client.wait(client.submit(SWEEP)["id"])
    assert sweep["state"] == "succeeded", sweep["reason"]
    return sweep

"""The blocking clients are the asynchronous ones without their waiting, and importing them loads nothing heavy."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from service import client

ROOT = Path(__file__).parent.parent.parent.parent
sys.path.insert(0, str(ROOT / "deploy"))
try:
    import blocking_client
finally:
    sys.path.pop(0)
TWINS = [name for name in client.__all__ if f"Async{name}" in client.__all__]


@pytest.mark.parametrize("module", sorted(path.name for path in blocking_client.SOURCE.glob("*.py")))
def test_each_blocking_module_is_made_of_the_asynchronous_one(module: str) -> None:
    found = (blocking_client.TARGET / module).read_text()
    assert found == blocking_client.text(blocking_client.SOURCE / module), "run make blocking-client"


@pytest.mark.parametrize("name", TWINS)
def test_both_have_the_same_methods_with_the_same_arguments(name: str) -> None:
    def methods(kind: type) -> dict[str, list[tuple[str, object, object]]]:
        found = inspect.getmembers(kind, callable)
        return {
            name: [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()]
            for name, member in found
            if not name.startswith("_") and (getattr(member, "__module__", "") or "").startswith("service.client")
        }

    own = methods(getattr(client, name))
    assert own == methods(getattr(client, f"Async{name}"))
    assert own


def test_there_are_six_twins_and_no_module_is_left_over() -> None:
    assert len(TWINS) == 6
    names = {path.name for path in blocking_client.TARGET.glob("*.py")}
    assert names == {path.name for path in blocking_client.SOURCE.glob("*.py")}


def test_importing_the_client_loads_neither_the_server_nor_torch() -> None:
    heavy = "{'torch', 'ray', 'mlflow', 'sqlalchemy', 'fastapi', 'starlette', 'pandas', 'optuna', 'matplotlib'}"
    code = (
        "import sys\nfrom spectral_rnn_service import AsyncClient, Client\nfrom service import client\n"
        "found = [getattr(client, name) for name in client.__all__]\n"
        f"Client().close(); print(Client is client.Client, len(found), *{heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.stderr) == (f"True {len(client.__all__)}\n", "")

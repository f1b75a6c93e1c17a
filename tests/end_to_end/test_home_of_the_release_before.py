"""What release 0.1.0 left on a disk is opened by this code: its database, checkpoints and a logged model.

``tests/data/README.md`` says what the archive holds and how it was made.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from service.client import RestClient
from service.stack import Stack
from tests.end_to_end.mlflow_side import MlflowSide
from tests.end_to_end.small_sweep import Json
from workers.models import load

ARCHIVE = Path(__file__).parents[1] / "data" / "home_0_1_0.tar.gz"
HOME_IN_DATABASE = "@HOME@"
FINISHED: Json = {
    "name": "finished",
    "task": {"name": "adding", "length": 10},
    "model": {"kind": "spectral_rnn", "hidden_size": 8},
    "training": {"steps": 40, "batch_size": 8, "report_every": 20},
    "space": {"model.reflectors": {"values": [2, 4]}},
    "resources": {"cpus": 0.5},
}
"""The document of the archive's finished sweep."""

TOLERANCES = {torch.float32: {"rtol": 1e-5, "atol": 1e-6}, torch.float64: {"rtol": 1e-11, "atol": 1e-12}}
"""Sums of eight numbers: processors differ in their order."""

FIRST_REPORT, LATER_REPORTS = 1e-6, 1e-2
"""Relative tolerances of losses after the resume: training amplifies the differences between processors."""

PREDICT = """
import sys
import mlflow
import numpy as np
outputs = mlflow.pyfunc.load_model(sys.argv[1]).predict(np.load(sys.argv[2]))
np.save(sys.argv[3], outputs)
print(sys.modules["workers"].__file__)
"""

WITHOUT_OUR_PACKAGES = """
import importlib.util, os, sys
sys.path[:] = [folder for folder in sys.path if not os.path.isdir(os.path.join(folder, "workers"))]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
assert not any(importlib.util.find_spec(name) for name in ("spectral", "workers", "service"))
"""


class Frozen(NamedTuple):
    """The extracted archive: its folder, its tables, and recorded inputs and outputs by name."""

    folder: Path
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Resumed(NamedTuple):
    """A stack of this code in the old home, once the paused sweep has ended."""

    stack: Stack
    client: RestClient
    sweep: Json


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """The archive, extracted; nothing in its home is changed."""
    folder = tmp_path_factory.mktemp("frozen")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    with np.load(folder / "expected.npz") as arrays:
        return Frozen(folder, json.loads((folder / "facts.json").read_text()), dict(arrays))


@pytest.fixture(scope="module")
def resumed(frozen: Frozen, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resumed]:
    """The stack, started in a copy of the old home; the paused sweep was resumed and has ended."""
    home: Path = tmp_path_factory.mktemp("restored") / "home"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(home.parent, filter="data")
    with closing(sqlite3.connect(home / "spectral.db")) as connection, connection:
        connection.execute("UPDATE checkpoints SET path = replace(path, ?, ?)", (HOME_IN_DATABASE, str(home.resolve())))
    paused = frozen.facts["sweeps"]["paused"]["id"]
    with Stack(home, 0, 0, cpus=2, say=print) as stack, RestClient(stack.url) as client:
        client.resume(paused)
        yield Resumed(stack, client, client.wait(paused))


def predict(frozen: Frozen, folder: Path, program: str, environment: dict[str, str]) -> tuple[np.ndarray, Path]:
    """Return what the logged model predicts in another process, and the file of ``workers`` that it used."""
    np.save(folder / "inputs.npy", frozen.arrays["input_float32"])
    arguments = [str(frozen.folder / "model"), str(folder / "inputs.npy"), str(folder / "outputs.npy")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "outputs.npy"), Path(done.stdout.strip().splitlines()[-1])


def test_every_checkpoint_loads_and_computes_what_it_computed(frozen: Frozen) -> None:
    recorded = {of["of"]: (of["input"], key) for key, of in frozen.facts["arrays"].items() if key != "logged_model"}
    trials = [trial for sweep in frozen.facts["sweeps"].values() for trial in sweep["trials"]]
    paths = [f"home/{path}" for trial in trials for path in trial["checkpoints"]]
    assert set(recorded) < set(paths)
    for path in paths:
        network = load(frozen.folder / path)
        dtype = next(network.parameters()).dtype
        source, key = recorded.get(path, (f"input_{dtype}".replace("torch.", ""), None))
        with torch.inference_mode():
            outputs = network(torch.from_numpy(frozen.arrays[source])).numpy()
        assert np.isfinite(outputs).all()
        if key is not None:
            np.testing.assert_allclose(outputs, frozen.arrays[key], **TOLERANCES[dtype], err_msg=path)


def test_the_logged_model_predicts_the_same_with_this_code(frozen: Frozen, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    outputs, used = predict(frozen, tmp_path, PREDICT, os.environ | {"PYTHONPATH": str(root)})
    np.testing.assert_allclose(outputs, frozen.arrays["logged_model"], **TOLERANCES[torch.float32])
    assert used == root / "workers" / "__init__.py"


def test_the_logged_model_predicts_the_same_where_our_packages_are_not_installed(
    frozen: Frozen, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    outputs, used = predict(frozen, tmp_path, WITHOUT_OUR_PACKAGES + PREDICT, environment)
    np.testing.assert_allclose(outputs, frozen.arrays["logged_model"], **TOLERANCES[torch.float32])
    assert used.parents[1].name.startswith("spectral-model-")


def test_the_database_is_migrated(resumed: Resumed) -> None:
    with closing(sqlite3.connect(resumed.stack.home.path / "spectral.db", timeout=10)) as connection:
        for table in ("leases", "packs"):
            columns = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
            assert "term" in columns
            assert "epoch" not in columns


def test_the_paused_sweep_goes_on_to_the_recorded_values(resumed: Resumed, frozen: Frozen) -> None:
    assert resumed.sweep["state"] == "succeeded", resumed.sweep["reason"]
    before = frozen.facts["sweeps"]["paused"]["trials"]
    for trial, old in zip(resumed.client.trials(resumed.sweep["id"]), before, strict=True):
        assert (trial["id"], trial["state"], trial["step"]) == (old["id"], "succeeded", 600)
        losses = {p["step"]: p["values"]["val/loss"] for p in resumed.client.metrics(trial["id"], ["val/loss"])}
        expected = {int(step): loss for step, loss in old["resumed"]["val/loss"].items()}
        assert {step: losses[step] for step in old["reports"]} == {step: expected[step] for step in old["reports"]}
        first = min(set(expected) - set(old["reports"]))
        assert losses[first] == pytest.approx(expected[first], rel=FIRST_REPORT)
        assert losses == pytest.approx(expected, rel=LATER_REPORTS)


def test_the_old_idempotency_key_still_names_the_old_sweep(resumed: Resumed, frozen: Frozen) -> None:
    finished = frozen.facts["sweeps"]["finished"]
    assert resumed.client.submit(FINISHED, finished["key"])["id"] == finished["id"]


@pytest.mark.parametrize("name", ["finished", "paused"])
def test_mlflow_has_all_of_the_sweep_again(resumed: Resumed, frozen: Frozen, name: str) -> None:
    """The archive has nothing of MLflow, so the service logs every run, metric and model anew."""
    sweep = frozen.facts["sweeps"][name]
    mlflow = MlflowSide(resumed.stack, resumed.client, sweep["id"])
    mlflow.assert_tells_what_the_api_tells()
    for run in mlflow.children.values():
        model = mlflow.api.get_logged_model(run.data.tags["spectral.model_id"])
        assert model.source_run_id == run.info.run_id
        assert model.name.startswith(f"{name}-{run.data.params['trial']}-step-")

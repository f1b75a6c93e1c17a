"""Models in MLflow: logged with their own code, and loaded where other packages have our names."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.entities import LoggedModelStatus, Run

from service.tracking.logged_models import log_model, signature
from service.tracking.model_package import PACKAGES, ModelPackage, model_package, rewrite_imports
from workers.checkpoints import CheckpointFolder
from workers.models import load
from workers.spec.expand import plan_trial
from workers.spec.parse import parse_sweep
from workers.spec.trial import TrialSpec
from workers.training.training_state import TrainingState

COPY = {"name": "copy", "length": 4}
LANGUAGE = {"name": "ptb_char", "length": 5}


def trial(task: dict[str, Any], **model: Any) -> TrialSpec:
    model = {"hidden_size": 4} | model
    return plan_trial(
        parse_sweep({"task": task, "model": model, "space": {"training.seed": [0]}}), 0, {"training.seed": 0}
    ).require_spec()


@pytest.mark.parametrize(
    ("spec", "inputs", "outputs"),
    [
        (trial({"name": "adding"}), (-1, -1, 2), (-1, 1)),
        (trial({"name": "digits"}, kind="mlp"), (-1, 64, 1), (-1, 10)),
        (trial(COPY), (-1, -1, 10), (-1, -1, 9)),
        (trial(LANGUAGE, kind="spectral_lstm"), (-1, -1), (-1, -1, 50)),
    ],
)
def test_the_signature_is_that_of_the_task(spec: TrialSpec, inputs: Any, outputs: Any) -> None:
    found = signature(spec)
    assert found.inputs.inputs[0].shape == inputs
    assert found.outputs.inputs[0].shape == outputs
    assert found.inputs.inputs[0].type == (np.float32 if spec.task.tokens is None else np.int64)
    assert [(param.name, param.default, param.shape) for param in found.params] == [("lengths", [], (-1,))]


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_tokens_predicts_as_its_network_does(tmp_path: Path, run: Run) -> None:
    spec = trial(LANGUAGE)
    checkpoint = TrainingState.start(spec).save(CheckpointFolder(tmp_path / "trial", spec))
    model_id = log_model(mlflow.MlflowClient(), run, spec, checkpoint, {"model.hidden_size": 4}, name="model", step=0)
    logged = mlflow.MlflowClient().get_logged_model(model_id)
    assert (logged.status, logged.source_run_id) == (LoggedModelStatus.READY, run.info.run_id)
    assert logged.params == {"model.hidden_size": "4"}
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    assert (model.metadata.run_id, model.metadata.model_id) == (run.info.run_id, model_id)
    ids = np.random.default_rng(0).integers(0, 50, (3, 7))
    with torch.inference_mode():
        expected = load(checkpoint)(torch.from_numpy(ids)).numpy()
    assert expected.shape == (3, 7, 50)
    np.testing.assert_array_equal(model.predict(ids), expected)


FOREIGN = ("spectral", "workers", "service")
PREDICT = """
import json, sys
import mlflow
import numpy as np
import spectral, workers, service

inputs = np.load("inputs.npy")
outputs = [mlflow.pyfunc.load_model(folder).predict(inputs) for folder in sys.argv[1:]]
np.savez("outputs.npz", *outputs)
ours = sorted({name.partition(".")[0] for name in sys.modules if name.startswith("_spectral_rnn_model_")})
print(json.dumps({"ours": ours, "foreign": [module.__file__ for module in (spectral, workers, service)]}))
"""


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A folder outside the clone with packages that have our names and none of our code."""
    folder = tmp_path / "stranger"
    for name in FOREIGN:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f'NAME = "the other {name}"\n')
    return folder


def elsewhere(script: str, folder: Path, *arguments: str) -> Any:
    """Run a script with the stranger's packages first on the path, then the installed ones; return what it prints.

    Without ``site`` no .pth file is read, so a clone installed in editable mode is not found either.
    """
    path = os.pathsep.join([str(folder), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    command = [sys.executable, "-S", "-W", "ignore", "-c", script, *arguments]
    environment = os.environ | {"PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def doubling(model: Path) -> None:
    """Turn a saved model into one of another release, whose networks return twice as much."""
    archive = next(model.rglob("code.zip"))
    other = "_spectral_rnn_model_another0ne12"
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as old:
        files = {name: old.read(name) for name in old.namelist()}
    name = next(iter(files)).partition("/")[0]
    files[f"{name}/workers/models/__init__.py"] += b"""
_load = load
def load(checkpoint):
    network = _load(checkpoint)
    network.register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    return network
"""
    with zipfile.ZipFile(archive, "w") as new:
        for path, content in files.items():
            new.writestr(path.replace(name, other), content.replace(name.encode(), other.encode()))


@pytest.mark.filterwarnings("ignore")
def test_a_model_loads_beside_foreign_packages_of_our_names_and_beside_a_model_of_another_release(
    tmp_path: Path, run: Run, stranger: Path
) -> None:
    spec = trial({"name": "adding", "length": 6})
    checkpoint = TrainingState.start(spec).save(CheckpointFolder(tmp_path / "trial", spec))
    log_model(mlflow.MlflowClient(), run, spec, checkpoint, {}, name="model", step=0)
    uri = f"runs:/{run.info.run_id}/model"
    models = [Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path / place))) for place in ("a", "b")]
    doubling(models[1])
    inputs = np.random.default_rng(0).random((5, 6, 2), np.float32)
    np.save(stranger / "inputs.npy", inputs)

    found = elsewhere(PREDICT, stranger, *map(str, models))

    assert found["foreign"] == [str(stranger / name / "__init__.py") for name in FOREIGN]
    assert len(found["ours"]) == 2
    with torch.inference_mode():
        expected = load(checkpoint)(torch.from_numpy(inputs)).numpy()
    with np.load(stranger / "outputs.npz") as outputs:
        np.testing.assert_array_equal(outputs["arr_0"], expected)
        np.testing.assert_array_equal(outputs["arr_1"], 2 * expected)


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return model_package()


def test_the_packed_code_needs_only_the_requirements_that_it_names(package: ModelPackage, stranger: Path) -> None:
    zipfile.ZipFile(io.BytesIO(package.archive)).extractall(stranger)
    script = f"import json, sys, {package.name}.workers.models; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in elsewhere(script, stranger)}
    named = {requirement.partition("==")[0] for requirement in package.requirements}
    assert {"torch", "numpy", "safetensors", "pydantic"} <= named <= loaded
    assert not {"sklearn", "pooch", "pandas", "mlflow", *FOREIGN} & (named | loaded)


def test_no_packed_module_imports_a_package_of_our_public_names(package: ModelPackage) -> None:
    archive = zipfile.ZipFile(io.BytesIO(package.archive))
    assert f"{package.name}/spectral/cpu/native.cpp" in archive.namelist()
    sources = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    assert len(sources) > 50
    for name, source in sources.items():
        imported = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
        modules = [getattr(n, "module", None) or "" for n in imported if getattr(n, "level", 0) == 0]
        modules += [alias.name for n in imported if isinstance(n, ast.Import) for alias in n.names]
        assert not {module.partition(".")[0] for module in modules} & set(PACKAGES), name


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from spectral import SVD", "from _p.spectral import SVD"),
        (
            "from workers.spec.sweep import (\n    A,\n    B,\n)",
            "from _p.workers.spec.sweep import (\n    A,\n    B,\n)",
        ),
        ("def f():\n    from workers import files", "def f():\n    from _p.workers import files"),
        ("import spectral", "import _p.spectral as spectral"),
        ("import spectral.rnn", "import _p.spectral.rnn, _p.spectral as spectral"),
        ("import os, spectral.rnn as rnn, sys", "import os, _p.spectral.rnn as rnn, sys"),
        ("x = 'é'; from workers.files import f", "x = 'é'; from _p.workers.files import f"),
        ("k = importlib.import_module('spectral.rnn')", "k = importlib.import_module('_p.spectral.rnn')"),
        ("from . import spectral", "from . import spectral"),
        ("import workers_of_others", "import workers_of_others"),
        ("x = 'from workers import y'  # import spectral", "x = 'from workers import y'  # import spectral"),
    ],
)
def test_imports_are_rewritten_and_nothing_else(source: str, expected: str) -> None:
    assert rewrite_imports(source.encode(), "_p").decode() == expected

"""Models in MLflow on sequences of different lengths: they score a padded set as the trainer scored it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import numpy.typing as npt
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from service.api import model_snippet
from service.tracking.logged_models import log_model
from tests.workers.examples import make_assignment
from workers.protocol import Checkpointed, Ended, Measured, Report
from workers.runtime.train_pack import train
from workers.spec.expand import plan_trial
from workers.spec.parse import parse_sweep
from workers.spec.trial import TrialSpec
from workers.tasks import MASKED, Sequences, Task

PAGE = (Path(__file__).parents[3] / "docs" / "own-data.md").read_text()

pytestmark = pytest.mark.filterwarnings("ignore")

LAST = {"name": "own_data", "file": "series.csv"}
EVERY = LAST | {"every_step": True}
NUMBERS = EVERY | {"kind": "regression", "targets": ["y"], "inputs": ["x", "z"]}
CLASSES = LAST | {"inputs": ["x", "z"]}
UCR = {"name": "ucr", "dataset": "Mine", "width": 2}
Floats = npt.NDArray[Any]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with 40 series of 3 to 9 steps, as a table and in the format of the UCR archive."""
    rng = np.random.default_rng(0)
    rows, lines = ["series,x,z,y,target"], []
    for number in range(40):
        steps, label = int(rng.integers(3, 10)), "ab"[number % 2]
        x, z = rng.normal(size=(2, steps)) + number % 2
        rows += [f"{number},{a:.6f},{b:.6f},{a * b:.6f},{label}" for a, b in zip(x, z, strict=True)]
        lines.append(",".join(f"{a:.6f}" for a in x) + f":{label}")
    (tmp_path / "series.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "ucr").mkdir()
    header = "@problemName Mine\n@univariate true\n@equalLength false\n@classLabel true a b\n@data\n"
    for part, own in (("TRAIN", lines[:25]), ("TEST", lines[25:])):
        (tmp_path / "ucr" / f"Mine_{part}.ts").write_text(header + "\n".join(own) + "\n")
    return tmp_path


class Trained(NamedTuple):
    """A trained trial, the folder of its best checkpoint, and its last metrics."""

    spec: TrialSpec
    checkpoint: Path
    metrics: dict[str, float]


def trained(data_dir: Path, task: dict[str, Any], **fields: Any) -> Trained:
    training = {"steps": 20, "report_every": 10, "batch_size": 8, "lr": 0.02, "dtype": fields.pop("dtype", "float32")}
    document = {
        "task": task,
        "model": {"kind": "spectral_rnn", "hidden_size": 8} | fields,
        "training": training,
        "space": {"training.seed": [0]},
    }
    spec = plan_trial(parse_sweep(document, data_dir), 0, {"training.seed": 0}).require_spec()
    reports: list[Report] = []
    train(make_assignment(data_dir / "out", [spec], data_dir=str(data_dir)), reports.append)
    assert [(r.outcome, r.reason) for r in reports if isinstance(r, Ended)] == [("succeeded", None)]
    best = [r.path for r in reports if isinstance(r, Checkpointed) and r.best][-1]
    return Trained(spec, Path(best), [r.values for r in reports if isinstance(r, Measured)][-1])


def logged(run: Run, found: Trained) -> PyFuncModel:
    log_model(mlflow.MlflowClient(), run, found.spec, found.checkpoint, {}, name="model", step=0)
    return mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")


def loss_of(task: Task, outputs: Floats, targets: Floats) -> float:
    """Return the mean loss over the targets that there are, by the formula."""
    if task.loss == "mse":
        return float(np.nanmean((outputs.astype(np.float64) - targets) ** 2))
    rows, classes = outputs[targets != MASKED].astype(np.float64), targets[targets != MASKED]
    return float((np.log(np.exp(rows).sum(1)) - rows[np.arange(len(rows)), classes]).mean())


def padding(held_out: Sequences) -> npt.NDArray[np.bool_]:
    """Return which steps lie after the end of their sequence, (N, T)."""
    assert held_out.lengths is not None
    return np.arange(held_out.inputs.shape[1]) >= held_out.lengths[:, None]


@pytest.mark.parametrize(
    ("task", "model"),
    [
        (CLASSES, {"reflectors": 4}),
        (CLASSES, {"kind": "spectral_lstm", "layers": 2, "dtype": "float64"}),
        (CLASSES, {"kind": "gru"}),
        (CLASSES, {"kind": "exprnn"}),
        (CLASSES, {"kind": "spectral_mlp", "layers": 2}),
        (CLASSES | {"every_step": True}, {"reflectors": 4}),
        (NUMBERS, {"kind": "spectral_gru", "dtype": "float64"}),
        (UCR, {"reflectors": 4, "dtype": "float64"}),
    ],
)
def test_a_padded_test_set_gets_the_loss_of_the_trial(
    data_dir: Path, run: Run, task: dict[str, Any], model: dict[str, Any]
) -> None:
    found = trained(data_dir, task, **model)
    spec, predict = found.spec, logged(run, found).predict
    held_out = spec.task.held_out("test", data_dir)
    assert held_out.lengths is not None
    inputs, lengths = held_out.inputs.astype(spec.training.parameter_dtype), held_out.lengths.tolist()
    assert len(set(lengths)) > 1

    outputs = predict(inputs, params={"lengths": lengths})
    rounding = 1e-12 if spec.training.dtype == "float64" else 2e-6
    assert loss_of(spec.task, outputs, held_out.targets) == pytest.approx(found.metrics["test/loss"], rel=rounding)

    past, filled, ended = padding(held_out), inputs.copy(), inputs.copy()
    filled[past], ended[past] = 1e6, np.nan
    np.testing.assert_array_equal(predict(filled, params={"lengths": lengths}), outputs)
    np.testing.assert_array_equal(predict(ended), outputs)
    if spec.task.readout == "every":
        assert np.isnan(outputs[past]).all()
        assert not np.isnan(outputs[~past]).any()
    elif spec.model.recurrent:  # the other kinds take their padding to be zeros, as it is here
        wrong = loss_of(spec.task, predict(inputs), held_out.targets)
        assert wrong != pytest.approx(found.metrics["test/loss"], rel=1e-3)


def test_sequences_of_one_length_need_no_lengths(data_dir: Path, run: Run) -> None:
    model = logged(run, trained(data_dir, CLASSES))
    inputs = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    alone = np.concatenate([model.predict(row[None]) for row in inputs])
    np.testing.assert_allclose(model.predict(inputs), alone, rtol=1e-5, atol=1e-6)
    for lengths in ([], [5, 5, 5], np.array([5, 5, 5])):
        np.testing.assert_array_equal(model.predict(inputs, params={"lengths": lengths}), model.predict(inputs))
    for number, length in enumerate([2, 5, 1]):
        shorter = model.predict(inputs[number : number + 1, :length])
        found = model.predict(inputs, params={"lengths": [2, 5, 1]})[number : number + 1]
        np.testing.assert_allclose(found, shorter, rtol=1e-5, atol=1e-6)


def test_lengths_of_token_sequences(data_dir: Path, run: Run) -> None:
    (data_dir / "mine.txt").write_text("abcab" * 100)
    model = logged(run, trained(data_dir, {"name": "text", "file": "mine.txt", "length": 6, "vocabulary": 4}))
    ids = np.array([[1, 2, 3, 1, 2], [2, 1, 0, 0, 0]])
    found = model.predict(ids, params={"lengths": [5, 2]})
    assert np.isnan(found[1, 2:]).all()
    np.testing.assert_allclose(found[1:, :2], model.predict(ids[1:, :2]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[:1], model.predict(ids[:1]), rtol=1e-5, atol=1e-6)


def test_what_is_no_padding_is_refused_by_its_place(data_dir: Path, run: Run) -> None:
    model = logged(run, trained(data_dir, CLASSES))
    nan, ones = np.nan, np.ones((2, 4, 2), np.float32)

    def changed(value: float, *place: Any) -> Floats:
        inputs = ones.copy()
        inputs[place] = value
        return inputs

    for inputs, lengths, message in (
        (changed(nan, 1, 2), [], "sequence 1 has NaN at step 2, before its end after 4 steps"),
        (changed(nan, 1, 3, 0), [], "sequence 1 has NaN at step 3, before its end after 4 steps"),
        (changed(nan, 0, slice(1, None)), [3, 4], "sequence 0 has NaN at step 1, before its end after 3 steps"),
        (changed(nan, 1), [], "sequence 1 has no step that is not NaN"),
        (ones, [4], "lengths has 1 entries for 2 sequences"),
        (ones, [4, 0], "lengths has the entry 0; give whole numbers from 1 to 4"),
        (ones, [5, 4], "lengths has the entry 5; give whole numbers from 1 to 4"),
        (ones, [None, 4], "lengths has the entry None"),
        (ones, [1.5, 4], "lengths"),
        (ones, 4, "lengths"),
    ):
        with pytest.raises(MlflowException, match=message):
            model.predict(inputs, params={"lengths": lengths})


def test_the_lines_of_the_documentation_predict_without_the_padding(data_dir: Path, run: Run) -> None:
    model = logged(run, trained(data_dir, CLASSES))
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(steps, 2)).astype(np.float32) for steps in (5, 9, 3)]
    alone = np.concatenate([model.predict(one[None]) for one in series])
    first, second = re.findall(r"```python predict\n(.*?)```", PAGE, re.S)
    names: dict[str, Any] = {"model": model, "series": series}
    for code in (first, second):
        exec(compile(code, "own-data.md", "exec"), names)
        np.testing.assert_allclose(names.pop("outputs"), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", [CLASSES, UCR])
def test_the_program_that_the_api_shows_runs(
    data_dir: Path, run: Run, task: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = trained(data_dir, task)
    logged(run, found)
    mlflow.MlflowClient().log_artifacts(run.info.run_id, str(found.checkpoint), "checkpoints/best")
    server, run_id = mlflow.get_tracking_uri(), run.info.run_id
    printed = []
    for program in (
        model_snippet.with_mlflow(server, f"runs:/{run_id}/model", found.spec),
        model_snippet.with_torch(server, run_id, found.spec),
    ):
        capsys.readouterr()
        exec(compile(program, "snippet", "exec"), {})
        printed.append([float(number) for number in re.findall(r"-?\d+\.\d*(?:e-?\d+)?", capsys.readouterr().out)])
    assert len(printed[0]) == 2 * found.spec.task.output_size
    assert printed[0] == pytest.approx(printed[1], abs=1e-3)

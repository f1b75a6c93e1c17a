"""What can be seen of a sweep's data when it is submitted is told then, and does not wait for a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.workers.examples import sweep_document
from workers.errors import FieldError, SpecError
from workers.spec.parse import parse_sweep

PAIRS = "target,a,b\n" + "p,1,2\nq,3,4\n" * 8


def refusal(folder: Path | None, task: dict[str, Any], **parts: Any) -> FieldError:
    """The first error of a sweep of this task."""
    with pytest.raises(SpecError) as caught:
        parse_sweep(sweep_document(task=task, **parts), folder)
    return caught.value.errors[0]


def test_a_text_that_is_missing_or_too_short_is_named(tmp_path: Path) -> None:
    task = {"name": "text", "file": "mine.txt"}
    missing = refusal(tmp_path, task)
    assert (missing.field, missing.given) == ("task.file", "mine.txt")
    assert missing.problem.startswith("mine.txt is not in ")
    (tmp_path / "mine.txt").write_text("short")
    assert "5 tokens: too few" in refusal(tmp_path, task).problem
    (tmp_path / "mine.txt").write_bytes(b"gr\xfc\xdfe " * 50)
    assert "line 1, column 3: found the bytes FC" in refusal(tmp_path, task).problem


def test_a_text_too_short_for_a_batch_is_named_with_both_sizes(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("abcdefgh" * 125)
    task = {"name": "text", "file": "mine.txt", "length": 50}
    error = refusal(tmp_path, task, space={"training.batch_size": [4, 64]})
    assert (error.field, error.given) == ("training.batch_size", 64)
    assert error.problem == "rows of 50 steps are more than the 799 steps of the training text"
    assert parse_sweep(sweep_document(task=task, training={"batch_size": 4}), tmp_path)
    swept = {"training.batch_size": [4], "task.length": [50, 500]}
    assert refusal(tmp_path, task, space=swept).problem.startswith("rows of 500 steps")


def test_a_penn_treebank_that_is_missing_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path, {"name": "ptb_char"})
    assert (error.field, error.given) == ("task.name", "ptb_char")
    assert "ptb.char.train.txt" in error.problem


def test_a_server_without_a_data_directory_leaves_texts_to_the_workers(tmp_path: Path) -> None:
    for task in ({"name": "text", "file": "mine.txt"}, {"name": "ptb_word"}):
        assert parse_sweep(sweep_document(task=task), tmp_path / "nowhere").task.name == task["name"]


@pytest.mark.parametrize(
    ("text", "fields", "problem"),
    [
        ("target,a,b\np,1,1\nq,2,2\n", {}, "its series: found 2 series to draw from"),
        ("target,a,b\n" + "p,1,1\nq,2,2\n" * 2, {"validation": 0.1, "test": 0.4}, "to draw from"),
        ("target,a,b\n" + "p,1,1\np,2,2\n" * 4, {}, "the single class 'p'"),
        ("target,a,b\n0.5,1,1\n1.5,2,2\n2.5,2,2\n", {}, "whole numbers or names as classes"),
        ("target,a,b\n1,1,1\n1,2,2\n1,3,3\n", {"kind": "regression"}, "1 everywhere"),
        (PAIRS, {"validation_file": "other.csv"}, "other.csv is not in"),
        (PAIRS, {"test_file": "new.csv"}, "new.csv, row 2, column target: found 'r'; expected one of p, q"),
        (PAIRS, {"test_file": "wide.csv", "series": "target", "targets": ["c"]}, "expected a column named c"),
    ],
)
def test_series_that_cannot_be_divided_or_classified_are_named(
    tmp_path: Path, text: str, fields: dict[str, Any], problem: str
) -> None:
    (tmp_path / "data.csv").write_text(text)
    (tmp_path / "new.csv").write_text("target,a,b\nr,1,1\n")
    (tmp_path / "wide.csv").write_text(PAIRS)
    error = refusal(tmp_path, {"name": "own_data", "file": "data.csv"} | fields)
    named = [field for field in ("validation_file", "test_file") if fields.get(field, "-") in problem]
    wrong = named[0] if named else "file"
    assert (error.field, error.given) == (f"task.{wrong}", fields.get(wrong, "data.csv"))
    assert problem in error.problem


def test_a_share_that_is_swept_is_tried_in_every_value(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("target,a,b\n" + "p,1,1\nq,2,2\n" * 2)
    task = {"name": "own_data", "file": "data.csv"}
    assert parse_sweep(sweep_document(task=task, space={"task.validation": [0.25, 0.4]}), tmp_path)
    (tmp_path / "data.csv").write_text("target,a,b\np,1,1\nq,2,2\np,3,3\n")
    assert "to draw from" in refusal(tmp_path, task, space={"task.validation": [0.25, 0.4]}).problem


def test_a_set_of_the_archive_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "ucr").mkdir()
    header = "@problemName Mine\n@univariate true\n@equalLength true\n@seriesLength 2\n@classLabel true a b\n@data\n"
    (tmp_path / "ucr" / "Mine_TRAIN.ts").write_text(header + "1,2:a\n3,x:b\n")
    (tmp_path / "ucr" / "Mine_TEST.ts").write_text(header + "1,2:a\n3,4:b\n")
    task = {"name": "ucr", "dataset": "Mine"}
    error = refusal(tmp_path, task)
    assert (error.field, error.given) == ("task.dataset", "Mine")
    assert error.problem.startswith("Mine_TRAIN.ts, line 8, dimension 1, value 2: found 'x'")
    (tmp_path / "ucr" / "Mine_TRAIN.ts").write_text(header + "1,2:a\n3,4:b\n")
    assert "one series of each class" in refusal(tmp_path, task).problem


def test_facts_in_the_document_stand_for_files_that_are_elsewhere(tmp_path: Path) -> None:
    facts = {"far.csv": {"length": 3, "features": 1, "classes": ["p", "q"]}}
    assert parse_sweep(sweep_document(task={"name": "own_data", "file": "far.csv", "facts": facts}), tmp_path)

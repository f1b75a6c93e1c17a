"""Fields of a task in the space: checked like others, each trial with its own task, no pack over two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.workers.examples import sweep_document
from workers.errors import FieldError, SpecError
from workers.runtime.pack_planner import plan
from workers.spec.expand import plan_trials, tasks_of
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec
from workers.tasks.ucr import Ucr

FACTS = {
    "Short": {"length": 16, "features": 1, "classes": ["1", "2"]},
    "Long": {"length": 100, "features": 3, "classes": ["a", "b", "c"]},
}


def trials_of(sweep: SweepSpec) -> list[TrialSpec]:
    return [plan.require_spec() for plan in plan_trials(sweep)]


def wrong(document: Any, data_dir: Path | None = None) -> FieldError:
    with pytest.raises(SpecError) as caught:
        parse_sweep(document, data_dir)
    (error,) = caught.value.errors
    return error


def archive(space: dict[str, Any], **task: Any) -> dict[str, Any]:
    return sweep_document(task={"name": "ucr", **task}, space=space)


def test_every_trial_has_its_own_task_and_packs_hold_one() -> None:
    sweep = parse_sweep(sweep_document(space={"task.length": [4, 8], "training.seed": [0, 1]}))
    trials = trials_of(sweep)
    assert [trial.task.sequence_length for trial in trials] == [4, 4, 8, 8]
    assert plan(trials, "auto", 1, 0.0) == [[0, 1], [2, 3]]
    assert [task.sequence_length for task in tasks_of(sweep)] == [8, 4, 8]


def test_a_required_field_may_stand_in_the_space_alone() -> None:
    sweep = parse_sweep(archive({"task.dataset": ["Short", "Long"]}, facts=FACTS))
    trials = trials_of(sweep)
    assert [(t.task.input_size, t.task.output_size) for t in trials] == [(4, 2), (30, 3)]
    assert isinstance(sweep.task, Ucr)
    assert sweep.task.dataset == "Short"
    assert TrialSpec.model_validate_json(trials[1].model_dump_json()) == trials[1]
    assert SweepSpec.model_validate_json(sweep.model_dump_json()) == sweep


@pytest.mark.parametrize(
    ("space", "field", "allowed"),
    [
        ({"task.lenght": [1]}, "space.task.lenght", "did you mean task.length?"),
        ({"task.name": ["digits"]}, "space.task.name", "one sweep for each task"),
        ({"task.length": [1, 8]}, "space.task.length.values.0", "at least 2"),
        ({"task.length": [8, "long"]}, "space.task.length.values.1", "a whole number"),
        ({"task.length": {"low": 0, "high": 8}}, "space.task.length.low", "at least 2"),
        ({"task": [1]}, "space.task", "one of"),
    ],
)
def test_a_wrong_path_or_value_is_named(space: dict[str, Any], field: str, allowed: str) -> None:
    error = wrong(sweep_document(space=space))
    assert error.field == field
    assert allowed in error.allowed


def test_a_value_that_only_the_whole_task_refuses_is_named() -> None:
    error = wrong(sweep_document(task={"name": "mnist"}, space={"task.steps": [28, 30]}))
    assert error.field == "space.task.steps"
    assert error.given == 30
    assert "784" in error.problem


@pytest.mark.parametrize(
    ("task", "path"),
    [({"name": "ucr", "dataset": "Short"}, "task.facts"), ({"name": "own_data", "file": "a.csv"}, "task.kind")],
)
def test_what_decides_the_facts_of_a_file_cannot_be_swept(task: dict[str, Any], path: str) -> None:
    error = wrong(sweep_document(task=task, space={path: ["x"]}))
    assert (error.field, error.problem) == (f"space.{path}", "is not a field that can be swept")


def test_data_sets_that_cannot_be_read_are_named_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(archive({"task.dataset": ["Short", "Long", "Other"]}, facts={"Long": FACTS["Long"]}), tmp_path)
    assert {(error.field, error.given) for error in caught.value.errors} == {
        ("space.task.dataset", "Short"), ("space.task.dataset", "Other"),
    }  # fmt: skip
    error = wrong(archive({"training.seed": [0]}, dataset="Short"), tmp_path)
    assert (error.field, error.given) == ("task.dataset", "Short")
    assert "Short_TRAIN.ts" in error.problem


@pytest.mark.parametrize(
    ("facts", "field", "allowed"),
    [
        ({"length": 0, "features": 1, "classes": ["a"]}, "task.facts.A.length", "at least 1"),
        ({"length": 1, "features": 1}, "task.facts.A", "classes for classification"),
        ({"length": 1, "features": 1, "classes": []}, "task.facts.A.classes", "at least 1 item"),
    ],
)
def test_wrong_facts_are_named(facts: dict[str, Any], field: str, allowed: str) -> None:
    error = wrong(archive({"training.seed": [0]}, dataset="A", facts={"A": facts}))
    assert error.field == field
    assert allowed in error.allowed


@pytest.mark.parametrize("name", ["../secret", "a/b", "", "x" * 101, "a\x00", "\ud800"])
def test_a_data_set_is_a_plain_name(name: str) -> None:
    assert wrong(archive({"training.seed": [0]}, dataset=name)).field == "task.dataset"


def test_a_metric_that_one_trial_does_not_have_is_refused() -> None:
    document = sweep_document(task={"name": "text", "file": "a.txt"}, space={"task.level": ["char", "word"]})
    error = wrong(document | {"objective": {"metric": "val/bpc"}})
    assert error.field == "objective.metric"
    assert "task.level = word" in error.problem
    assert "val/perplexity" in error.allowed

"""Warnings about data when a sweep is submitted, and about results that need no network when it has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workers.examples import sweep_document
from workers.errors import DataMissing, OtherSweep
from workers.runtime.local_sweep import LocalSweep
from workers.spec.advice import warnings
from workers.spec.data_warnings import result_warnings
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec
from workers.tasks.data_statistics import DataStatistics, SingleReading
from workers.tasks.dataset_info import DatasetInfo
from workers.tasks.summarise import summarise

FACTS = {"length": 4, "features": 2, "classes": ["no", "yes"]}
NUMBERS = DataStatistics(
    train=200,
    validation=100,
    test=100,
    majority_class="no",
    majority_share=0.6,
    constant_score=0.6,
    constant_loss=0.67,
    probe=SingleReading(reading="the last value of 'x'", score=0.8),
)
LINE = SingleReading(reading="the mean of 'x'", score=0.75, loss=0.5)
TINY = NUMBERS.model_copy(update={"validation": 10})


def put(folder: Path, name: str, leaks: bool = False, count: int = 200) -> None:
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % 2)
    x = rng.normal(size=(count, 4, 2))
    if leaks:
        x[:, :, 1] = y[:, None]
    np.savez(folder / name, inputs=x, targets=y)


def sweep_of(numbers: DataStatistics | None, *, task: dict[str, Any] | None = None, **parts: Any) -> SweepSpec:
    """A sweep on own data of which these numbers were measured."""
    fields = {"name": "own_data", "file": "a.npz", "facts": {"a.npz": FACTS}} | (task or {})
    sweep = parse_sweep(sweep_document(task=fields, **parts))
    info = DatasetInfo.model_validate(sweep.task.model_dump()["facts"]["a.npz"]).model_copy(
        update={"statistics": numbers}
    )
    return sweep.model_copy(update={"task": sweep.task.model_copy(update={"facts": {"a.npz": info}})})


def test_a_sweep_is_measured_when_it_is_submitted_and_says_so_ever_after(tmp_path: Path) -> None:
    put(tmp_path, "a.npz", leaks=True)
    sweep = parse_sweep(sweep_document(task={"name": "own_data", "file": "a.npz"}), tmp_path)
    stored = SweepSpec.model_validate(json.loads(sweep.model_dump_json()))
    for one in (sweep, stored):
        (found,) = warnings(one)
        assert (found.field, found.given) == ("task.file", "a.npz")
        assert found.problem.startswith("gives its target away: the last value of feature 2 alone tells the class")


def test_healthy_data_gives_no_warning(tmp_path: Path) -> None:
    put(tmp_path, "a.npz")
    assert warnings(parse_sweep(sweep_document(task={"name": "own_data", "file": "a.npz"}), tmp_path)) == []


def test_a_batch_with_more_series_than_train_is_named_with_both_numbers(tmp_path: Path) -> None:
    put(tmp_path, "a.npz", count=200)
    put(tmp_path, "b.npz", count=400, leaks=True)
    task = {"name": "own_data", "file": "a.npz"}
    (found,) = warnings(parse_sweep(sweep_document(task=task, training={"batch_size": 280}), tmp_path))
    assert (found.field, found.given) == ("training.batch_size", 280)
    assert found.problem.startswith("is more than the 140 training series of a.npz: every step computes each")
    assert found.allowed == "use at most 140"
    assert warnings(parse_sweep(sweep_document(task=task, training={"batch_size": 279}), tmp_path)) == []
    space = {"training.batch_size": [64, 280], "task.file": ["b.npz", "a.npz"]}
    shown = warnings(parse_sweep(sweep_document(task={"name": "own_data"}, space=space), tmp_path))
    (found,) = [one for one in shown if one.field == "space.training.batch_size"]
    assert (found.given, found.allowed) == (280, "use at most 140")


def test_of_several_data_sets_the_worst_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.npz")
    put(tmp_path, "b.npz", count=40)
    put(tmp_path, "c.npz", leaks=True, count=60)
    document = sweep_document(task={"name": "own_data"}, space={"task.file": ["a.npz", "b.npz", "c.npz"]})
    found = {one.given: one for one in warnings(parse_sweep(document, tmp_path))}
    assert set(found) == {"b.npz", "c.npz"}
    assert all(one.field == "space.task.file" for one in found.values())
    assert found["b.npz"].problem.endswith("(one of 2 such data sets of the sweep)")


def test_a_sweep_whose_files_are_elsewhere_is_accepted_without_numbers(tmp_path: Path) -> None:
    document = sweep_document(task={"name": "own_data", "file": "a.npz", "facts": {"a.npz": FACTS}})
    for folder in (None, tmp_path):
        sweep = parse_sweep(document, folder)
        assert warnings(sweep) == []
        assert sweep.task.model_dump(mode="json")["facts"] == {"a.npz": FACTS | {"outputs": None, "baseline": None}}


def test_files_that_the_server_has_are_measured_also_if_their_sizes_are_given(tmp_path: Path) -> None:
    put(tmp_path, "a.npz", leaks=True)
    facts = FACTS | {"classes": ["0", "1"]}
    document = sweep_document(task={"name": "own_data", "file": "a.npz", "facts": {"a.npz": facts}})
    assert len(warnings(parse_sweep(document, tmp_path))) == 1
    other = sweep_document(task={"name": "own_data", "file": "a.npz", "facts": {"a.npz": FACTS}})
    assert warnings(parse_sweep(other, tmp_path)) == []  # labels that the file has not: the workers have another one


def test_sizes_that_a_document_makes_up_take_no_memory(tmp_path: Path) -> None:
    put(tmp_path, "a.npz", leaks=True)
    vast = {"length": 10_000_000, "features": 1_000_000, "classes": ["0", "1"]}
    document = sweep_document(task={"name": "own_data", "file": "a.npz", "facts": {"a.npz": vast}})
    document["training"] = document["training"] | {"batch_size": 1}
    sweep = parse_sweep(document | {"model": {"kind": "rnn", "hidden_size": 1}}, tmp_path)
    assert [one for one in warnings(sweep) if one.field == "task.file"] == []
    with pytest.raises(DataMissing, match=r"a\.npz has 4 steps of 2 features and 2 classes here"):
        summarise(sweep.task, tmp_path)


def test_numbers_that_a_document_brings_along_are_not_believed(tmp_path: Path) -> None:
    put(tmp_path, "a.npz", leaks=True)
    sweep = parse_sweep(sweep_document(task={"name": "own_data", "file": "a.npz"}), tmp_path)
    assert len(warnings(sweep)) == 1
    put(tmp_path, "a.npz")
    again = json.loads(sweep.model_dump_json())
    assert warnings(parse_sweep(again, tmp_path)) == []
    (tmp_path / "a.npz").unlink()
    assert warnings(parse_sweep(again, tmp_path)) == []


def test_trials_and_checkpoints_do_not_carry_the_numbers(tmp_path: Path) -> None:
    put(tmp_path, "a.npz", leaks=True)
    sweep = parse_sweep(sweep_document(task={"name": "own_data", "file": "a.npz"}), tmp_path)
    for plan in plan_trials(sweep):
        assert "statistics" not in plan.require_spec().model_dump_json()
    swept = sweep_document(task={"name": "own_data", "file": "a.npz"}, space={"task.normalize": [False, True]})
    for plan in plan_trials(parse_sweep(swept, tmp_path)):
        assert "statistics" not in plan.require_spec().model_dump_json()


def test_a_folder_of_results_is_the_same_sweeps_with_and_without_numbers(tmp_path: Path) -> None:
    put(tmp_path, "a.npz")
    facts = FACTS | {"classes": ["0", "1"]}
    document = sweep_document(task={"name": "own_data", "file": "a.npz", "facts": {"a.npz": facts}})
    LocalSweep(parse_sweep(document), tmp_path / "out")
    assert "statistics" not in (tmp_path / "out" / "sweep.json").read_text()
    LocalSweep(parse_sweep(document, tmp_path), tmp_path / "out")
    with pytest.raises(OtherSweep):
        LocalSweep(parse_sweep(document | {"name": "another"}, tmp_path), tmp_path / "out")


NO, FEW = "hold out more validation series, of every class", "hold out more validation series, since chance"


@pytest.mark.parametrize(
    ("numbers", "best", "problem"),
    [
        (
            NUMBERS,
            0.55,
            "is not better than always answering 'no', which has 0.6 on 100 series (95 % interval 0.5 to 0.7)",
        ),
        (NUMBERS, 0.6, "is not better than always answering 'no'"),
        (
            NUMBERS,
            0.69,
            "is hardly better than always answering 'no', which has 0.6 on 100 series (95 % interval 0.5 to 0.7)",
        ),
        (NUMBERS, 0.75, "is reached by the last value of 'x' alone, which has 0.8 without any network"),
        (NUMBERS, 0.8, "is reached by the last value of 'x' alone"),
        (NUMBERS, 0.81, None),
        (NUMBERS.model_copy(update={"probe": None}), 0.75, None),
        (
            TINY,
            0.85,
            "is hardly better than always answering 'no', which has 0.6 on 10 series (95 % interval 0.3 to 0.9)",
        ),
        (TINY, 0.95, None),
        (TINY.model_copy(update={"probe": SingleReading(reading="x", score=1.0)}), 0.95, None),
        (None, 0.52, "is not better than a guess among 2 classes, which has 0.5"),
        (None, 0.6, None),
    ],
)
def test_an_accuracy_that_needs_no_network(numbers: DataStatistics | None, best: float, problem: str | None) -> None:
    found = result_warnings(sweep_of(numbers), {"training.seed": 0}, best)
    assert [one.problem.startswith(str(problem)) for one in found] == ([True] if problem else [])
    assert all((one.field, one.given) == ("val/accuracy", best) and one.allowed for one in found)


@pytest.mark.parametrize(
    ("constant", "validation", "best", "problem", "advice"),
    [
        (0.5, 2, 1.0, "is hardly better than ANSWER 0.5 on 2 series (95 % interval 0 to 1)", NO),
        (1.0, 100, 1.0, "is not better than ANSWER 1 on 100 series", NO),
        (0.1, 10, 0.2, "is hardly better than ANSWER 0.1 on 10 series (95 % interval 0 to 0.29)", FEW),
        (0.6, 100, 0.69, "is hardly better than", FEW),
        (0.6, 100, 0.6, "is not better than", "train longer"),
    ],
)  # fmt: skip
def test_the_advice_is_to_hold_out_more_where_few_series_are_the_reason(
    constant: float, validation: int, best: float, problem: str, advice: str
) -> None:
    numbers = NUMBERS.model_copy(update={"constant_score": constant, "validation": validation})
    (found,) = result_warnings(sweep_of(numbers), {"training.seed": 0}, best)
    assert found.problem.startswith(problem.replace("ANSWER", "always answering 'no', which has"))
    assert found.allowed.startswith(advice)


def test_an_accuracy_of_steps_that_cannot_be_bettered_is_not_to_be_trained_for() -> None:
    sweep = sweep_of(NUMBERS.model_copy(update={"constant_score": 0.995}), task={"every_step": True})
    (found,) = result_warnings(sweep, {"training.seed": 0}, 1.0)
    assert found.allowed.startswith(NO)
    (found,) = result_warnings(sweep_of(NUMBERS, task={"every_step": True}), {"training.seed": 0}, 0.605)
    assert found.allowed.startswith("train longer")


def test_an_accuracy_of_steps_has_no_interval_of_series() -> None:
    sweep = sweep_of(NUMBERS, task={"every_step": True})
    (found,) = result_warnings(sweep, {"training.seed": 0}, 0.605)
    assert found.problem == "is hardly better than always answering 'no', which has 0.6"
    assert "the last value of 'x' alone" in result_warnings(sweep, {"training.seed": 0}, 0.65)[0].problem


@pytest.mark.parametrize(
    ("metric", "best", "problem"),
    [
        ("val/loss", 2.5, "is not better than the best constant answer, whose loss is 2"),
        ("val/loss", 1.99, "is not better than the best constant answer"),
        ("val/loss", 1.2, "is reached by a straight line through the mean of 'x', whose loss is 0.5"),
        ("val/loss", 0.5, "is reached by a straight line"),
        ("val/loss", 0.49, None),
        ("val/error", 1.42, "is not better than the best constant answer"),
        ("val/error", 0.9, "is reached by a straight line"),
        ("val/error", 0.7, None),
    ],
)
def test_a_loss_that_needs_no_network(metric: str, best: float, problem: str | None) -> None:
    facts: dict[str, Any] = {"length": 4, "features": 2, "outputs": 1}
    task = {"kind": "regression", "facts": {"a.npz": facts}}
    numbers = DataStatistics(train=200, validation=100, test=100, constant_loss=2.0, probe=LINE)
    sweep = sweep_of(numbers, task=task, objective={"metric": metric})
    found = result_warnings(sweep, {"training.seed": 0}, best)
    assert [one.problem.startswith(str(problem)) for one in found] == ([True] if problem else [])
    useless = numbers.model_copy(update={"probe": LINE.model_copy(update={"loss": 3.0})})
    assert result_warnings(sweep_of(useless, task=task, objective={"metric": metric}), {}, 1.1) == []


@pytest.mark.parametrize(
    ("task", "metric", "best", "warned"),
    [
        ({"name": "adding", "length": 8}, "val/loss", 0.168, True),
        ({"name": "adding", "length": 8}, "val/loss", 0.1, False),
        ({"name": "digits"}, "val/accuracy", 0.1, True),
        ({"name": "digits"}, "val/accuracy", 0.5, False),
        ({"name": "digits"}, "val/loss", 2.31, True),
        ({"name": "copy", "length": 20}, "val/loss", 0.53, True),
        ({"name": "copy", "length": 20}, "val/recall", 0.13, False),
        ({"name": "ptb_char"}, "val/bpc", 4.36, True),
        ({"name": "ptb_char"}, "val/bpc", 2.1, False),
        ({"name": "ptb_word"}, "val/perplexity", 562.0, True),
        ({"name": "ptb_word"}, "val/perplexity", 200.0, False),
    ],
)
def test_tasks_with_data_of_their_own_have_their_baseline(
    task: dict[str, Any], metric: str, best: float, warned: bool
) -> None:
    sweep = parse_sweep(sweep_document(task=task, objective={"metric": metric}), Path("/nowhere"))
    assert bool(result_warnings(sweep, {"training.seed": 0}, best)) == warned


def test_a_result_is_compared_with_its_own_data_set(tmp_path: Path) -> None:
    put(tmp_path, "a.npz")
    put(tmp_path, "c.npz", leaks=True)
    document = sweep_document(task={"name": "own_data"}, space={"task.file": ["a.npz", "c.npz"]})
    sweep = parse_sweep(document, tmp_path)
    assert result_warnings(sweep, {"task.file": "a.npz"}, 0.9) == []
    assert "feature 2 alone" in result_warnings(sweep, {"task.file": "c.npz"}, 0.9)[0].problem

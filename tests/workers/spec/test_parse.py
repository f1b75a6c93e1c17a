"""The one door for a sweep: every mistake names its field, what was given and what is allowed, and nothing else."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workers.spec.good_sweep import GOOD, changed, wrong
from workers.errors import SpecError
from workers.spec.expand import plan_trial, points_of, trial_count
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec


def test_a_good_sweep_gives_its_trials() -> None:
    sweep = parse_sweep(GOOD)
    points = list(points_of(sweep))
    assert len(points) == 9
    assert points[1] == {"model.reflectors": 4, "model.margin": 0.0173205080757}
    trial = plan_trial(sweep, 4, points[4]).require_spec()
    assert trial.model.reflector_counts == (8, 8)
    assert trial.objective.metric == "val/accuracy"
    assert trial.training.report_interval == 30


def test_a_sweep_survives_its_own_json() -> None:
    sweep = parse_sweep(GOOD)
    assert SweepSpec.model_validate_json(sweep.model_dump_json()) == sweep
    assert parse_sweep(json.loads(sweep.model_dump_json(exclude_none=True))) == sweep


@pytest.mark.parametrize(
    ("path", "value", "field", "allowed"),
    [
        ("task/name", "digit", "task.name", "digits"),
        ("task", {}, "task.name", "adding, copy, digits, mnist"),
        ("task", 3, "task", "object"),
        ("task/length", 5, "task.length", "one of name"),
        ("task", {"name": "adding", "length": 1}, "task.length", "at least 2"),
        ("task", {"name": "mnist", "steps": 30}, "task.steps", "28"),
        ("name", "", "name", "at least 1"),
        ("name", 7, "name", "text"),
        ("model/hidden_size", 0, "model.hidden_size", "at least 1"),
        ("model/hidden_size", True, "model.hidden_size", "a whole number"),
        ("model/hidden_size", 64.5, "model.hidden_size", "a whole number"),
        ("model/hidden_size", "64", "model.hidden_size", "a whole number"),
        ("model/hiden_size", 64, "model.hiden_size", "did you mean hidden_size?"),
        ("model/kind", "transformer", "model.kind", "spectral_lstm"),
        ("model/margin", 0, "model.margin", "above 0"),
        ("model/margin", 1.5, "model.margin", "at most 1"),
        ("model/margin", math.nan, "model.margin", "a finite number"),
        ("model/sigma", -1, "model.sigma", "at least 0"),
        ("model/reflectors", 65, "model.reflectors", "1 to 64"),
        ("model/start", "henaff", "model.start", "at least 32"),
        ("model/activation", "gelu", "model.activation", "relu"),
        ("training/lr", math.inf, "training.lr", "a finite number"),
        ("training/lr", "fast", "training.lr", "a number"),
        ("training/steps", 0, "training.steps", "at least 1"),
        ("training/seed", -1, "training.seed", "at least 0"),
        ("training/clip_norm", 0, "training.clip_norm", "above 0"),
        ("training/optimizer", "lamb", "training.optimizer", "adam"),
        ("training/dtype", "bfloat16", "training.dtype", "or resources.gpus above 0"),
        ("training/schedule", "linear", "training.schedule", "cosine"),
        ("space", {}, "space", "at least 1 item"),
        ("space", [], "space", "an object"),
        ("space/model.margins", {"values": [1]}, "space.model.margins", "did you mean model.margin?"),
        ("space/model.reflectors", {"values": []}, "space.model.reflectors.values", "at least 1 item"),
        ("space/model.reflectors", {"values": [4, 4]}, "space.model.reflectors.values", "each value once"),
        ("space/model.reflectors", {"values": [4, 8.5]}, "space.model.reflectors.values.1", "a whole number"),
        ("space/model.reflectors", {"values": [4, True]}, "space.model.reflectors.values.1", "a whole number"),
        ("space/model.reflectors", {"values": [4, None]}, "space.model.reflectors.values.1", "a finite number"),
        ("space/model.reflectors", {"values": [4, 128]}, "space.model.reflectors", "1 to 64"),
        ("space/model.margin", {"values": [0.1, 1e-9]}, "space.model.margin", "a larger margin, or training.dtype"),
        ("space/model.margin", {"low": 0, "high": 0.3, "grid": 3}, "space.model.margin.low", "above 0"),
        ("space/model.margin", {"low": 0.3, "high": 0.1, "grid": 3}, "space.model.margin.low", "below high"),
        ("space/model.margin", {"low": 0.1, "high": 2.0, "grid": 3}, "space.model.margin.high", "at most 1"),
        ("space/model.margin", {"low": 0.1, "high": 0.3}, "space.model.margin.grid", "1 to 20,000"),
        ("space/model.margin", {"low": math.nan, "high": 0.3, "grid": 3}, "space.model.margin.low", "a finite number"),
        ("space/model.margin", {"low": True, "high": 0.3, "grid": 3}, "space.model.margin.low", "a finite number"),
        ("space/model.margin", {"low": 0.1}, "space.model.margin.high", "give this field"),
        ("space/model.margin", 0.1, "space.model.margin", "values"),
        ("search/sampler", "annealing", "search.sampler", "random"),
        ("search", {"sampler": "random"}, "search.trials", "1 to 20,000"),
        ("search/trials", 5, "search.trials", "leave trials out"),
        ("objective/metric", "accuracy", "objective.metric", "val/accuracy"),
        ("objective/direction", "up", "objective.direction", "maximize"),
        ("resources/pack_size", 0, "resources.pack_size", "1 to 256"),
        ("resources/pack_size", True, "resources.pack_size", "1 to 256"),
        ("resources/cpus", 0, "resources.cpus", "above 0"),
        ("retries/user", -1, "retries.user", "at least 0"),
        ("early_stopping/kind", "genetic", "early_stopping.kind", "one of none, asha, hyperband"),
        ("extra", 1, "extra", "one of name"),
        ("a[0]", 1, "a[0]", "one of name"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_what_is_allowed(path: str, value: Any, field: str, allowed: str) -> None:
    errors = wrong(changed(path, value))
    named = {error.field: error.allowed for error in errors}
    assert field in named, named
    assert allowed in named[field]


@pytest.mark.parametrize("document", [None, 3, "sweep", [], [GOOD], {}, math.nan])
def test_what_is_no_sweep_is_refused(document: Any) -> None:
    wrong(document)


def test_every_wrong_field_is_named_at_once() -> None:
    document = changed("model/hidden_size", 0) | {"training": {"lr": -1, "steps": 0}}
    fields = {error.field for error in wrong(document)}
    assert fields == {"model.hidden_size", "training.lr", "training.steps"}


def test_what_was_given_is_shown() -> None:
    (error,) = wrong(changed("training/lr", -0.5))
    assert error.given == -0.5


def test_fields_of_another_kind_are_refused() -> None:
    document = changed("model", {"kind": "lstm", "activation": "relu"})
    document["space"] = {"training.lr": {"values": [0.1]}}
    (error,) = wrong(document)
    assert error.field == "model.activation"
    assert "spectral_rnn" in error.allowed


def test_epochs_are_refused_where_every_step_draws_fresh_data() -> None:
    training = {"schedule": "step", "schedule_unit": "epochs"}
    (error,) = wrong({"task": {"name": "copy"}, "training": training, "space": {"training.seed": [0]}})
    assert (error.field, error.given, error.allowed) == ("training.schedule_unit", "epochs", "steps")
    assert "copy draws fresh sequences" in error.problem
    space = {"training.schedule_unit": ["steps", "epochs"]}
    (error,) = wrong({"task": {"name": "adding"}, "training": {"schedule": "step"}, "space": space})
    assert (error.field, error.given) == ("space.training.schedule_unit", "epochs")
    assert parse_sweep({"task": {"name": "digits"}, "training": training, "space": {"training.seed": [0]}})


def test_a_huge_grid_is_refused_without_being_listed() -> None:
    space = {name: {"low": 0.1, "high": 0.9, "grid": 1000} for name in ("model.margin", "model.sigma", "training.lr")}
    (error,) = wrong(changed("space", space))
    assert error.field == "space"
    assert error.given == 10**9
    assert "20,000" in error.allowed


def test_a_range_of_whole_numbers_too_large_to_list_is_refused() -> None:
    errors = wrong(changed("space", {"training.seed": {"low": 0, "high": 2**31 - 1}}))
    assert [error.field for error in errors] == ["space"]


def test_a_reflector_count_that_fits_no_hidden_size_of_the_grid_is_found() -> None:
    space = {"model.hidden_size": {"values": [64, 8]}, "model.reflectors": {"values": [4, 16]}}
    (error,) = wrong(changed("space", space))
    assert error.field == "space.model.reflectors"
    assert "model.hidden_size = 8" in error.problem


def test_ten_thousand_points_are_checked_one_by_one_and_found_good() -> None:
    space = {
        "model.margin": {"low": 0.1, "high": 0.9, "grid": 100},
        "training.lr": {"low": 0.1, "high": 0.9, "grid": 100},
    }
    assert trial_count(parse_sweep(changed("space", space))) == 10_000


def test_describing_sweeps_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys, workers.spec.advice, workers.spec.parameter_count\n"
        "import workers.spec.sweep, workers.spec.parse, workers.spec.expand, workers.protocol, workers.tasks\n"
        "import workers.runtime.pack_planner\n"
        "print([name for name in ('torch', 'ray', 'sklearn', 'mlflow') if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_runner_is_imported_without_torch() -> None:
    code = "import sys, workers.runtime.ray_actor; print('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_plain_list_is_short_for_values() -> None:
    short = {"task": {"name": "adding"}, "space": {"model.reflectors": [2, 4]}}
    long = {"task": {"name": "adding"}, "space": {"model.reflectors": {"values": [2, 4]}}}
    assert parse_sweep(short) == parse_sweep(long)
    with pytest.raises(SpecError) as caught:
        parse_sweep({"task": {"name": "adding"}, "space": {"model.reflectors": [2, "many"]}})
    assert [error.field for error in caught.value.errors] == ["space.model.reflectors.values.1"]


def test_every_trial_of_a_random_search_is_built_before_it_is_accepted() -> None:
    document = {
        "task": {"name": "adding", "length": 20},
        "search": {"sampler": "random", "trials": 20},
        "space": {"model.reflectors": [2, 8], "model.hidden_size": [4, 64], "training.seed": list(range(10_000))},
    }
    with pytest.raises(SpecError) as caught:
        parse_sweep(document)
    assert caught.value.errors[0].field == "space.model.reflectors"
    assert "model.hidden_size = 4" in caught.value.errors[0].problem


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"space": {"model.margin": [1, 1.0]}}, "space.model.margin.values"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "a\x7fb"}, "name"),
        ({"model": {"hidden_size": 4096, "layers": 16}, "training": {"batch_size": 65536}}, "training.batch_size"),
    ],
)
def test_equal_values_hidden_characters_and_sizes_no_machine_holds(change: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep({"task": {"name": "adding"}, "space": {"model.reflectors": [2]}, **change})
    assert [error.field for error in caught.value.errors] == [field]


@pytest.mark.parametrize(
    ("model", "training", "space"),
    [
        ({"hidden_size": 32, "start": "henaff"}, {}, {"model.reflectors": [16, 32]}),
        ({"reflectors": 80}, {}, {"model.hidden_size": [128, 256]}),
        ({"layers": 100}, {}, {"model.kind": ["mlp", "resnet"]}),
        ({}, {"warmup_steps": 700}, {"training.steps": [1000, 2000]}),
    ],
)
def test_what_the_space_puts_right_is_right(model: Any, training: Any, space: Any) -> None:
    document = {"task": {"name": "digits"}, "model": model, "training": training, "space": space}
    assert len(list(points_of(parse_sweep(document)))) == 2


def test_what_is_wrong_at_a_point_of_the_space_is_wrong() -> None:
    document = {"task": {"name": "digits"}, "model": {"layers": 100}, "space": {"model.kind": ["mlp", "rnn"]}}
    assert wrong(document)

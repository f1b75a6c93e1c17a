"""Early stopping that is refused when a sweep is submitted, and what of it is read from stored documents."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from workers.errors import FieldError, SpecError
from workers.spec.parse import parse_sweep
from workers.spec.sweep import EarlyStoppingSpec, SweepSpec

SWEEP: dict[str, Any] = {
    "task": {"name": "adding", "length": 20},
    "model": {"hidden_size": 8},
    "training": {"steps": 100},
    "space": {"model.margin": [0.01, 0.1]},
}


def errors_of(early_stopping: Any, **changes: Any) -> list[FieldError]:
    document = copy.deepcopy(SWEEP) | changes | {"early_stopping": early_stopping}
    try:
        parse_sweep(document)
    except SpecError as error:
        return error.errors
    return []


@pytest.mark.parametrize(
    "early_stopping",
    [
        {},
        {"kind": "none"},
        {"kind": "asha"},
        {"kind": "asha", "min_steps": 95, "reduction": 4},
        {"kind": "hyperband"},
        {"kind": "hyperband", "min_steps": 4, "reduction": 2, "brackets": 6},
        {"kind": "median", "min_steps": 5},
        {"kind": "patience"},
        {"kind": "patience", "patience": 18, "min_delta": 0, "min_steps": 1},
        {"kind": "threshold", "threshold": -3},
        {"kind": "threshold", "threshold": 0.5, "patience": None},
    ],
)
def test_every_rule_is_accepted_with_its_options(early_stopping: Any) -> None:
    assert errors_of(early_stopping) == []


@pytest.mark.parametrize(
    ("early_stopping", "field", "problem", "allowed"),
    [
        (
            {"kind": "median", "reduction": 4},
            "reduction",
            "does not apply to kind median",
            "for kind asha or hyperband",
        ),
        ({"kind": "none", "min_steps": 10}, "min_steps", "does not apply to kind none", "leave it out"),
        ({"reduction": 4}, "reduction", "does not apply to kind none", "for kind asha or hyperband"),
        ({"kind": "asha", "patience": 3}, "patience", "does not apply to kind asha", "it is for kind patience"),
        ({"kind": "asha", "brackets": 3}, "brackets", "does not apply to kind asha", "it is for kind hyperband"),
        ({"kind": "patience", "reduction": 3}, "reduction", "does not apply to kind patience", "leave it out"),
        ({"kind": "patience", "threshold": 0}, "threshold", "does not apply to kind patience", "for kind threshold"),
        ({"kind": "threshold", "threshold": 1, "min_delta": 0}, "min_delta", "does not apply", "for kind patience"),
        ({"kind": "threshold"}, "threshold", "kind threshold needs it", "worse than this"),
        ({"kind": "threshold", "threshold": float("inf")}, "threshold", "is not a finite number", "a finite number"),
        ({"kind": "asha", "reduction": 1}, "reduction", "is less than 2", "at least 2"),
        ({"kind": "patience", "patience": 0}, "patience", "is less than 1", "at least 1"),
        ({"kind": "asha", "paticence": 3}, "paticence", "is not a known field", "did you mean patience?"),
        ({"kind": "asha", "min_steps": 96}, "min_steps", "is after the last report", "at most 95"),
        ({"kind": "hyperband", "min_steps": 100}, "min_steps", "is after the last report", "at most 95"),
        ({"kind": "median", "min_steps": 1000}, "min_steps", "a trial of 100 steps", "the 5 steps between reports"),
        ({"kind": "patience", "patience": 19}, "patience", "has 19 reports before its last", "at most 18"),
        ({"kind": "hyperband", "brackets": 4}, "brackets", "(12, 36)", "at most 3"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(
    early_stopping: Any, field: str, problem: str, allowed: str
) -> None:
    (error,) = errors_of(early_stopping)
    assert error.field == f"early_stopping.{field}"
    assert problem in error.problem
    assert allowed in error.allowed
    assert early_stopping.get(field) == error.given or error.given == "inf"


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median", "patience", "threshold"])
@pytest.mark.parametrize(("training", "interval"), [({"steps": 100, "report_every": 100}, 100), ({"steps": 1}, 1)])
def test_early_stopping_without_reports_before_the_end_is_refused(kind: str, training: Any, interval: int) -> None:
    options = {"threshold": 0.5} if kind == "threshold" else {}
    (error,) = errors_of({"kind": kind, **options}, training=training)
    assert (error.field, error.given) == ("training.report_every", interval)
    assert f"trials report every {interval} of {training['steps']} steps" in error.problem
    assert "a smaller training.report_every" in error.allowed
    assert errors_of({"kind": "none"}, training=training) == []


@pytest.mark.parametrize(
    ("space", "accepted"),
    [
        ({"training.steps": [50, 200]}, True),
        ({"training.steps": [50, 80]}, False),
        ({"training.steps": {"low": 50, "high": 200}}, True),
        ({"training.steps": {"low": 50, "high": 80}}, False),
        ({"training.report_every": [100, 95]}, True),
        ({"training.report_every": [100, 60]}, False),
        ({"training.report_every": {"low": 30, "high": 60}}, True),
    ],
)
def test_a_rule_is_refused_only_if_it_can_end_no_trial_of_the_space(space: Any, accepted: bool) -> None:
    found = errors_of({"kind": "asha", "min_steps": 90}, space=space)
    assert (found == []) == accepted, found


def test_a_metric_that_the_task_does_not_report_is_refused_with_those_that_it_does() -> None:
    (error,) = errors_of({"kind": "asha"}, objective={"metric": "val/accuracy"})
    assert (error.field, error.given, error.allowed) == ("objective.metric", "val/accuracy", "one of val/loss")


@pytest.mark.parametrize(
    "stored",
    [
        {"kind": "none", "reduction": 3, "min_steps": None},
        {"kind": "median", "reduction": 7, "min_steps": None},
        {"kind": "none", "reduction": 7, "min_steps": 5},
        {"kind": "asha", "reduction": 3, "min_steps": 1000},
    ],
)
def test_documents_of_earlier_releases_are_read(stored: Any) -> None:
    spec = SweepSpec.model_validate(SWEEP | {"early_stopping": stored})
    assert spec.early_stopping.model_dump().items() >= stored.items()


@pytest.mark.parametrize("kind", ["none", "asha", "median"])
def test_a_document_with_the_defaults_of_an_earlier_release_can_be_submitted_again(kind: str) -> None:
    assert errors_of({"kind": kind, "reduction": 3, "min_steps": None}) == []


def test_a_document_with_todays_defaults_can_be_submitted_again() -> None:
    for kind in ("none", "asha", "hyperband", "median", "patience"):
        assert errors_of(EarlyStoppingSpec(kind=kind).model_dump()) == []

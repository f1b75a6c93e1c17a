"""What is said of a wrong value: our own sentences for every type of error, and never the words of pydantic."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic_core.core_schema import ErrorType

from tests.workers.spec.good_sweep import GOOD
from workers.errors import FieldError, SpecError
from workers.spec import field_errors
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec
from workers.tasks import TASKS
from workers.wording import FALLBACK, SENTENCES, describe, nearest, one_of, plain_number

FOREIGN = re.compile(
    r"Input should|Field required|valid dictionary|after validation|List should|String should|Extra inputs"
    r"|Value error|\b[A-Z][a-z]+[A-Z][A-Za-z]+\b|\bSpec\b|\{|\d\.0\b"
)
"""Pydantic's own words, names of classes, names in braces that were not filled in, and whole numbers with a point."""

CONTEXT: dict[str, Any] = {
    **dict.fromkeys(("gt", "ge", "lt", "le"), 1.0),
    **dict.fromkeys(("min_length", "max_length", "actual_length"), 10_000),
    "expected": "'a' or 'b'",
    "expected_tags": "'a', 'b'",
    "discriminator": "'name'",
    "class_name": "SearchSpec",
    "pattern": "^[!-~]+$",
    "field_type": "List",
}
WRONG: list[Any] = [
    None, True, 0, -1, 10**12, 10**30, 0.5, -0.5, 1e300, math.nan, math.inf, "", "x", "x" * 2000, "\ud800", "../é",
    [], [1], [[]], ["x" * 2000], [None], list(range(10_001)), {}, {"a": 1}, {"values": []}, {"low": 1}, {1: 2},
    {"values": {}}, {"low": 1, "high": 2, "grid": 0}, {"low": 1, "high": 2, "log": 3}, {str(i): [1] for i in range(40)},
    {"A": 3}, {"A": {"length": 0, "features": 1.5, "classes": [], "outputs": "1", "baseline": math.inf}},
]  # fmt: skip


def documents() -> Iterator[dict[str, Any]]:
    """Yield sweeps with each wrong value in each field, and as a value of each dimension of the space."""
    parts = {name: info.annotation for name, info in SweepSpec.model_fields.items()}
    for value in WRONG:
        for part, spec in parts.items():
            yield GOOD | {part: value}
            for field in getattr(spec, "model_fields", {}):
                yield GOOD | {part: {**GOOD.get(part, {}), field: value}}
                if part in ("model", "training"):
                    yield GOOD | {"space": {f"{part}.{field}": [value]}}
        for name, task in TASKS.items():
            yield GOOD | {"task": {"name": name, "unknown": value}}
            for field in task.model_fields:
                yield GOOD | {"task": {"name": name, "dataset": "A", "file": "a.csv", field: value}}
                yield GOOD | {"task": {"name": name}, "space": {f"task.{field}": [value]}}
        yield GOOD | {"space": {"model.margin": value}}
        yield GOOD | {"task": {"name": value}}


@pytest.mark.parametrize("kind", sorted({*get_args(ErrorType), *SENTENCES, "a type of later versions"}))
def test_no_type_of_error_is_described_in_pydantics_words(kind: str) -> None:
    message = "is our own sentence" if kind not in get_args(ErrorType) else "Input should be a valid SearchSpec"
    for context in (CONTEXT, {}):
        problem, allowed = describe(kind, context, message)
        assert problem
        assert allowed
        assert not FOREIGN.search(f"{problem} {allowed}")
    assert kind not in SENTENCES or describe(kind, CONTEXT, message) != FALLBACK


def test_every_wrong_value_of_every_field_is_described_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: set[str] = set()

    def watched(kind: str, context: dict[str, Any], message: str) -> tuple[str, str]:
        kinds.add(kind)
        return describe(kind, context, message)

    monkeypatch.setattr(field_errors, "describe", watched)
    monkeypatch.setattr("workers.spec.parse.describe", watched)
    monkeypatch.setattr("workers.spec.parse.add_dataset_info", _refuse)
    for document in documents():
        with pytest.raises(SpecError) as caught:
            parse_sweep(copy.copy(document))
        for error in caught.value.errors:
            assert not FOREIGN.search(error.problem), error
            assert error.problem != FALLBACK[0], error
            assert error.allowed != FALLBACK[1], error
            assert "Input should" not in error.allowed, error
            assert not re.search(r"(above|below|at most|at least) \d+\.0\b", error.allowed), error
    assert kinds >= {
        "finite_number", "float_type", "greater_than", "greater_than_equal", "int_type", "less_than",
        "less_than_equal", "list_type", "literal_error", "missing", "model_type", "string_pattern_mismatch",
        "string_too_long", "string_too_short", "string_type", "too_long", "too_short", "bool_type",
    }  # fmt: skip
    assert kinds & set(get_args(ErrorType)) <= set(SENTENCES)


def _refuse(*_: Any) -> Any:
    """End the check of a sweep that has no wrong field, before its data are read."""
    raise SpecError([])


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("search", ["grid"], 'search: is not an object (given: ["grid"]; allowed: an object)'),
        ("task", 3, "task: is not an object (given: 3; allowed: an object)"),
        ("search", {"trials": "x"}, 'search.trials: is not a whole number (given: "x"; allowed: a whole number)'),
        ("search", {"trials": 10**5}, "search.trials: is more than 20,000 (given: 100000; allowed: at most 20,000)"),
        ("training", {"lr": 0}, "training.lr: is not above 0 (given: 0; allowed: above 0)"),
        ("space", {"training.lr": []}, "space.training.lr.values: has no items (given: []; allowed: at least 1 item)"),
        ("name", "", 'name: is empty (given: ""; allowed: at least 1 character)'),
        ("name", {"a": None}, 'name: is not text (given: {"a": null}; allowed: text)'),
        ("training", {"steps": None}, "training.steps: is not a whole number (given: null; allowed: a whole number)"),
    ],
)  # fmt: skip
def test_an_error_reads_as_a_sentence(field: str, value: Any, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(GOOD | {field: value})
    assert str(caught.value) == text


def test_what_was_given_is_shown_as_json() -> None:
    assert field_errors.shorten([2, {"a": None}]) == [2, {"a": None}]
    assert field_errors.shorten([math.nan]) == "[NaN]"
    long = field_errors.shorten(["é"] * 200)
    assert (len(long), long[:10], long[-3:]) == (200, '["é", "é",', "...")
    assert str(FieldError("a", None, "is missing", "b")) == "a: is missing (given: null; allowed: b)"


def test_numbers_are_written_as_a_person_writes_them() -> None:
    assert [plain_number(n) for n in (1.0, 0.4, 10_000, 1e6, True)] == ["1", "0.4", "10,000", "1,000,000", "True"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("spectral-rnn", "spectral_rnn"),
        ("Spectral RNN", "spectral_rnn"),
        ("adding_problem", "adding"),
        ("addng", "adding"),
        ("bayes", "tpe"),
        ("tpe", "tpe"),
        ("xyz", None),
        ("", None),
        (3, None),
    ],
)
def test_the_name_that_was_probably_meant(given: Any, meant: str | None) -> None:
    names = ["spectral_rnn", "adding", "tpe", "rnn"]
    assert nearest(given, names, {"bayes": "tpe"}) == meant
    said = one_of(given, names, {"bayes": "tpe"})
    assert said.endswith("one of spectral_rnn, adding, tpe, rnn")
    assert said.startswith(f"did you mean {meant}? ") == (meant is not None)


def test_a_long_list_of_names_is_left_out_beside_a_suggestion() -> None:
    names = [f"model.field_{place}" for place in range(40)]
    assert (
        one_of("model.field7", names)
        == "did you mean model.field_7? It is one of 40 that are allowed; /docs lists them"
    )
    assert one_of("z", names).endswith("model.field_39")

"""Any document, and any mutation of a good one, is parsed, or refused with the reason."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.spec.good_sweep import GOOD
from workers.errors import FieldError, SpecError
from workers.spec.expand import plan_trial, points_of
from workers.spec.parse import parse_sweep

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _paths(part: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here] if here else []
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in items:
        found += _paths(value, (*here, key))
    return found


@st.composite
def mutated(draw_from: st.DrawFn) -> Any:
    """GOOD with one to three places replaced, removed or given an unknown neighbour."""
    document = copy.deepcopy(GOOD)
    for _ in range(draw_from(st.integers(1, 3))):
        *parents, last = draw_from(st.sampled_from(_paths(document)))
        part: Any = document
        for key in parents:
            part = part[key]
        kind = draw_from(st.sampled_from(["replace", "remove", "add"]))
        if kind == "remove":
            del part[last]
        elif kind == "add" and isinstance(part, dict):
            part[draw_from(st.text(max_size=5))] = draw_from(JSON)
        else:
            part[last] = draw_from(JSON)
        if not document:
            return document
    return document


def _parses_or_says_why(document: Any) -> None:
    errors: list[FieldError] = []
    try:
        sweep = parse_sweep(document)
        plan_trial(sweep, 0, next(points_of(sweep))).require_spec()
    except SpecError as caught:
        errors = caught.errors
        assert errors
    json.dumps([error.as_dict() for error in errors], allow_nan=False)
    assert all(error.problem and error.allowed for error in errors)


@given(document=JSON)
@settings(deadline=None)
def test_any_json_parses_or_says_why(document: Any) -> None:
    _parses_or_says_why(document)


@given(document=mutated())
@settings(deadline=None, max_examples=300)
def test_any_mutation_of_a_good_sweep_parses_or_says_why(document: Any) -> None:
    _parses_or_says_why(document)


@pytest.mark.parametrize(
    "value",
    [10**400, -(10**400), 1e308, 5e-324, "x" * 100_000, "\ud800", "\x00", [[]] * 50, {"low": {}}, "model.margin"],
    ids=["huge", "-huge", "1e308", "tiny", "long", "surrogate", "nul", "lists", "object", "name"],
)
def test_extreme_values_anywhere_parse_or_say_why(value: Any) -> None:
    for path in _paths(GOOD):
        document = copy.deepcopy(GOOD)
        part: Any = document
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        _parses_or_says_why(document)

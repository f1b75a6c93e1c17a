"""Further objectives of a sweep: which there are, their directions, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from workers.errors import SpecError
from workers.spec.expand import objective, objectives, points_of
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec

DOCUMENT: dict[str, Any] = {
    "task": {"name": "digits"},
    "model": {"hidden_size": 8},
    "space": {"model.margin": [0.1, 0.2]},
}


def test_each_has_its_own_direction_unless_one_is_given() -> None:
    further = [{"metric": "val/loss"}, {"metric": "parameters"}]
    sweep = parse_sweep(DOCUMENT | {"further_objectives": further})
    assert [(one.metric, one.direction) for one in objectives(sweep)] == [
        ("val/accuracy", "maximize"),
        ("val/loss", "minimize"),
        ("parameters", "minimize"),
    ]
    turned = parse_sweep(DOCUMENT | {"further_objectives": [{"metric": "seconds", "direction": "maximize"}]})
    assert objectives(turned)[1].direction == "maximize"


def test_the_first_objective_and_the_points_stay_as_they_are() -> None:
    plain, more = (parse_sweep(DOCUMENT | extra) for extra in ({}, {"further_objectives": [{"metric": "parameters"}]}))
    assert objectives(plain) == (objective(plain),)
    assert objective(more) == objective(plain)
    assert list(points_of(more)) == list(points_of(plain))


def test_documents_of_earlier_releases_have_none() -> None:
    assert SweepSpec.model_validate(DOCUMENT).further_objectives == []


@pytest.mark.parametrize(
    ("further", "field", "said"),
    [
        ([{"metric": "val/nothing"}], "further_objectives.0.metric", "val/loss, val/accuracy, parameters, seconds"),
        ([{"metric": "test/accuracy"}], "further_objectives.0.metric", "one of val/"),
        ([{"metric": "val/accuracy"}], "further_objectives.0.metric", "each metric once"),
        ([{"metric": "seconds"}, {"metric": "seconds"}], "further_objectives.1.metric", "each metric once"),
        ([{"metric": "seconds", "direction": "up"}], "further_objectives.0.direction", "minimize"),
        ([{}], "further_objectives.0.metric", ""),
        ([{"metric": name} for name in ("val/loss", "seconds", "parameters")], "further_objectives", "2"),
    ],
)
def test_what_is_refused(further: list[Any], field: str, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_sweep(DOCUMENT | {"further_objectives": further})
    (error,) = refused.value.errors
    assert error.field == field
    assert said in str(error)

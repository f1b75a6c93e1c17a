"""More steps for a trial that has ended: what is asked for, and which training follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workers.examples import make_trial, sweep_document
from workers.errors import SpecError
from workers.spec.expand import plan_trial
from workers.spec.more_steps import is_beginning_of, parse_more_steps, plan_longer, prolonged, require_longer
from workers.spec.parse import parse_sweep
from workers.spec.training import TrainingSpec


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "(document)"),
        ([1200], "(document)"),
        (None, "(document)"),
        ({"trials": 3}, "trials"),
        ({"steps": 1200, "lr": 1}, "lr"),
        ({"steps": True}, "steps"),
        ({"steps": 1200.0}, "steps"),
        ({"steps": "1200"}, "steps"),
        ({"steps": 0}, "steps"),
        ({"steps": 10_000_001}, "steps"),
    ],
)
def test_a_document_that_asks_for_no_steps_is_refused_with_its_field(document: Any, field: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_more_steps(document)
    assert refused.value.errors[0].field == field


def test_a_document_gives_the_number_of_steps() -> None:
    assert parse_more_steps({"steps": 1200}) == 1200


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"report_every": 7, "checkpoint_every": 20},
        {"schedule": "step"},
        {"schedule": "step", "schedule_every": 50},
        {"schedule": "step", "schedule_unit": "epochs"},
        {"warmup_steps": 30},
    ],
)
def test_a_longer_training_goes_on_as_the_shorter_one(fields: dict[str, Any]) -> None:
    short = TrainingSpec(steps=610, **fields)
    long = prolonged(short, 1200)
    assert (long.steps, long.report_interval, long.checkpoint_interval) == (
        1200,
        short.report_interval,
        short.checkpoint_interval,
    )
    if short.schedule == "step" and short.schedule_unit is None:
        assert long.schedule_every == (short.schedule_every or 203)
    assert prolonged(prolonged(short, 700), 1200) == long
    assert is_beginning_of(short, long)
    assert is_beginning_of(prolonged(short, 700), long)
    assert is_beginning_of(long, long)
    assert not is_beginning_of(long, short)
    assert not is_beginning_of(short, long.model_copy(update={"lr": 0.5}))
    # the intervals of one long training are others by default
    assert is_beginning_of(short, TrainingSpec(steps=1200, **fields)) == ("report_every" in fields)


def test_a_cosine_has_ended_and_is_no_beginning() -> None:
    trial = make_trial(schedule="cosine")
    with pytest.raises(SpecError) as refused:
        require_longer(trial, 24)
    (error,) = refused.value.errors
    assert (error.field, error.given) == ("training.schedule", "cosine")
    assert not is_beginning_of(trial.training, prolonged(trial.training, 24))


def test_steps_that_the_trial_has_already_are_refused() -> None:
    for steps in (1, 11, 12):
        with pytest.raises(SpecError) as refused:
            require_longer(make_trial(), steps)
        assert refused.value.errors[0].field == "steps"
        assert "more than 12" in str(refused.value)
    require_longer(make_trial(), 13)


def test_only_the_training_of_a_trial_changes() -> None:
    sweep = parse_sweep(sweep_document(space={"training.steps": [8, 12], "model.margin": [0.01, 0.1]}))
    point = {"training.steps": 8, "model.margin": 0.1}
    plain = plan_trial(sweep, 3, point)
    assert plan_longer(sweep, 3, point, 0) == plain
    long = plan_longer(sweep, 3, point, 5)
    assert plain.spec is not None
    assert long.spec is not None
    assert long.params == long.spec.params == point
    assert long.spec.training == prolonged(plain.spec.training, 13)
    assert long.spec.model_copy(update={"training": plain.spec.training}) == plain.spec
    impossible = {"training.steps": 8, "model.margin": 2.0}
    assert plan_longer(sweep, 3, impossible, 5) == plan_trial(sweep, 3, impossible)

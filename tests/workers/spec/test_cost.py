"""What a step costs by a trial's specification: its shape, its multiply-adds, and its memory."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workers.examples import make_trial
from workers.spec.cost import cost_shape, multiply_adds, training_bytes

TRIAL = make_trial()


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 24},
        {"report_every": 2},
        {"checkpoint_every": 12},
        {"lr": 0.1},
        {"seed": 3},
        {"reflectors": 4},
        {"margin": 0.1},
        {"clip_norm": None},
    ],
)
def test_what_changes_no_step_changes_no_shape(change: dict[str, Any]) -> None:
    assert cost_shape(make_trial(**change)) == cost_shape(TRIAL)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 7},
        {"batch_size": 5},
        {"layers": 2},
        {"kind": "rnn", "reflectors": None},
        {"activation": "tanh"},
        {"optimizer": "sgd"},
        {"dtype": "float64"},
        {"recompute_every": 2},
        {"task": {"name": "adding", "length": 9}},
        {"task": {"name": "copy", "length": 8}},
    ],
)
def test_what_changes_a_step_changes_the_shape(change: dict[str, Any]) -> None:
    assert cost_shape(make_trial(**change)) != cost_shape(TRIAL)


def test_multiply_adds_are_those_of_the_products_of_a_step() -> None:
    # adding: 8 steps, 2 inputs, 1 output after the last step; batch 4, hidden 6, forward and twice as much backward
    dense = make_trial(kind="rnn", reflectors=None)
    assert multiply_adds(dense) == 3 * 4 * (8 * (6 * 6 + 6 * 2) + 6)
    lstm = make_trial(kind="lstm", reflectors=None)
    assert multiply_adds(lstm) == 3 * 4 * (8 * 4 * (6 * 6 + 6 * 2) + 6)
    # one reflector on each side: the factors have 2 (m1 + m2) = 4 columns, less than 6
    few = make_trial(reflectors=1)
    assert multiply_adds(few) == 3 * 4 * (8 * (6 * 4 + 6 * 2) + 6)
    assert multiply_adds(make_trial(reflectors=6)) == multiply_adds(dense)
    assert multiply_adds(make_trial(kind="exprnn", reflectors=None)) == multiply_adds(dense) + 30 * 6**3
    whole = make_trial(kind="mlp", reflectors=None, layers=3)
    assert multiply_adds(whole) == 3 * 4 * (6 * 2 * 8 + 3 * 6 * 6 + 6)


def test_an_output_at_every_step_costs_more() -> None:
    copy = make_trial(task={"name": "copy", "length": 8}, kind="rnn", reflectors=None)
    last = multiply_adds(copy) / (3 * 4) / copy.task.sequence_length
    assert last == 6 * 6 + 6 * copy.task.input_size + 6 * copy.task.output_size


def test_memory_grows_with_everything_that_is_held() -> None:
    base = training_bytes([TRIAL])
    assert training_bytes([TRIAL] * 3) == 3 * base
    for change in ({"hidden_size": 12}, {"batch_size": 8}, {"dtype": "float64"}, {"kind": "lstm", "reflectors": None}):
        assert training_bytes([make_trial(**change)]) > base
    assert training_bytes([make_trial(optimizer="sgd")]) < base

"""How long one pack takes: its steps, reports and checkpoints, and what early stopping leaves of them."""

from __future__ import annotations

import pytest

from service.estimates.early_ends import EarlyEnds
from service.estimates.pack_costs import PackCosts, PackProfile
from service.estimates.pack_seconds import REPLY_SECONDS, seconds_of
from tests.service.estimates.examples import measured, seeds, sweep_of

TRAINING = {"steps": 80, "batch_size": 4, "report_every": 10, "checkpoint_every": 20, "lr": 0.01}


def test_a_pack_takes_its_steps_reports_and_checkpoints() -> None:
    spec, trials = sweep_of(space=seeds(4), training=TRAINING)
    found = seconds_of(trials, PackCosts([measured(trials)], 1), EarlyEnds(spec, 4))
    assert found is not None
    # 80 steps of 0.1 s, 8 reports of 0.5 s, and 4 checkpoints of 4 trials of 0.01 s
    assert found.expected == found.every_step == found.least == pytest.approx(8 + 4 + 0.16)
    assert found.basis == "runs"
    half = seconds_of(trials, PackCosts([measured(trials)], 1), EarlyEnds(spec, 4), done=40)
    assert half is not None
    assert half.expected == pytest.approx(found.expected / 2)


def test_nothing_is_said_of_what_was_never_measured() -> None:
    spec, trials = sweep_of(space=seeds(4), training=TRAINING)
    assert seconds_of(trials, PackCosts([], 1), EarlyEnds(spec, 4)) is None


def test_a_halved_pack_is_faster_and_goes_on_only_while_a_trial_is_left() -> None:
    training = TRAINING | {"checkpoint_every": None}
    early = {"kind": "asha", "min_steps": 40, "reduction": 4}
    spec, trials = sweep_of(space=seeds(4), training=training, early_stopping=early)
    free = {"evaluation_seconds": 0.0, "checkpoint_seconds": 0.0}
    known = [measured(trials, **free), measured(trials[:1], step_seconds=0.05, **free)]
    found = seconds_of(trials, PackCosts(known, 1), EarlyEnds(spec, 4))
    assert found is not None
    assert found.every_step == pytest.approx(8.0)
    assert found.expected == pytest.approx(40 * 0.1 + 40 * 0.05)
    # of two trials half of one is left: the pack goes on with that chance
    two = seconds_of(trials[:2], PackCosts([measured(trials[:2], **free), known[1]], 1), EarlyEnds(spec, 4))
    assert two is not None
    assert two.expected == pytest.approx(40 * 0.1 + 0.5 * 40 * 0.05 + 0.5 * REPLY_SECONDS)
    # once the others have ended, the one that is left does all of its steps
    left = seconds_of(trials[:1], PackCosts(known, 1), EarlyEnds(spec, 4), done=40)
    assert left is not None
    assert left.expected == pytest.approx(40 * 0.05)


def test_trials_that_have_no_place_at_once_come_one_after_another() -> None:
    spec, trials = sweep_of(space=seeds(6), training=TRAINING)
    third = measured(
        trials, size=2, work=PackProfile.of(trials[:2]).work, evaluation_seconds=0.0, checkpoint_seconds=0.0
    )
    found = seconds_of(trials, PackCosts([third], 1), EarlyEnds(spec, 6))
    assert found is not None
    assert found.expected == pytest.approx(3 * 80 * 0.1)

"""A trial that gets more steps after its end has the bits of one long training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.workers.examples import make_trial
from tests.workers.training.runs import assert_same_bits, run, trainer, values
from workers.checkpoints import CheckpointFolder
from workers.errors import CheckpointForeign
from workers.protocol import AssignedTrial, Checkpointed, Ended, Measured, Report
from workers.spec.more_steps import prolonged
from workers.spec.trial import TrialSpec
from workers.training.optimizers import OPTIMIZERS
from workers.training.pack_run import PackRun
from workers.training.training_state import TrainingState


def longer(spec: TrialSpec, steps: int) -> TrialSpec:
    return spec.model_copy(update={"training": prolonged(spec.training, steps)})


def trained(spec: TrialSpec, folder: Path) -> list[Report]:
    """Train a trial to its end, from its newest checkpoint on, as a worker does."""
    found: list[Report] = []
    pack = PackRun([AssignedTrial(trial_id="t", spec=spec, checkpoint_dir=str(folder))], found.append)
    pack.start()
    while not pack.ended:
        pack.advance()
    return found


@pytest.mark.parametrize(
    "fields",
    [
        *({"optimizer": optimizer} for optimizer in OPTIMIZERS),
        {"schedule": "step"},
        {"warmup_steps": 5},
        {"dtype": "float64"},
        {"kind": "lstm", "reflectors": None},
    ],
)
def test_it_has_the_bits_of_one_long_training(fields: dict[str, Any], tmp_path: Path) -> None:
    short = make_trial(steps=10, seed=3, **fields)  # its last report, at 10, is out of the order of 4, 8, 12
    (end,) = [report for report in trained(short, tmp_path / "parts") if isinstance(report, Ended)]
    assert (end.outcome, end.step) == ("succeeded", 10)
    once = longer(short, 15)
    trained(once, tmp_path / "parts")
    parts = trained(longer(once, 23), tmp_path / "parts")
    whole = longer(short, 23)
    undisturbed = trainer([whole])
    wanted = values(run(undisturbed), 0)
    told = {r.step: r.values for r in parts if isinstance(r, Measured)}
    assert sorted(told) == [4, 8, 10, 12, 15, 16, 20, 23]
    for step in (4, 8, 12, 16, 20, 23):
        for name, value in wanted[step].items():
            # the loss of an interval is divided among the reports in it; the test is of the best checkpoint
            if name != "train/loss" and not name.startswith("test/"):
                assert told[step][name] == value, (step, name)
    for first, second, size in ((10, 12, 4), (15, 16, 4)):
        shares = {10: 2, 12: 2, 15: 3, 16: 1}
        both = shares[first] * told[first]["train/loss"] + shares[second] * told[second]["train/loss"]
        assert both / size == pytest.approx(wanted[second]["train/loss"], rel=1e-5)
    state = TrainingState.resume(CheckpointFolder(tmp_path / "parts", whole), whole)
    assert_same_bits(state, undisturbed.state(0))
    assert {r.step for r in parts if isinstance(r, Checkpointed)} >= {20, 23}


def test_the_best_checkpoint_is_the_best_of_all_steps(tmp_path: Path) -> None:
    short = make_trial(steps=8, lr=0.03)
    trained(short, tmp_path)
    told = trained(longer(short, 40), tmp_path)
    losses = {r.step: r.values["val/loss"] for r in told if isinstance(r, Measured)}
    best = [r for r in told if isinstance(r, Checkpointed) and r.best][-1]
    assert best.step == min(losses, key=lambda step: (losses[step], step))
    assert best.step > 8
    last = [r for r in told if isinstance(r, Measured)][-1]
    assert last.step == 40
    assert "test/loss" in last.values


def test_a_checkpoint_of_a_longer_or_another_training_is_refused(tmp_path: Path) -> None:
    short = make_trial(steps=8)
    trained(longer(short, 12), tmp_path)
    for other in (short, make_trial(steps=12, report_every=3), longer(make_trial(steps=8, lr=0.5), 12)):
        with pytest.raises(CheckpointForeign, match="training in its manifest"):
            TrainingState.resume(CheckpointFolder(tmp_path, other), other)

"""The estimate of what checkpoints take on the disk, beside what they do take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.workers.examples import make_assignment, make_trial, sweep_document
from workers.checkpoint_files import bytes_in
from workers.checkpoints import CheckpointFolder
from workers.spec.checkpoint_size import STATE_TENSORS, checkpoint_bytes, kept_checkpoints, sweep_bytes
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep
from workers.training.optimizers import OPTIMIZERS
from workers.training.pack_run import PackRun


def test_every_optimiser_is_counted_with_its_state() -> None:
    assert {name: len(optimizer.STATE) for name, optimizer in OPTIMIZERS.items()} == STATE_TENSORS


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": 64},
        {"hidden_size": 64, "optimizer": "sgd"},
        {"hidden_size": 48, "dtype": "float64", "layers": 2},
        {"kind": "lstm", "hidden_size": 64, "reflectors": None},
        {"kind": "spectral_gru", "hidden_size": 32},
        {"kind": "exprnn", "hidden_size": 64, "reflectors": None},
        {"kind": "spectral_mlp", "hidden_size": 32, "layers": 3},
    ],
)
def test_a_checkpoint_takes_about_what_was_estimated(fields: dict[str, Any], tmp_path: Path) -> None:
    spec = make_trial(steps=4, report_every=1, **fields)
    run = PackRun(make_assignment(tmp_path, [spec]).trials, lambda _: None)
    run.start()
    while not run.ended:
        run.advance()
    store = CheckpointFolder(tmp_path / "t0", spec)
    real = bytes_in(store.path(store.steps()[-1]))
    assert real / 2 < checkpoint_bytes(spec) < real * 2


def test_the_trials_of_a_sweep_are_summed() -> None:
    sizes = {"model.hidden_size": {"values": [8, 64]}, "training.optimizer": {"values": ["adam", "sgd"]}}
    sweep = parse_sweep(sweep_document(space=sizes, checkpoints={"keep": ["best"], "keep_every": 6}))
    trials = [plan.require_spec() for plan in plan_trials(sweep)]
    assert [kept_checkpoints(sweep, trial) for trial in trials] == [3] * 4  # the best one, and those of steps 6 and 12
    each = [checkpoint_bytes(trial) for trial in trials]
    assert sweep_bytes(sweep) == 3 * sum(each) + 2 * max(each)


def test_a_large_sweep_is_estimated_from_some_of_its_trials() -> None:
    space = {"model.hidden_size": {"low": 4, "high": 64}, "training.seed": {"low": 0, "high": 10_000}}
    document = sweep_document(space=space, search={"sampler": "random", "trials": 1000})
    whole = sweep_bytes(parse_sweep(document))
    first = sweep_bytes(parse_sweep(document | {"search": {"sampler": "random", "trials": 200}}))
    assert 4 < whole / first < 6

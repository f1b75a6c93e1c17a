"""The timer of a pack: what the trainer and the run of a pack count, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.workers.examples import make_assignment, make_trial
from tests.workers.training.runs import CPU, run
from workers.protocol import PackTimes, Report, SizeTimes
from workers.training import pack_timer
from workers.training.batches import TaskData
from workers.training.pack_run import PackRun
from workers.training.pack_timer import PackTimer, device_name, peak_bytes
from workers.training.trainer import Trainer
from workers.training.training_state import TrainingState


def test_the_first_steps_warm_up_and_the_others_say_what_a_step_takes() -> None:
    timer = PackTimer(CPU)
    timer.count_steps(2, 10, 3.0)
    assert timer.times().sizes == [SizeTimes(rows=2, steps=10, step_seconds=0.3, evaluations=0, evaluation_seconds=0)]
    assert timer.times().warm_up_seconds == 0
    timer.count_steps(2, 20, 2.0)
    timer.count_evaluation(2, 0.5)
    timer.count_evaluation(2, 0.25)
    timer.count_steps(1, 5, 0.25)
    timer.count_checkpoints(2, 0.5)
    timer.count_checkpoints(1, 0.25)
    found = timer.times()
    assert found.sizes == [
        SizeTimes(rows=1, steps=5, step_seconds=0.05, evaluations=0, evaluation_seconds=0),
        SizeTimes(rows=2, steps=30, step_seconds=0.1, evaluations=2, evaluation_seconds=0.75),
    ]
    # the first 10 steps took 3 s where others take 1 s
    assert found.warm_up_seconds == pytest.approx(2.0)
    assert (found.checkpoints, found.checkpoint_seconds) == (3, 0.75)


def test_the_age_of_a_pack_ends_with_its_last_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pack_timer.time, "monotonic", lambda: now[0])
    timer = PackTimer(CPU)
    now[0] = 103.0
    assert (timer.times().age_seconds, timer.times().ready_seconds) == (3.0, 3.0)
    timer.ready()
    now[0] = 110.0
    timer.ended()
    now[0] = 500.0
    assert (timer.times().age_seconds, timer.times().ready_seconds) == (10.0, 3.0)


def test_a_trainer_counts_its_steps_and_reports_by_the_rows_of_its_pack() -> None:
    timer = PackTimer(CPU)
    states = [TrainingState.start(make_trial(seed=seed)) for seed in range(3)]
    training = Trainer(states, TaskData(states[0].spec.task, None, CPU, torch.float32), CPU, timer=timer)
    training.advance()
    training.end(0)
    training.end(1)
    run(training)
    sizes = {size.rows: size for size in timer.times().sizes}
    assert {rows: (size.steps, size.evaluations) for rows, size in sizes.items()} == {3: (4, 1), 1: (8, 2)}
    assert all(size.step_seconds > 0 for size in sizes.values())


def test_a_run_counts_all_that_it_does(tmp_path: Path) -> None:
    reports: list[Report] = []
    assignment = make_assignment(tmp_path, [make_trial(), make_trial(seed=1)])
    pack_run = PackRun(assignment.trials, reports.append)
    pack_run.start()
    while not pack_run.ended:
        pack_run.advance()
    found = pack_run.times()
    (size,) = found.sizes
    assert (size.rows, size.steps, size.evaluations, found.checkpoints) == (2, 12, 3, 6)
    assert found.checkpoint_seconds > 0
    assert found.device == device_name(torch.device("cpu"))
    # the seconds of a step are those of later ones, so that the first steps may have taken less
    assert size.step_seconds > 0
    parts = found.ready_seconds + size.evaluation_seconds + found.checkpoint_seconds
    assert parts <= found.age_seconds * 1.001
    assert 0 < found.peak_bytes <= peak_bytes()
    assert found.gpu_peak_bytes is None
    assert PackTimes.model_validate(found.model_dump()) == found

"""What is reported and when: targets, checkpoints, test metrics, the names of all metrics."""

from __future__ import annotations

import pytest
import torch

from tests.workers.examples import make_trial
from tests.workers.training.runs import CPU, TIMES, run, trainer, values
from workers.models import initial_network
from workers.training.batches import TaskData
from workers.training.trainer_events import Finished, Reported


def test_test_metrics_come_once_from_the_best_checkpointed_parameters() -> None:
    spec = make_trial(steps=40, report_every=4, lr=0.5, dtype="float64")
    found = trainer([spec])
    snapshots, events = {}, []
    while found.live:
        events += found.advance()
        snapshots[found.step_of(0)] = found.state(0).model
    reports = values(events, 0)
    assert [step for step, metrics in reports.items() if "test/loss" in metrics] == [40]
    best = min(reports, key=lambda step: reports[step]["val/loss"])
    assert best < 40, "choose a rate at which the last step is not the best"
    model = initial_network(spec)
    model.load_state_dict(snapshots[best])
    test = TaskData(spec.task, None, CPU, torch.float64).test
    with torch.no_grad():
        loss = float((model(test.inputs) - test.targets).square().mean())
    assert reports[40]["test/loss"] == pytest.approx(loss, rel=1e-12)


def test_a_trial_ends_at_the_first_report_that_meets_its_target() -> None:
    free = make_trial(steps=40, report_every=4, lr=0.05)
    curve = {step: metrics["val/loss"] for step, metrics in values(run(trainer([free])), 0).items()}
    target = sorted(curve.values())[len(curve) // 2]
    first = min(step for step, value in curve.items() if value <= target)
    assert 4 < first < 40, "choose a rate at which the target is met midway"
    aimed = make_trial(steps=40, report_every=4, checkpoint_every=40, lr=0.05, target=target)
    both = trainer([aimed, make_trial(steps=40, report_every=4, checkpoint_every=40, lr=0.05, seed=1)])
    events = run(both)
    reports = [e for e in events if isinstance(e, Reported) and e.trial == 0]
    assert [e.step for e in reports] == list(range(4, first + 1, 4))
    assert [(e.save, e.best, "test/loss" in e.values) for e in reports[-2:]] == [(False, False, False), (True,) * 3]
    ends = {e.trial: (e.step, e.reason) for e in events if isinstance(e, Finished)}
    assert ends[1] == (40, None)
    assert ends[0][0] == first
    assert str(ends[0][1]).endswith(f"reached training.target {target:g} at step {first} of 40")
    assert trainer([aimed], [both.state(0)]).live == []


def test_a_target_is_a_lower_bound_if_more_is_better() -> None:
    spec = make_trial(task={"name": "digits"}, steps=4, report_every=2, target=0.0)
    (report,) = [e for e in run(trainer([spec])) if isinstance(e, Reported)]
    assert report.step == 2
    assert "test/accuracy" in report.values


def test_checkpoints_are_due_at_their_interval_and_at_the_end() -> None:
    events = run(trainer([make_trial(steps=20, report_every=4, checkpoint_every=8)]))
    assert [e.step for e in events if isinstance(e, Reported) and e.save] == [8, 16, 20]
    assert all(e.save for e in events if isinstance(e, Reported) and e.best)
    assert isinstance(events[-1], Finished)


def test_every_report_has_every_metric() -> None:
    events = run(trainer([make_trial(task={"name": "digits"}, steps=4, report_every=2)]))
    first, last = (e.values for e in events if isinstance(e, Reported))
    always = {"train/loss", "val/loss", "val/accuracy", "spectral/margin", *TIMES}
    always |= {"grad/h0_norm", "grad/hT_norm", "grad/ratio"}
    assert first.keys() == always
    looks = {f"grad_t/{i:02d}" for i in range(16)} | {f"spectral_hist/{i}" for i in range(10)}
    looks |= {"spectral/min", "spectral/max", "spectral/orthogonality", "state/rank", "state/saturated"}
    assert last.keys() == always | looks | {"test/loss", "test/accuracy"}
    assert last["grad/ratio"] == last["grad/h0_norm"] / last["grad/hT_norm"]

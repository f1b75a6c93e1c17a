"""A runner that gets further trials while it trains, while it waits for them, and too late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workers.training.pack_run
from tests.waiting import until
from tests.workers.examples import make_assignment, make_trial
from tests.workers.runtime.test_train_pack import LONG, PATIENCE, Watched, ends, metrics, poll, start, to_end
from workers.protocol import AssignedTrial, Command, Measured
from workers.training.pack_run import PackRun

__all__ = ["start"]


def refill(folder: Path, seq: int, **trials: Any) -> dict[str, Any]:
    """Return the command that brings trials by their ids."""
    assigned = [
        AssignedTrial(trial_id=name, spec=spec, checkpoint_dir=str(folder / name)) for name, spec in trials.items()
    ]
    return Command(seq=seq, verb="refill", trial_ids=list(trials), trials=assigned).model_dump()


def alone(folder: Path, spec: Any) -> list[Any]:
    """Return the metrics of a trial that is trained by itself."""
    return [found[1:] for found in metrics(to_end(Watched(make_assignment(folder, [spec]).model_dump())))]


def of(trial: str, reports: Any) -> list[Any]:
    return [found[1:] for found in metrics(reports) if found[0] == trial]


def test_a_trial_is_trained_beside_the_others_as_it_is_alone(start: Callable[..., Watched], tmp_path: Path) -> None:
    specs = {f"t{i}": make_trial(seed=i, steps=40, report_every=4, reflectors=1 + i) for i in range(4)}
    runner = start(specs["t0"], specs["t1"])
    until(lambda: poll(runner, 0).progress.get("t0", 0) >= 4)
    runner.command(1, {"seq": 1, "verb": "prune", "trial_ids": ["t1"]})
    assert runner.command(1, refill(tmp_path, 2, t2=specs["t2"]))
    assert runner.command(1, refill(tmp_path, 3, t3=specs["t3"], t2=specs["t2"]))
    reports = to_end(runner)
    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    assert {name: end.outcome for name, end in ends(reports).items()} == {
        "t0": "succeeded",
        "t1": "pruned",
        "t2": "succeeded",
        "t3": "succeeded",
    }
    for name in ("t0", "t2", "t3"):
        assert of(name, reports) == alone(tmp_path / "alone" / name, specs[name])


def test_a_trial_that_was_moved_goes_on_in_another_runner(start: Callable[..., Watched], tmp_path: Path) -> None:
    specs = [make_trial(seed=i, steps=600, report_every=50, reflectors=1 + i) for i in range(2)]
    first, second = start(specs[0]), Watched(make_assignment(tmp_path / "b", [specs[1]]).model_dump())
    until(lambda: poll(first, 0).progress.get("t0", 0) >= 50)
    first.command(1, {"seq": 1, "verb": "move", "trial_ids": ["t0"], "reason": "its pack is half empty"})
    before = to_end(first)
    end = ends(before)["t0"]
    assert (end.outcome, end.reason) == ("moved", "its pack is half empty")
    assert 50 <= end.step < 600
    moved = AssignedTrial(trial_id="moved", spec=specs[0], checkpoint_dir=str(tmp_path / "t0"))
    second.command(1, Command(seq=1, verb="refill", trial_ids=["moved"], trials=[moved]).model_dump())
    found = to_end(second)
    assert {end.outcome for end in ends(found).values()} == {"succeeded"}
    assert of("moved", found) == alone(tmp_path / "alone", specs[0]), "also what was reported before"


def test_a_trial_is_given_once_and_a_command_that_is_repeated_adds_nothing(
    start: Callable[..., Watched], tmp_path: Path
) -> None:
    runner = start(make_trial(**LONG))
    again = make_trial(seed=1, target=1e6, **LONG)  # it ends with its first report
    assert runner.command(1, refill(tmp_path, 1, t1=again))
    assert not runner.command(1, refill(tmp_path, 1, t1=again))
    until(lambda: "t1" in ends(poll(runner, 0).reports))
    reports = len([r for r in poll(runner, 0).reports if r.trial_id == "t1"])
    assert runner.command(1, refill(tmp_path, 2, t1=again, t0=make_trial(**LONG)))
    step = poll(runner, 0).progress["t0"]
    until(lambda: poll(runner, 0).progress["t0"] > step + 5)
    assert len([r for r in poll(runner, 0).reports if r.trial_id == "t1"]) == reports
    assert set(poll(runner, 0).progress) == {"t0", "t1"}


def test_it_waits_for_trials_and_takes_none_after_that(start: Callable[..., Watched], tmp_path: Path) -> None:
    runner = start(make_trial(), idle_seconds=5.0)
    until(lambda: poll(runner, 0).state == "idle")
    last = poll(runner, 0).reports[-1].seq
    assert poll(runner, last).state == "idle"
    assert not runner.join(1.5), "it does not exit while it waits"
    runner.command(1, refill(tmp_path, 1, t1=make_trial(seed=1)))
    until(lambda: "t1" in ends(poll(runner, last).reports))
    assert poll(runner, last).state == "idle"
    assert poll(runner, last).progress == {"t1": 12}


def test_what_comes_after_it_has_waited_is_not_trained(start: Callable[..., Watched], tmp_path: Path) -> None:
    runner = start(make_trial(), idle_seconds=0.5)
    until(lambda: poll(runner, 0).state == "ended")
    assert runner.command(1, refill(tmp_path, 1, t1=make_trial(seed=1)))
    found = poll(runner, 0)
    assert found.state == "ended"
    assert found.progress == {"t0": 12}, "so the controller sees that it has not taken t1"
    poll(runner, found.reports[-1].seq)  # once all is acknowledged, it exits
    assert runner.join(PATIENCE)
    assert not (tmp_path / "t1").exists()


def test_an_orphan_that_waits_exits(start: Callable[..., Watched]) -> None:
    runner = start(make_trial(), idle_seconds=1e6, orphan_ttl=2.0)
    assert runner.join(60)


def test_trials_of_another_shape_are_refused(start: Callable[..., Watched], tmp_path: Path) -> None:
    runner = start(make_trial(**LONG))
    with pytest.raises(ValueError, match="another shape key"):
        runner.command(1, refill(tmp_path, 1, t1=make_trial(layers=2, **LONG)))


def test_an_error_fails_the_added_trials_too(
    start: Callable[..., Watched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = start(make_trial(**LONG))
    spec = make_trial(seed=1, **LONG)
    runner.command(1, refill(tmp_path, 1, t1=spec))
    until(lambda: poll(runner, 0).progress.get("t1", 0) > 0)

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(workers.training.pack_run.PackRun, "advance", broken)
    found = ends(to_end(runner))
    assert {name: end.outcome for name, end in found.items()} == {"t0": "failed", "t1": "failed"}


def test_a_trial_whose_checkpoints_are_anothers_fails_alone(start: Callable[..., Watched], tmp_path: Path) -> None:
    to_end(start(make_trial(seed=0)))
    runner = start(make_trial(seed=0), idle_seconds=5.0)
    foreign = AssignedTrial(trial_id="t1", spec=make_trial(seed=5), checkpoint_dir=str(tmp_path / "t0"))
    runner.command(1, Command(seq=1, verb="refill", trial_ids=["t1"], trials=[foreign]).model_dump())
    until(lambda: "t1" in ends(poll(runner, 0).reports))
    assert "another trial" in str(ends(poll(runner, 0).reports)["t1"].reason)
    assert poll(runner, 0).state == "idle"


def test_nothing_is_kept_of_trials_that_have_ended(tmp_path: Path) -> None:
    reports: list[Any] = []
    found = make_assignment(tmp_path, [make_trial(seed=0)])
    run = PackRun(found.trials, reports.append)
    run.start()
    for i in range(1, 6):
        while not run.ended:
            run.advance()
        spec = make_trial(seed=i)
        run.add([AssignedTrial(trial_id=f"t{i}", spec=spec, checkpoint_dir=str(tmp_path / f"t{i}"))])
    assert run.live == ["t5"]
    trainer = run._trainer
    assert trainer is not None
    assert len(trainer._states) == len(trainer._clocks) == len(run._folders) == len(run._numbers) == 1
    assert len([r for r in reports if isinstance(r, Measured)]) == 5 * 3

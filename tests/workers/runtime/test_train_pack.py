"""The runner keeps reports until acknowledged, runs a command once, refuses stale terms, and ends every trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import workers.training.pack_run
from tests.waiting import until
from tests.workers.examples import make_assignment, make_trial
from workers.checkpoints import CheckpointFolder
from workers.protocol import Checkpointed, Command, Ended, Measured, Poll, Report, StaleTerm
from workers.runtime.ray_actor import PackRunner
from workers.training.trainer import Trainer

LONG: dict[str, Any] = {"steps": 1_000_000, "report_every": 5}
PATIENCE = 60.0


class Watched(PackRunner):
    """A runner that counts how often it exited."""

    exits = 0

    def exit(self) -> None:
        self.exits += 1


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def run(*trials: Any, **fields: Any) -> Watched:
        started.append(Watched(make_assignment(tmp_path, list(trials), **fields).model_dump()))
        return started[-1]

    yield run
    for i, runner in enumerate(started):
        names = [trial.trial_id for trial in runner._assignment.trials]
        runner.command(99, Command(seq=10_000 + i, verb="cancel", trial_ids=names).model_dump())
        wait_for_end(runner)


def wait_for_end(runner: PackRunner) -> None:
    until(lambda: poll(runner, 0, term=99).state == "ended")


def poll(runner: PackRunner, after: int, term: int = 1) -> Poll:
    return Poll.model_validate(runner.poll(after, term))


def to_end(runner: PackRunner) -> list[Report]:
    """Return all reports of a runner, each acknowledged by the next poll."""
    reports: list[Report] = []

    def ended() -> bool:
        found = poll(runner, reports[-1].seq if reports else 0)
        reports.extend(found.reports)
        return found.state == "ended" and not found.reports

    until(ended)
    return reports


def ends(reports: list[Report]) -> dict[str, Ended]:
    return {report.trial_id: report for report in reports if isinstance(report, Ended)}


def test_a_pack_is_trained_and_reported_in_order(start: Callable[..., Watched], tmp_path: Path) -> None:
    runner = start(make_trial(seed=0), make_trial(seed=1))
    reports = to_end(runner)
    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    for trial in ("t0", "t1"):
        own = [report for report in reports if report.trial_id == trial]
        assert [r.step for r in own if isinstance(r, Measured)] == [4, 8, 12]
        checkpoints = [r for r in own if isinstance(r, Checkpointed)]
        assert [r.step for r in checkpoints] == [4, 8, 12]
        assert Path(checkpoints[-1].path) == tmp_path / trial / "step-000000012"
        assert isinstance(own[-1], Ended)
        assert (own[-1].outcome, own[-1].step) == ("succeeded", 12)
    assert poll(runner, reports[-1].seq).progress == {}, "both ends are acknowledged"


def test_it_exits_once_all_reports_are_acknowledged_and_not_before(start: Callable[..., Watched]) -> None:
    runner = start(make_trial())
    until(lambda: poll(runner, 0).state == "ended")
    last = poll(runner, 0).reports[-1].seq
    assert not runner.join(1.5)
    assert poll(runner, last - 1).reports[-1].seq == last
    assert poll(runner, last).reports == []
    assert runner.join(PATIENCE)
    assert runner.exits == 1


def test_reports_are_sent_again_until_acknowledged(start: Callable[..., Watched]) -> None:
    runner = start(make_trial())
    until(lambda: poll(runner, 0).state == "ended")
    first, again = poll(runner, 0).reports, poll(runner, 0).reports
    assert first == again
    assert poll(runner, 2).reports == first[2:]
    assert poll(runner, 0).reports == first[2:]


@pytest.mark.parametrize(
    ("verb", "outcome"), [("prune", "pruned"), ("cancel", "cancelled"), ("pause", "paused"), ("move", "moved")]
)
def test_a_command_ends_its_trials_and_no_others(
    start: Callable[..., Watched], tmp_path: Path, verb: str, outcome: str
) -> None:
    specs = [make_trial(seed=0, **LONG), make_trial(seed=1, **LONG)]
    runner = start(*specs)
    until(lambda: poll(runner, 0).progress["t1"] >= 5)
    command = {"seq": 1, "verb": verb, "trial_ids": ["t0"], "reason": "rung 1"}
    assert runner.command(1, command)
    assert not runner.command(1, command)
    until(lambda: "t0" in ends(poll(runner, 0).reports))
    end = ends(poll(runner, 0).reports)["t0"]
    assert (end.outcome, end.reason, end.cause) == (outcome, "rung 1", None)
    if verb in ("pause", "move"):
        found = CheckpointFolder(tmp_path / "t0", specs[0]).newest()
        assert found is not None
        assert found.manifest.step == end.step
    step = poll(runner, 0).progress["t1"]
    until(lambda: poll(runner, 0).progress["t1"] > step + 5)
    assert list(ends(poll(runner, 0).reports)) == ["t0"]


def test_a_command_for_a_trial_that_is_over_changes_nothing(start: Callable[..., Watched]) -> None:
    runner = start(make_trial())
    until(lambda: poll(runner, 0).state == "ended")
    assert runner.command(1, {"seq": 1, "verb": "cancel", "trial_ids": ["t0", "unknown"]})
    (end,) = [r for r in poll(runner, 0).reports if isinstance(r, Ended)]
    assert end.outcome == "succeeded"


def test_a_command_acts_in_the_middle_of_a_long_interval(start: Callable[..., Watched]) -> None:
    runner = start(make_trial(steps=1_000_000, report_every=1_000_000))
    until(lambda: poll(runner, 0).state == "running")
    runner.command(1, {"seq": 1, "verb": "pause", "trial_ids": ["t0"]})
    until(lambda: poll(runner, 0).state == "ended")
    end = ends(poll(runner, 0).reports)["t0"]
    assert end.outcome == "paused"
    assert 0 < end.step < 1_000_000


def test_a_controller_that_lost_the_lead_is_refused(start: Callable[..., Watched]) -> None:
    runner = start(make_trial(**LONG))
    poll(runner, 0, term=5)
    with pytest.raises(StaleTerm, match="term 4 is over: the controller of term 5 leads now"):
        runner.poll(0, 4)
    with pytest.raises(StaleTerm):
        runner.command(1, {"seq": 1, "verb": "cancel", "trial_ids": ["t0"]})
    assert poll(runner, 0, term=6).state != "ended"


def test_an_orphan_pauses_at_a_checkpoint_and_exits(start: Callable[..., Watched], tmp_path: Path) -> None:
    specs = [make_trial(seed=s, **LONG) for s in range(2)]
    runner = start(*specs, orphan_ttl=1.0)
    assert runner.join(PATIENCE)
    assert runner.exits == 1
    found = ends(poll(runner, 0).reports)
    assert [end.outcome for end in found.values()] == ["paused", "paused"]
    for name, spec in zip(("t0", "t1"), specs, strict=True):
        newest = CheckpointFolder(tmp_path / name, spec).newest()
        assert newest is not None
        assert newest.manifest.step == found[name].step > 0


def test_a_second_runner_tells_all_again_and_goes_on(start: Callable[..., Watched], tmp_path: Path) -> None:
    spec = make_trial(steps=40, report_every=4)
    undisturbed = metrics(to_end(start(spec)))
    other = tmp_path / "other"
    first = Watched(make_assignment(other, [spec]).model_dump())
    until(lambda: bool(poll(first, 0).reports))
    first.command(1, {"seq": 1, "verb": "pause", "trial_ids": ["t0"]})
    until(lambda: poll(first, 0).state == "ended")
    second = to_end(Watched(make_assignment(other, [spec]).model_dump()))
    assert metrics(second) == undisturbed
    assert ends(second)["t0"].outcome == "succeeded"


def metrics(reports: list[Report]) -> list[tuple[str, int, dict[str, float]]]:
    """Return the metrics that are the same in every attempt: all but the times."""
    return [
        (
            r.trial_id,
            r.step,
            {k: v for k, v in r.values.items() if not k.startswith(("throughput/", "time/", "system/"))},
        )
        for r in reports
        if isinstance(r, Measured)
    ]


def test_a_finished_trial_is_reported_again_without_training(
    start: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_trial()
    wanted = to_end(start(spec))
    monkeypatch.setattr(Trainer, "_steps", None)
    again = to_end(start(spec))
    assert [r for r in again if isinstance(r, Measured)] != []
    assert metrics(again) == metrics(wanted)
    assert ends(again)["t0"].outcome == "succeeded"


def test_a_trial_at_its_target_has_succeeded_and_reports_it_again(start: Callable[..., Watched]) -> None:
    spec = make_trial(steps=40, report_every=4, target=1e6)
    for _ in range(2):
        reports = to_end(start(spec))
        end = ends(reports)["t0"]
        assert (end.outcome, end.step, end.cause) == ("succeeded", 4, None)
        assert "reached training.target 1e+06 at step 4 of 40" in str(end.reason)
        assert [r.step for r in reports if isinstance(r, Checkpointed)] == [4]


def test_a_trial_that_cannot_start_fails_and_the_others_continue(start: Callable[..., Watched], tmp_path: Path) -> None:
    to_end(start(make_trial(seed=0), make_trial(seed=1)))
    found = ends(to_end(start(make_trial(seed=7), make_trial(seed=1))))
    assert (found["t0"].outcome, found["t0"].cause) == ("failed", "user")
    assert "another trial" in str(found["t0"].reason)
    assert found["t1"].outcome == "succeeded"


def test_missing_data_fails_every_trial_and_says_where_to_put_it(
    start: Callable[..., Watched], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.tasks.mnist.MIRROR", "http://127.0.0.1:9/")
    task = {"name": "mnist", "steps": 28}
    found = ends(to_end(start(make_trial(task=task), make_trial(seed=1, task=task), data_dir=str(tmp_path))))
    assert [(end.outcome, end.cause) for end in found.values()] == [("failed", "infrastructure")] * 2
    assert "SPECTRAL_DATA_DIR" in str(found["t0"].reason)


def test_a_missing_gpu_is_an_infrastructure_failure(
    start: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    runner = start(make_trial(), gpus=1)
    until(lambda: poll(runner, 0).state == "ended")
    end = ends(poll(runner, 0).reports)["t0"]
    assert (end.outcome, end.cause) == ("failed", "infrastructure")
    assert "torch finds none" in str(end.reason)


def test_mixed_precision_without_a_gpu_is_a_user_failure(start: Callable[..., Watched]) -> None:
    spec = make_trial()
    mixed = spec.model_copy(update={"training": spec.training.model_copy(update={"dtype": "bfloat16"})})
    end = ends(to_end(start(mixed)))["t0"]
    assert (end.outcome, end.cause) == ("failed", "user")
    assert "bfloat16 needs a GPU; give resources.gpus above 0" in str(end.reason)


@pytest.mark.parametrize(
    ("error", "cause", "reason"),
    [
        (ZeroDivisionError("boom"), "user", "ZeroDivisionError: boom"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate"),
            "memory",
            "out of memory; a smaller resources.pack_size",
        ),
        (MemoryError(), "memory", "out of memory; a smaller resources.pack_size"),
        (torch.OutOfMemoryError("CUDA out of memory."), "memory", "a smaller resources.pack_size"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "memory",
            "CUBLAS",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "memory", "a smaller resources.pack_size"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "user", "illegal memory access"),
        (SystemExit(3), "user", "SystemExit: 3"),
    ],
)
def test_an_error_in_training_fails_every_live_trial(
    start: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, error: BaseException, cause: str, reason: str
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(workers.training.pack_run.PackRun, "advance", broken)
    found = ends(to_end(start(make_trial(seed=0), make_trial(seed=1))))
    assert [(end.outcome, end.cause) for end in found.values()] == [("failed", cause)] * 2
    assert all(reason in str(end.reason) for end in found.values())
    assert all("in broken" in str(end.log) and "test_train_pack.py" in str(end.log) for end in found.values())
    assert not any(str(Path(__file__).parent) in str(end.log) for end in found.values()), "no folder of the machine"


def test_trials_of_different_shapes_are_refused(start: Callable[..., Watched]) -> None:
    found = ends(to_end(start(make_trial(), make_trial(layers=2))))
    assert len(found) == 2
    assert "must share one shape key" in str(found["t0"].reason)

"""A checkpoint store that is full, read-only or failing: training goes on, and nothing is lost once it is mended."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from tests.workers.examples import make_assignment, make_trial
from tests.workers.runtime.test_train_pack import Watched, ends, metrics, poll, start, to_end
from workers.checkpoints import CheckpointFolder, read
from workers.files import write_whole
from workers.protocol import Checkpointed, Report
from workers.runtime.train_pack import cause_of
from workers.training import checkpoint_writer, pack_run

__all__ = ["start"]  # a fixture
Start = Callable[..., Watched]
SPEC = {"steps": 40, "report_every": 4, "checkpoint_every": 8}


class Store:
    """The store below ``write_whole``. While ``error`` is set, it takes nothing that is meant for ``trials``."""

    def __init__(self) -> None:
        self.error = 0
        self.trials: tuple[str, ...] = ("t0", "t1", "t2")
        self.refused = 0
        self.refuses_first = 0

    def write(self, path: Path, content: bytes) -> None:
        if path.parent.parent.name in self.trials and (self.error or self.refused < self.refuses_first):
            self.refused += 1
            raise OSError(self.error or errno.ENOSPC, os.strerror(self.error or errno.ENOSPC), str(path))
        write_whole(path, content)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    found = Store()
    monkeypatch.setattr("workers.checkpoints.write_whole", found.write)
    monkeypatch.setattr(checkpoint_writer, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(checkpoint_writer, "LONGEST_PAUSE", 0.05)
    return found


def best(reports: list[Report], trial_id: str = "t0") -> tuple[int, float | None]:
    """Return the step and the objective of the best checkpoint that was reported last."""
    found = [r for r in reports if isinstance(r, Checkpointed) and r.best and r.trial_id == trial_id]
    return found[-1].step, found[-1].objective


@pytest.mark.parametrize("refused", [1, 2, 7])
def test_a_write_that_fails_is_tried_again_and_training_goes_on(
    start: Start, store: Store, refused: int, tmp_path: Path
) -> None:
    undisturbed = to_end(start(make_trial(**SPEC)))
    shutil.rmtree(tmp_path / "t0")
    store.refuses_first = refused
    reports = to_end(start(make_trial(**SPEC)))
    assert store.refused >= refused
    assert ends(reports)["t0"].outcome == "succeeded"
    assert metrics(reports) == metrics(undisturbed)
    assert best(reports) == best(undisturbed)
    written = [report for report in reports if isinstance(report, Checkpointed)]
    assert written[-1].step == 40
    assert [report.step for report in written] == sorted({report.step for report in written})


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.ESTALE, errno.ENOTDIR])
def test_a_trial_that_has_done_all_its_steps_waits_for_the_store_and_then_succeeds(
    start: Start, store: Store, code: int
) -> None:
    store.error = code
    runner = start(make_trial(**SPEC), make_trial(1, seed=1, **SPEC))
    until(lambda: poll(runner, 0).progress == {"t0": 40, "t1": 40} and poll(runner, 0).unsaved is not None)
    seen = poll(runner, 0)
    assert seen.state == "running"
    assert seen.unsaved == os.strerror(code)
    assert not [report for report in seen.reports if isinstance(report, Checkpointed)]
    assert not ends(seen.reports), "it is neither failed nor charged"
    store.error = 0
    reports = to_end(runner)
    assert {end.outcome for end in ends(reports).values()} == {"succeeded"}
    for trial_id in ("t0", "t1"):
        kept = [r for r in reports if isinstance(r, Checkpointed) and r.trial_id == trial_id]
        assert kept[-1].step == 40
        objectives = {step: values["val/loss"] for name, step, values in metrics(reports) if name == trial_id}
        due = {step: value for step, value in objectives.items() if step % 8 == 0}
        assert best(reports, trial_id)[1] == min(due.values()), "the best checkpoint is the best of all that were due"
        assert all(read(Path(report.path), model_only=True).manifest.step == report.step for report in kept[-1:])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this process may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("change", ["size=24k", "ro,size=8m"], ids=["full", "read-only"])
def test_a_disk_that_is_full_or_read_only_is_waited_for(small_disk: Path, change: str) -> None:
    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", small_disk], check=True)

    remount(change)
    runner = Watched(make_assignment(small_disk, [make_trial(hidden_size=32, **SPEC)]).model_dump())
    until(lambda: poll(runner, 0).progress == {"t0": 40} and poll(runner, 0).unsaved is not None)
    assert poll(runner, 0).unsaved in ("No space left on device", "Read-only file system")
    assert not ends(poll(runner, 0).reports)
    remount("rw,size=8m")
    reports = to_end(runner)
    assert ends(reports)["t0"].outcome == "succeeded"
    newest = [report for report in reports if isinstance(report, Checkpointed)][-1]
    assert read(Path(newest.path)).manifest.step == newest.step == 40


def test_only_the_trial_whose_folder_fails_waits(start: Start, store: Store) -> None:
    store.error, store.trials = errno.EIO, ("t1",)
    runner = start(*(make_trial(n, seed=n, **SPEC) for n in range(3)))
    until(lambda: set(ends(poll(runner, 0).reports)) == {"t0", "t2"})
    assert poll(runner, 0).unsaved == os.strerror(errno.EIO)
    store.error = 0
    assert {name: end.outcome for name, end in ends(to_end(runner)).items()} == dict.fromkeys(
        ("t0", "t1", "t2"), "succeeded"
    )


def test_a_store_that_fails_for_too_long_ends_the_attempt_and_not_by_its_fault(
    start: Start, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_run, "FINISH_SECONDS", 0.0)
    store.error = errno.ENOSPC
    end = ends(to_end(start(make_trial(**SPEC))))["t0"]
    assert (end.outcome, end.cause, end.step) == ("failed", "storage", 40)
    assert end.reason == "its checkpoint cannot be written: No space left on device"


@pytest.mark.parametrize(("verb", "outcome", "cause"), [("pause", "failed", "storage"), ("prune", "pruned", None)])
def test_commands_are_obeyed_while_nothing_can_be_written(
    start: Start, store: Store, verb: str, outcome: str, cause: str | None
) -> None:
    store.error = errno.EROFS
    for spec in (make_trial(steps=1_000_000, report_every=4), make_trial(**SPEC)):
        runner = start(spec)
        until(lambda runner=runner: poll(runner, 0).unsaved is not None)  # type: ignore[misc]
        runner.command(1, {"seq": 1, "verb": verb, "trial_ids": ["t0"]})
        end = ends(to_end(runner))["t0"]
        assert (end.outcome, end.cause) == (outcome, cause)


def test_a_paused_trial_that_lacked_only_its_last_checkpoint_has_succeeded(start: Start, store: Store) -> None:
    store.error = errno.ENOSPC
    runner = start(make_trial(**SPEC))
    until(lambda: poll(runner, 0).progress == {"t0": 40} and poll(runner, 0).unsaved is not None)
    store.error = 0
    runner.command(1, {"seq": 1, "verb": "pause", "trial_ids": ["t0"]})
    assert ends(to_end(runner))["t0"].outcome == "succeeded"


def test_checkpoints_that_cannot_be_listed_are_the_fault_of_the_store(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr("workers.checkpoints.CheckpointFolder.newest_first", failing)
    end = ends(to_end(start(make_trial())))["t0"]
    assert (end.outcome, end.cause) == ("failed", "storage")


def test_a_folder_that_cannot_be_listed_for_a_moment_ends_no_trial(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, calls = CheckpointFolder.steps, []

    def failing_once(folder: CheckpointFolder) -> list[int]:
        calls.append(folder)
        if len(calls) == 3:  # after the trial was resumed and its first checkpoint written
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return listing(folder)

    monkeypatch.setattr(CheckpointFolder, "steps", failing_once)
    reports = to_end(start(make_trial(**SPEC)))
    assert ends(reports)["t0"].outcome == "succeeded"
    kept = [report.kept for report in reports if isinstance(report, Checkpointed)]
    assert kept[0] is None
    assert None not in kept[1:]


def test_more_reports_than_a_checkpoint_holds_are_the_fault_of_the_user(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.checkpoint_files.MANIFEST_BYTES", 5_000)
    end = ends(to_end(start(make_trial(**SPEC))))["t0"]
    assert (end.outcome, end.cause) == ("failed", "user")
    assert "raise training.report_every" in str(end.reason)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.ESTALE])
def test_what_wraps_an_error_of_a_store_is_one_too(code: int) -> None:
    def wrapped() -> BaseException:
        try:
            try:
                raise OSError(code, os.strerror(code))
            except OSError as inner:
                raise RuntimeError("cannot be loaded") from inner
        except RuntimeError as outer:
            return outer

    assert cause_of(wrapped())[0] == "storage"
    assert cause_of(FileNotFoundError(errno.ENOENT, "no such file"))[0] == "user"

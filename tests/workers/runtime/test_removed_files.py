"""Checkpoints and data that are removed, changed or put back by hand while trials run or wait."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import workers.checkpoints
from tests.workers.examples import make_assignment, make_trial
from workers.files import write_whole
from workers.protocol import Assignment, Checkpointed, Ended, Measured, Report
from workers.runtime.train_pack import train
from workers.spec.expand import plan_trial
from workers.spec.parse import parse_sweep

HEADER = "series,x,target\n"


def trained(assignment: Assignment) -> list[Report]:
    reports: list[Report] = []
    train(assignment, reports.append)
    return reports


def ends(reports: list[Report]) -> dict[str, tuple[str, str | None]]:
    return {report.trial_id: (report.outcome, report.reason) for report in reports if isinstance(report, Ended)}


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "manifest.json"])
def test_a_folder_removed_while_a_checkpoint_is_written_costs_nothing(
    level: int, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the checkpoint, of the trial, or of all trials is gone when the file is to be written."""
    removed: list[Path] = []

    def remove_once(path: Path, content: bytes) -> None:
        if path.name == file and path.parent.name == "step-000000008" and not removed:
            removed.append([path.parent, *path.parent.parents][level])
            shutil.rmtree(removed[0])
        write_whole(path, content)

    monkeypatch.setattr(workers.checkpoints, "write_whole", remove_once)
    reports = trained(make_assignment(tmp_path / "store", [make_trial()]))
    assert ends(reports) == {"t0": ("succeeded", None)}
    kept = [report for report in reports if isinstance(report, Checkpointed)]
    assert [report.step for report in kept] == [4, 8, 12]
    assert (Path(kept[1].path) / "manifest.json").is_file()
    assert removed


@pytest.mark.parametrize("kept", [[], ["step-000000004"], ["step-000000008"]])
def test_a_trial_whose_checkpoints_were_removed_gets_the_same_values_again(kept: list[str], tmp_path: Path) -> None:
    undisturbed = trained(make_assignment(tmp_path / "one", [make_trial()]))
    folder = tmp_path / "other" / "t0"
    assignment = make_assignment(tmp_path / "other", [make_trial()])
    trained(assignment)
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path)
    again = trained(assignment)
    assert ends(again) == {"t0": ("succeeded", None)}
    assert values(again) == values(undisturbed)


def values(reports: list[Report]) -> dict[int, dict[str, float]]:
    clock = ("time/", "throughput/")
    return {
        report.step: {key: value for key, value in report.values.items() if not key.startswith(clock)}
        for report in reports
        if isinstance(report, Measured)
    }


@pytest.fixture
def own(tmp_path: Path) -> tuple[Assignment, Path]:
    """The assignment of a trial on a file of the user's data, and the file."""
    data = tmp_path / "data"
    data.mkdir()
    file = data / "mine.csv"
    file.write_text(HEADER + "".join(f"{i},{i % 2 + 0.1 * t},{'ab'[i % 2]}\n" for i in range(40) for t in range(5)))
    document: dict[str, Any] = {
        "task": {"name": "own_data", "file": "mine.csv"},
        "model": {"hidden_size": 4, "reflectors": 2},
        "training": {"steps": 4, "batch_size": 4, "report_every": 2},
        "space": {"training.seed": [0]},
    }
    spec = plan_trial(parse_sweep(document, data), 0, {"training.seed": 0}).require_spec()
    return make_assignment(tmp_path / "store", [spec], data_dir=str(data)), file


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.unlink(),
        lambda file: shutil.rmtree(file.parent),
        lambda file: file.write_text(""),
        lambda file: file.write_bytes(b"\x00\xff" * 50),
        lambda file: file.write_text(HEADER + "0,1.0,a\n1,2.0,b\n"),
        lambda file: file.write_text(file.read_text().replace(",b\n", ",c\n")),
        lambda file: file.write_text(file.read_text().replace(",0.1,", ",0.2,")),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["removed", "folder removed", "empty", "other bytes", "shorter", "other labels", "other values", "a folder"],
)
def test_data_changed_under_a_waiting_trial_fails_it_with_a_reason_until_it_is_put_back(
    change: Any, own: tuple[Assignment, Path]
) -> None:
    assignment, file = own
    before = file.read_bytes()
    change(file)
    ((outcome, reason),) = ends(trained(assignment)).values()
    assert outcome == "failed"
    assert reason is not None
    assert "mine.csv" in reason
    assert "Error" not in reason, reason
    if file.is_dir():
        file.rmdir()
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(before)
    assert list(ends(trained(assignment)).values()) == [("succeeded", None)]

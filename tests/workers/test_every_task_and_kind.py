"""Every task with every kind of model: two steps of a pack with all metrics, or a refusal of the kind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from workers.errors import SpecError
from workers.spec.expand import plan_trials
from workers.spec.model import FEED_FORWARD, KINDS
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec
from workers.tasks import TASKS
from workers.training.batches import TaskData
from workers.training.trainer import Trainer
from workers.training.trainer_events import Finished, Reported
from workers.training.training_state import TrainingState

CPU = torch.device("cpu")
VARIANTS: dict[str, dict[str, Any]] = {
    "adding": {"name": "adding", "length": 4},
    "copy": {"name": "copy", "length": 2},
    "digits": {"name": "digits"},
    "images": {"name": "images", "dataset": "crosses", "steps": 3},
    "mnist": {"name": "mnist", "steps": 28},
    "ptb_char": {"name": "ptb_char", "length": 5},
    "ptb_word": {"name": "ptb_word", "length": 5},
    "text by character": {"name": "text", "file": "mine.txt", "length": 5},
    "text by word": {"name": "text", "file": "mine.txt", "length": 5, "level": "word", "vocabulary": 4},
    "ucr": {"name": "ucr", "dataset": "Waves"},
    "classes of series": {"name": "own_data", "file": "walks.csv"},
    "classes of steps": {
        "name": "own_data", "file": "rooms.csv", "inputs": ["warm"], "targets": ["mood"], "every_step": True},
    "numbers of series": {"name": "own_data", "file": "loads.csv", "kind": "regression"},
    "numbers of steps": {
        "name": "own_data", "file": "rooms.csv", "inputs": ["mood"], "targets": ["warm", "damp"],
        "kind": "regression", "every_step": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory with small files for every task but MNIST. Series of the tables differ in length."""
    folder = tmp_path_factory.mktemp("data")
    steps = [(s, step) for s in range(16) for step in range(2 + s % 3)]
    walks = [f"{s},{step * (-1) ** s},{'up' if s % 2 == 0 else 'down'}" for s, step in steps]
    (folder / "walks.csv").write_text("\n".join(["series,x,target", *walks]))
    rooms = [f"{s},{step},{s + step},{s - step},{(s + step) % 2}" for s, step in steps]
    (folder / "rooms.csv").write_text("\n".join(["series,step,warm,damp,mood", *rooms]))
    loads = [f"{s / 16},{s / 2},{s - 1.5},{s % 5 if s % 2 else ''}" for s in range(16)]
    (folder / "loads.csv").write_text("\n".join(["target,t0,t1,t2", *loads]))
    (folder / "mine.txt").write_text("one two three\n" * 40)
    (folder / "ptb").mkdir()
    for part in ("train", "valid", "test"):
        (folder / "ptb" / f"ptb.{part}.txt").write_text(" the cat sat <unk> N\n" * 20)
        (folder / "ptb" / f"ptb.char.{part}.txt").write_text(" t h e _ c a t\n" * 20)
    (folder / "crosses").mkdir()
    for part in ("train", "t10k"):
        images = bytes(n * 20 + pixel for n in range(12) for pixel in range(12))
        header = bytes([0, 0, 8, 3, *(0, 0, 0, 12), *(0, 0, 0, 3), *(0, 0, 0, 4)])
        (folder / "crosses" / f"{part}-images-idx3-ubyte").write_bytes(header + images)
        labels = bytes([0, 0, 8, 1, *(0, 0, 0, 12), *(n % 2 for n in range(12))])
        (folder / "crosses" / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    (folder / "ucr").mkdir()
    for part in ("TRAIN", "TEST"):
        rows = [f"{s % 2}\t" + "\t".join(str(math.sin(s + t)) for t in range(6)) for s in range(12)]
        (folder / "ucr" / f"Waves_{part}.tsv").write_text("\n".join(rows))
    return folder


def test_every_task_has_a_variant() -> None:
    assert {document["name"] for document in VARIANTS.values()} == set(TASKS)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_two_steps_of_every_task_and_kind(variant: str, kind: str, files: Path, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("data_dir") if variant.startswith("mnist") else files
    training = {"steps": 2, "batch_size": 3, "report_every": 1, "diagnose_every": 1}
    document = {"task": VARIANTS[variant], "model": {"kind": kind, "hidden_size": 4, "layers": 2}, "training": training}
    sweep = parsed(document | {"space": {"training.seed": [0, 1]}}, folder)
    if isinstance(sweep, SpecError):
        task = TASKS[VARIANTS[variant]["name"]].model_validate(VARIANTS[variant])
        assert [error.field for error in sweep.errors] == ["model.kind"]
        assert kind in FEED_FORWARD
        assert task.readout == "every" or task.carried
        return
    trials = [plan.require_spec() for plan in plan_trials(sweep)]
    data = TaskData(sweep.task, folder, CPU, torch.float32)
    trainer = Trainer([TrainingState.start(trial) for trial in trials], data, CPU)
    events = [*trainer.advance(), *trainer.advance()]
    reports = [event for event in events if isinstance(event, Reported)]
    assert [report.step for report in reports] == [1, 1, 2, 2]
    assert sum(isinstance(event, Finished) for event in events) == 2
    for report in reports:
        assert {f"val/{metric}" for metric in sweep.task.metrics} <= report.values.keys()
        assert all(math.isfinite(value) for value in report.values.values()), report.values


def parsed(document: dict[str, Any], folder: Path) -> SweepSpec | SpecError:
    try:
        return parse_sweep(document, folder)
    except SpecError as refused:
        return refused

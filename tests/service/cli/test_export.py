"""``spectral export``: a trial's network for programs without this project, by the service or from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from service.cli.main import main
from service.store.database import Database
from service.store.tables import Sweep, Trial, TrialCheckpoint
from workers.checkpoints import CheckpointFolder
from workers.models import load
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec
from workers.training.training_state import TrainingState


@pytest.fixture
def checkpoint(database: Database, running: tuple[Sweep, list[Trial]], tmp_path: Path) -> tuple[str, Path]:
    """A trial and the folder of its best checkpoint."""
    sweep, trials = running
    spec = plan_trial(SweepSpec.model_validate(sweep.spec), trials[1].number, trials[1].params).require_spec()
    folder = TrainingState.start(spec).save(CheckpointFolder(tmp_path / "trial", spec))
    with database.write() as session:
        session.add(TrialCheckpoint(trial_id=trials[1].id, step=0, path=str(folder), best=True, objective=0.5))
    return trials[1].id, folder


def exported(*arguments: str) -> int:
    try:
        main(["export", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("by", ["trial", "folder"])
def test_a_network_is_written_for_torch_alone(
    by: str, base_url: str, checkpoint: tuple[str, Path], tmp_path: Path
) -> None:
    trial_id, folder = checkpoint
    out = tmp_path / "net.pt"
    assert exported(trial_id if by == "trial" else str(folder), "--out", str(out), "--url", base_url) == 0
    found: dict[str, Any] = torch.load(out, weights_only=True)
    config = found["config"]
    net = nn.ModuleDict({"recurrent": getattr(nn, config["recurrent"])(**config["arguments"])})
    net["head"] = nn.Linear(config["arguments"]["hidden_size"], config["outputs"])
    net.load_state_dict(found["weights"])
    inputs = torch.randn(2, 5, config["arguments"]["input_size"])
    with torch.inference_mode():
        torch.testing.assert_close(net["head"](net["recurrent"](inputs)[0][:, -1]), load(folder)(inputs))


@pytest.mark.parametrize("format", ["safetensors", "onnx"])
@pytest.mark.filterwarnings("ignore")
def test_the_other_formats(format: str, checkpoint: tuple[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "net"
    assert exported(str(checkpoint[1]), "--format", format, "--out", str(out)) == 0
    assert out.stat().st_size > 500


def test_what_cannot_be_exported_is_said_in_words(
    base_url: str, checkpoint: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint[1] / "model.safetensors").write_bytes(b"nothing")
    assert exported(str(checkpoint[1]), "--out", str(tmp_path / "net.pt")) == 2
    assert "model.safetensors has 7 bytes" in capsys.readouterr().err
    assert exported(checkpoint[0], "--out", str(tmp_path / "net.pt"), "--url", base_url) == 2
    assert "is not a file of safetensors" in capsys.readouterr().err
    assert exported(f"{checkpoint[0]}9", "--out", str(tmp_path / "net.pt"), "--url", base_url) == 4
    assert "Not found" in capsys.readouterr().err
    assert not (tmp_path / "net.pt").exists()

"""The page says all that was recorded, how to repeat it, and what is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from study import __main__ as program
from study import estimate, page, plots
from study.documents import SweepDocument
from study.experiments import EXPERIMENTS
from study.records import PointRecord, Record, Records
from study.trials import trials_of
from tests.study.examples import documents, history, record
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep
from workers.training.batches import TaskData
from workers.training.trainer import Trainer
from workers.training.training_state import TrainingState


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "DPI", 30)


def write(folder: Path, found: dict[str, Record]) -> str:
    experiments = list(EXPERIMENTS.values())
    page.write(folder / "results.md", folder / "images", experiments, found, "cpu")
    return (folder / "results.md").read_text()


def all_records(size: str) -> dict[str, Record]:
    return {document.stem: record(document) for document in documents(*EXPERIMENTS, size=size)}


def test_the_page_of_every_sweep(tmp_path: Path) -> None:
    found = all_records("cpu")
    text = write(tmp_path, found)
    for name, experiment in EXPERIMENTS.items():
        assert f"## {experiment.title}\n" in text
        assert f'    make paper ARGS="--only {name} --again"\n' in text
        for figure in experiment.published:
            assert f"| {figure.figure} | {figure.source} |" in text
    assert "Not run yet" not in text
    for stem in found:
        assert f"| {stem} | succeeded |" in text
    for image in re.findall(r"\]\((images/\S+\.png)\)", text):
        assert (tmp_path / image).read_bytes().startswith(b"\x89PNG")
    assert text.count("](images/") == len(EXPERIMENTS) + 2  # the phase diagram has three
    assert "torch: 2.11.0" in text


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "phase"])
def test_a_section_of_the_full_size(name: str) -> None:
    own = [page.CompletedSweep(found, trials_of(found)) for found in map(record, documents(name, size="full"))]
    parts, bounds = page.section(EXPERIMENTS[name], own, "full", "--size full")
    assert parts[-1] == f'    make paper ARGS="--size full --only {name} --again"'
    assert bounds
    assert all(bound.met is not None for bound in bounds)


def test_what_falls_short_and_what_did_not_run_are_said(tmp_path: Path) -> None:
    text = write(tmp_path, {stem: own for stem, own in all_records("cpu").items() if stem.startswith("mlp")})
    assert text.count("Not run yet.") == len(EXPERIMENTS) - 1
    assert "**Falls short.**" in text
    assert "**not met**" in text


def test_a_trial_that_diverged_before_its_first_report_is_shown(tmp_path: Path) -> None:
    names = [name for name in EXPERIMENTS if name != "phase"]
    found = {document.stem: record(document, lambda spec: None) for document in documents(*names)}
    text = write(tmp_path, found)
    assert "diverged" in text
    assert "nan" not in text.replace("train/loss was nan", "")


def test_a_real_history_has_what_the_page_reads(tmp_path: Path) -> None:
    (document,) = [found for found in documents("gradients") if found.stem == "gradients"]
    content = document.content | {
        "task": {"name": "copy", "length": 5},
        "model": document.content["model"] | {"hidden_size": 8, "reflectors": 4},
        "training": document.content["training"] | {"steps": 4, "report_every": 2, "diagnose_every": 2},
    }
    content["training"].pop("checkpoint_every", None)
    sweep = parse_sweep(content)
    states = [TrainingState.start(plan.require_spec()) for plan in plan_trials(sweep)]
    trainer = Trainer(states, TaskData(sweep.task, None, torch.device("cpu"), torch.float32), torch.device("cpu"))
    while trainer.live:
        trainer.advance()
    made = record(SweepDocument("gradients", content))
    real = [
        trial.model_copy(
            update={"points": [PointRecord(step=p.step, values=dict(p.values)) for p in states[i].history]}
        )
        for i, trial in enumerate(made.trials)
    ]
    found = made.model_copy(update={"trials": real})
    written = {key for point in real[0].points for key in point.values}
    assert written >= {key for _, values in history(trials_of(found)[0].spec) for key in values}
    assert estimate.expected(sweep, found) == pytest.approx(estimate.core_seconds(found, trials_of(found)), rel=0.5)
    assert "share in [0.1, 10]" in write(tmp_path, {"gradients": found})


def test_the_estimate_grows_with_the_steps() -> None:
    (document,) = [found for found in documents("copy-500") if found.stem == "copy-500"]
    training = document.content["training"] | {"steps": 800, "report_every": 200}
    document = SweepDocument("copy-500", document.content | {"training": training})
    found = record(document)
    sweep = parse_sweep(document.content)
    once = estimate.expected(sweep, found)
    assert once == pytest.approx(estimate.core_seconds(found, trials_of(found)), rel=0.2)
    longer = sweep.model_copy(update={"training": sweep.training.model_copy(update={"steps": 8000})})
    assert estimate.expected(longer, found) == pytest.approx(10 * (once or 0.0), rel=0.2)
    assert estimate.total({"a": sweep, "b": sweep}, {"a": found}) == (once, ["b"])


def test_rendering_needs_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path / "study")
    for document in documents("mlp"):
        records.save(record(document))
    monkeypatch.setattr(sys, "argv", ["study", "--render", "--out", str(records.folder)])
    assert program.main() == 0
    assert "Nets of 100 and 200 layers" in (records.folder / "results.md").read_text()


def test_an_unknown_experiment_is_refused_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["study", "--only", "copy", "--out", str(tmp_path)])
    assert program.main() == 2
    assert "copy-500" in capsys.readouterr().out


def test_what_is_recorded_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path)
    for document in documents("mlp"):
        records.save(record(document))

    def started(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a stack was started")

    monkeypatch.setattr(program, "Stack", started)
    monkeypatch.setattr(sys, "argv", ["study", "--only", "mlp", "--out", str(tmp_path)])
    assert program.main() == 0


def test_again_loses_no_record_where_the_data_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(tmp_path / "out")
    for document in documents("mlp"):
        records.save(record(document))
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SPECTRAL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("pooch.retrieve", _no_network)
    monkeypatch.setattr(sys, "argv", ["study", "--only", "mlp", "--again", "--out", str(records.folder)])
    assert program.main() == 2
    assert all(records.has(document) for document in documents("mlp"))


def _no_network(*_arguments: object, **_options: object) -> None:
    raise OSError("no network")


def test_records_of_other_documents_are_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = Records(tmp_path)
    (kept,) = [document for document in documents("mnist") if document.stem == "mnist-784"]
    records.save(record(kept))
    for document in documents("mlp"):
        records.save(record(SweepDocument(document.stem, document.content | {"retries": {"user": 1}})))
    monkeypatch.setattr(sys, "argv", ["study", "--render", "--out", str(tmp_path)])
    assert program.main() == 0
    text = (tmp_path / "results.md").read_text()
    assert "| mnist-784 | succeeded |" in text
    assert "| mlp-plain | succeeded |" not in text
    assert "mlp-plain" in capsys.readouterr().out


def test_a_record_of_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (document,) = [document for document in documents("mnist") if document.stem == "mnist-784"]
    Records(tmp_path).save(record(document).model_copy(update={"spec": {"a": 1}}))
    monkeypatch.setattr(sys, "argv", ["study", "--render", "--out", str(tmp_path)])
    assert program.main() == 2

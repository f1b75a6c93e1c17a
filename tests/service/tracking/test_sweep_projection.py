"""Sweeps in MLflow: their plots, their runs, and writing them again after MLflow has lost them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import service.tracking.projector
from service.controller import sweep_lifecycle
from service.report import figures
from service.settings import ControllerSettings
from service.states import SWEEP_ENDED, TRIAL_ENDED
from service.store import checkpoints, components, leases, outbox, projections, reports, sweeps, trials
from service.store.database import Database
from service.store.tables import OutboxEntry, Sweep, Trial, TrialCheckpoint
from service.tracking import logged_models, plain_models, report_artifacts, results_projection, sweep_results
from service.tracking.mlflow_health import Probe
from service.tracking.mlflow_runs import STATUS, Runs
from service.tracking.model_registry import registry_name
from service.tracking.projector import Projector
from service.tracking.sweep_projection import SweepProjection
from workers.checkpoints import CheckpointFolder
from workers.spec.expand import plan_trial
from workers.spec.sweep import SweepSpec
from workers.training.training_state import TrainingState

# of MLflow's own database and of what it leaves to the garbage collector
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def ended(database: Database, new_sweep: Callable[..., Sweep]) -> Callable[..., Sweep]:
    """Return a function that makes a sweep whose trials have ended, each with a better result than the one before."""

    def run(**changes: Any) -> Sweep:
        sweep = new_sweep(**changes)
        with database.write() as session:
            sweep_lifecycle.expand(session, sweep.id, SweepSpec.model_validate(sweep.spec))
        with database.write() as session:
            for trial in trials.page(session, sweep.id):
                trials.move(session, trial, "running")
                points = [(step, {"val/loss": 1.0 / (step + trial.number)}) for step in (10, 20)]
                reports.add(session, trial.id, points, at=1000.0)
                row = TrialCheckpoint(trial_id=trial.id, step=20, path="/c", best=True, objective=0.1)
                checkpoints.add(session, row)
                trial.objective, trial.best_step, trial.step = 1.0 / (20 + trial.number), 20, 20
                trials.move(session, trial, "succeeded")
            sweep_lifecycle.settle(session, sweep.id)
        return sweep

    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make figures without drawing them. That each can be drawn is tested in ``tests/service/report``."""
    monkeypatch.setattr(report_artifacts, "svg_of", lambda _: "<svg></svg>")
    monkeypatch.setattr(report_artifacts, "file_of", lambda *_: PNG)


ALWAYS = {"results", "learning_curves", "best_so_far", "parallel_coordinates"}
"""The figures of every sweep that has a result."""
OTHERS = {"report/report.html", "report/trials.csv", "report/report.json"}
SPACES = {
    "both": {"model.reflectors": {"values": [2, 4]}, "model.margin": {"values": [0.01, 0.1]}},
    "apart": {"model.reflectors_u": {"values": [2, 4]}, "model.margin": {"values": [0.01, 0.1]}},
    "one number": {"training.lr": {"low": 0.001, "high": 0.1, "log": True, "grid": 3}},
    "names": {"model.activation": {"values": ["relu", "tanh"]}},
    "one trial": {"model.margin": {"values": [0.1]}},
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_kind_of_sweep_has_its_plots(database: Database, ended: Any, space: dict[str, Any]) -> None:
    sweep = ended(space=space)
    _, files = results_projection.read_and_plot(database, sweep.id)
    names = {name for name in files if name.endswith(".png")}
    assert names == {f"plots/{name}.png" for name in ALWAYS}
    assert all(files[name].startswith(PNG) for name in names)
    assert files.keys() - names == OTHERS | {f"plots/{name}.svg" for name in ALWAYS}
    assert files["report/report.html"].startswith(b"<!doctype html>")
    assert files["report/trials.csv"].startswith(b"rank,trial,")
    assert json.loads(files["report/report.json"])["sweep"] == sweep.id


def test_a_sweep_without_results_has_a_page_and_a_table_and_a_figure_that_fails_stops_nothing(
    database: Database, new_sweep: Callable[..., Sweep], ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, files = results_projection.read_and_plot(database, new_sweep().id)
    assert files.keys() == OTHERS

    def slip(*_: Any) -> None:
        raise ValueError("a mistake in one figure")

    sweep = ended()
    monkeypatch.setitem(figures.OF_SWEEP, "best_so_far", slip)
    _, files = results_projection.read_and_plot(database, sweep.id)
    assert files.keys() >= {"plots/results.png", "report/trials.csv", "report/report.json"}
    assert "plots/best_so_far.png" not in files


LOOK = {f"grad_t/{i:02d}": 10.0**-i for i in range(16)} | {f"spectral_hist/{i}": 0.1 for i in range(10)}
LOOK |= {"spectral/min": 0.99, "spectral/max": 1.01}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("look", "names"),
    [
        (LOOK, {"gradients.png", "spectrum.png"}),
        ({name: 0.0 for name in LOOK if name.startswith("grad_t")}, set()),
        ({"spectral/min": 1.0, "spectral/max": 1.0}, {"spectrum.png"}),
        ({"grad_t/00": 1.0, "grad_t/01": 0.0}, {"gradients.png"}),
        ({}, set()),
    ],
)
def test_the_best_trial_shows_what_it_looked_like_inside(
    database: Database, ended: Any, look: dict[str, float], names: set[str]
) -> None:
    sweep = ended()
    with database.write() as session:
        reports.add(session, f"{sweep.id}-0003", [(30, {"val/loss": 0.1} | look), (40, look)], at=1000.0)
    found, files = results_projection.read_and_plot(database, sweep.id)
    assert [step for step, _ in found.best_reports] == [10, 20, 30, 40]
    drawn = {name for name in files if name in ("plots/gradients.png", "plots/spectrum.png")}
    assert drawn == {f"plots/{name}" for name in names}
    assert all(files[name].startswith(PNG) for name in drawn)


def test_the_leaderboard_is_in_order(database: Database, ended: Any) -> None:
    sweep = ended()
    with database.read() as session:
        board = sweep_results.leaderboard(sweep_results.read(session, sweep.id))
    assert [row["trial"] for row in board["trials"]] == [3, 2, 1, 0]
    assert board["trials"][0]["params"] == {"model.reflectors": 4, "model.margin": 0.1}


def test_what_has_no_result_is_last_on_the_leaderboard_in_no_plot_and_never_the_best(
    database: Database, ended: Any
) -> None:
    sweep = ended()
    states = {0: "pruned", 1: "succeeded", 2: "cancelled", 3: "failed"}
    with database.write() as session:
        for number, state in states.items():
            session.get_one(Trial, f"{sweep.id}-{number:04d}").state = state
    with database.read() as session:
        found = sweep_results.read(session, sweep.id)
        best = trials.best(session, sweep.id, "minimize")
    assert [row["trial"] for row in sweep_results.leaderboard(found)["trials"]] == [1, 0, 2, 3]
    assert [result.trial.number for result, _ in found.scored] == [1, 0]
    assert found.best is not None
    assert best is not None
    assert found.best.trial.number == best.number == 1
    _, files = results_projection.read_and_plot(database, sweep.id)
    assert files["plots/results.png"].startswith(PNG)


def test_refilling_puts_everything_back_with_the_same_times(database: Database, ended: Any) -> None:
    sweep = ended()
    with database.write() as session:
        projections.put(session, sweep.id, "1", "run")
        projections.put(session, f"{sweep.id}-0000", "1", "other")
        outbox.refill(session, sweep.id)
    with database.write() as session:
        outbox.refill(session, sweep.id)  # again: the same, not twice
        assert projections.of_sweep(session, sweep.id) == {}
        entries = list(session.scalars(select(OutboxEntry).order_by(OutboxEntry.id)))
    kinds = [(entry.trial_id is None, entry.kind) for entry in entries]
    own = [(False, "trial"), (False, "metrics"), (False, "metrics"), (False, "checkpoint"), (False, "ended")]
    assert kinds == [(True, "sweep"), *own * 4, (True, "ended")]
    assert {entry.payload["at"] for entry in entries if entry.kind == "metrics"} == {1000.0}


def test_every_end_has_a_status_in_mlflow() -> None:
    assert STATUS.keys() == SWEEP_ENDED | TRIAL_ENDED


@pytest.mark.parametrize(
    ("name", "expected"), [("a/b:c", "a-b-c"), ("it's", "it-s"), ("  ", "sweep"), ("plain", "plain")]
)
def test_registry_names_hold_nothing_the_registry_refuses(name: str, expected: str) -> None:
    assert registry_name(name) == expected


def test_the_projections_of_another_sweep_are_kept(database: Database, ended: Any) -> None:
    one, two = ended(), ended()
    with database.write() as session:
        for sweep in (one, two):
            projections.put(session, sweep.id, "1", f"run of {sweep.id}")
        projections.drop(session, one.id)
        assert projections.of_sweep(session, one.id) == {}
        assert projections.of_sweep(session, two.id).keys() == {two.id}
        assert sweeps.get(session, one.id).state == "succeeded"


@pytest.fixture
def projector(
    database: Database, url: str, mlflow_url: str, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Projector]:
    """Return a function that makes a projector into an MLflow database, without an MLflow server."""
    monkeypatch.setattr(Probe, "check", lambda _: None)
    monkeypatch.setattr(plain_models, "of_best", lambda *_: {})  # a process that imports torch takes seconds
    with database.write() as session:
        term = leases.acquire(session, "test", 600)
    assert term is not None
    return lambda: Projector(database, ControllerSettings(database_url=url, mlflow_url=mlflow_url), term)


def runs_of(runs: Runs, sweep_id: str) -> dict[str, str]:
    found = runs.of_sweep(runs.experiments.ours(), sweep_id)
    return {subject: run.run_id for subject, (run,) in found.items()}


def waits(database: Database) -> list[str]:
    with database.read() as session:
        return [entry.sweep_id for entry in outbox.oldest(session, 1000)]


def test_a_sweep_with_an_invalid_spec_or_invalid_trials_is_written_as_far_as_possible(
    database: Database, new_sweep: Callable[..., Sweep], ended: Any, projector: Callable[[], Projector], mlflow_url: str
) -> None:
    broken, mixed, sound = new_sweep(), new_sweep(), ended()
    values = {"model.reflectors": {"values": [2, 8]}, "model.hidden_size": {"values": [4, 64]}}
    with database.write() as session:
        row = session.get_one(Sweep, broken.id)
        row.spec = row.spec | {"model": {"kind": "abacus"}}
        row = session.get_one(Sweep, mixed.id)
        row.spec = row.spec | {"space": values, "search": {"sampler": "random", "trials": 8, "seed": 0}}
        row.trial_count = 8
    with database.write() as session:
        sweep_lifecycle.expand(session, mixed.id, SweepSpec.model_validate(row.spec))
        for trial in trials.page(session, mixed.id):
            trials.move(session, trial, "failed", "its parameters do not go together")
        sweep_lifecycle.settle(session, mixed.id)
    projector().drain()
    assert waits(database) == []
    runs = Runs(mlflow_url)
    assert len(runs_of(runs, sound.id)) == 5
    written = runs_of(runs, mixed.id)
    assert len(written) == 9
    params = {
        runs.client.get_run(written[f"{mixed.id}-{number:04d}"]).data.params["model.reflectors"] for number in range(8)
    }
    assert params == {"2", "8"}
    sizes = [runs.client.get_run(run).data.params for own, run in runs_of(runs, sound.id).items() if own != sound.id]
    assert all(int(own["parameters.total"]) > int(own["parameters.recurrent"]) > 0 for own in sizes)
    experiment = runs.experiments.named("spectral/adding")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_sweep_that_cannot_be_written_has_its_reason_in_words(
    database: Database,
    new_sweep: Callable[..., Sweep],
    projector: Callable[[], Projector],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slip(*_: Any) -> None:
        raise ValueError("in words that nobody has read")

    sweep = new_sweep()
    monkeypatch.setattr(SweepProjection, "project", slip)
    projector().drain()
    with database.read() as session:
        row = components.get(session, "mlflow")
    assert row is not None
    assert not row.healthy
    reason = "an unexpected error (ValueError); the controller's log says where; it is tried again"
    assert row.detail["not_taken"] == {sweep.id: reason}
    assert row.message == f"answers; sweep {sweep.id} cannot be written: {reason}"


@pytest.fixture
def checkpointed(database: Database, ended: Any, tmp_path: Path) -> Sweep:
    """Return an ended sweep of two trials that have checkpoints on disk."""
    sweep: Sweep = ended(space={"model.margin": {"values": [0.01, 0.1]}})
    spec = SweepSpec.model_validate(sweep.spec)
    with database.write() as session:
        for trial in trials.page(session, sweep.id):
            whole = plan_trial(spec, trial.number, trial.params).require_spec()
            path = TrainingState.start(whole).save(CheckpointFolder(tmp_path / trial.id, whole))
            for row in session.scalars(select(TrialCheckpoint).where(TrialCheckpoint.trial_id == trial.id)):
                row.path = str(path)
        outbox.refill(session, sweep.id)
    return sweep


def test_trials_that_mlflow_has_taken_are_not_written_again_after_an_error(
    database: Database,
    checkpointed: Sweep,
    projector: Callable[[], Projector],
    monkeypatch: pytest.MonkeyPatch,
    mlflow_url: str,
) -> None:
    second = f"{checkpointed.id}-0001"
    logged, log_model = [], logged_models.log_model

    def slip(client: Any, run: Any, *rest: Any, **named: Any) -> str:
        logged.append(run.data.tags["spectral.trial_id"])
        if logged.count(second) == 1 and logged[-1] == second:
            raise ConnectionError("MLflow went away")
        return log_model(client, run, *rest, **named)

    monkeypatch.setattr(logged_models, "log_model", slip)
    projecting = projector()
    projecting.drain()
    with database.read() as session:
        left = {entry.trial_id for entry in outbox.oldest(session, 1000)}
    assert left == {None, second}
    projecting._rejected.retry_now()
    projecting.drain()
    assert waits(database) == []
    assert sorted(logged) == [f"{checkpointed.id}-0000", second, second]
    runs = Runs(mlflow_url)
    own = runs_of(runs, checkpointed.id)
    assert {runs.get(run).info.status for run in own.values()} == {"FINISHED"}
    kept = runs.get(own[second])
    assert kept.data.tags["spectral.state"] == "succeeded"
    assert kept.data.metrics["val/loss"] == 1.0 / 21
    assert {found.path for found in runs.client.list_artifacts(own[second], "checkpoints")} == {
        "checkpoints/best",
        "checkpoints/last",
    }
    plots_ = {found.path for found in runs.client.list_artifacts(own[checkpointed.id], "plots")}
    assert plots_ == {f"plots/{name}.{kind}" for name in ALWAYS for kind in ("png", "svg")}
    versions = runs.client.search_model_versions(f"name = '{registry_name(checkpointed.name)}'")
    assert [version.run_id for version in versions] == [own[f"{checkpointed.id}-0001"]]


def test_mlflow_is_not_probed_with_every_look_into_an_empty_outbox(
    database: Database, ended: Any, projector: Callable[[], Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended()
    asked: list[int] = []
    monkeypatch.setattr(Probe, "check", lambda _: asked.append(1))
    monkeypatch.setattr(service.tracking.projector, "NOTE_SECONDS", 1e9)
    projecting = projector()
    projecting._reached_at = -2e9
    projecting.drain()
    projecting.drain()
    assert (waits(database), len(asked)) == ([], 1)
    ended()
    projecting.drain()
    assert (waits(database), len(asked)) == ([], 2)


def test_a_wake_ends_the_pause(
    database: Database, ended: Any, projector: Callable[[], Projector], monkeypatch: pytest.MonkeyPatch
) -> None:
    drained = threading.Semaphore(0)

    def drain(_: Projector) -> bool:
        drained.release()
        return False

    monkeypatch.setattr(Projector, "drain", drain)
    monkeypatch.setattr(service.tracking.projector, "PAUSE_SECONDS", 3600.0)
    projecting = projector()
    projecting.start()
    try:
        assert drained.acquire(timeout=30)
        projecting.wake()
        assert drained.acquire(timeout=30)
    finally:
        projecting.stop()

"""The report of a sweep over HTTP: its further parts, its figures and its files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import optuna
import pytest

from service.api.admission import REPORTS
from service.api.report import PARTS
from service.report.figure_names import FIGURE_NAMES
from service.store import reports, sweeps, trials
from service.store.database import Database
from service.store.tables import Attempt, Pack, Sweep, Trial
from tests.service.api.test_errors import problem
from workers.protocol import divergence

NewSweep = Callable[..., Sweep]
HOSTILE = "</title><script>alert(1)</script> $\\frac"


@pytest.fixture
def ended(database: Database, new_sweep: NewSweep) -> Sweep:
    """An ended sweep of 3 x 3 trials with two objectives, of which one failed and one is off the scale."""
    space = {"model.reflectors": {"values": [2, 4, 8]}, "model.margin": {"values": [0.01, 0.1, 0.2]}}
    sweep = new_sweep(name=HOSTILE, space=space, further_objectives=[{"metric": "parameters"}, {"metric": "seconds"}])
    points = [{"model.reflectors": m, "model.margin": r} for m in (2, 4, 8) for r in (0.01, 0.1, 0.2)]
    with database.write() as session:
        made = trials.create(session, sweep, 0, points)
        pack = Pack(id=f"{sweep.id}-p0", sweep_id=sweep.id, state="ended", trial_ids=[], cpus=2, gpus=0, term=1)
        session.add(pack)
        session.flush()
        for trial in made:
            row = trials.get(session, trial.id)
            trials.move(session, row, "running")
            row.started_at = 1000.0 + trial.number
            attempt = Attempt(trial_id=row.id, number=1, pack_id=pack.id, started_at=1000.0, ended_at=4600.0)
            session.add(attempt)
            if trial.number == 8:
                reason = divergence("train/loss", float("nan"), 5, "a lower training.lr may help")
                trials.move(session, row, "failed", reason)
                continue
            value = 1e30 if trial.number == 7 else 1.0 / (trial.number + 1)
            row.step, row.objective, row.best_step = 20, value, 20
            look: dict[str, Any] = {f"grad_t/{i:02d}": 10.0**-i for i in range(16)}
            look |= {f"spectral_hist/{i}": 0.1 for i in range(10)} | {"spectral/min": 0.99, "spectral/max": 1.01}
            last = look | {"val/loss": value, "time/wall_s": 3.0}
            found = [(10, {"val/loss": 2 * value, "time/wall_s": 1.0}), (20, last)]
            reports.add(session, row.id, found, at=1.0)
            trials.move(session, row, "succeeded")
            row.ended_at = 2800.0 + trial.number
        pack.ended_at = 4600.0
        sweeps.move(session, sweep.id, "running")
        return sweeps.move(session, sweep.id, "succeeded")


def test_the_parts_of_a_report_are_there_if_they_are_asked_for(api: httpx.Client, ended: Sweep) -> None:
    path = f"/v1/sweeps/{ended.id}/report"
    plain = api.get(path).json()
    assert [plain[part] for part in PARTS] == [None] * len(PARTS)
    assert plain["objectives"] == [
        {"metric": "val/loss", "direction": "minimize"},
        {"metric": "parameters", "direction": "minimize"},
        {"metric": "seconds", "direction": "minimize"},
    ]
    grid = plain["grid"]
    assert grid["cells"][0][0] == {"count": 1, "best": 1.0, "mean": 1.0}
    assert grid["cells"][2][2] is None
    assert grid["details"][2][2]["state"] == "not_finite"
    assert grid["details"][2][1]["off_scale"] is True
    assert grid["scale"]["above"] == 1
    full = api.get(path, params={"include": list(PARTS)}).json()
    assert {name: full[name] for name in plain if name not in PARTS} == {n: plain[n] for n in plain if n not in PARTS}
    assert all(full[part] is not None for part in PARTS)
    assert [curve["number"] for curve in full["learning_curves"]["best"]] == [6, 5, 4, 3, 2, 1]
    assert full["learning_curves"]["best"][0]["points"] == [[10, 2 / 7], [20, 1 / 7]]
    assert full["best_so_far"]["device"] == "CPU"
    assert full["best_so_far"]["device_hours"] == 2.0
    assert full["best_so_far"]["points"][0]["device_hours"] == pytest.approx(1.0)
    assert {trial["values"][2] for trial in full["pareto"]["front"]} == {3.0}
    assert full["diagnostics"]["number"] == 6
    assert full["diagnostics"]["singular_values"]["ends"] == [[20, 0.99, 1.01]]
    other = api.get(path, params={"include": "diagnostics", "trial": 2}).json()
    assert (other["diagnostics"]["trial_id"], other["importance"]) == (f"{ended.id}-0002", None)


def test_wrong_parts_and_trials_are_refused_by_name(api: httpx.Client, ended: Sweep) -> None:
    path = f"/v1/sweeps/{ended.id}/report"
    assert "importance" in problem(api.get(path, params={"include": "all"}), 422)["errors"][0]["allowed"]
    problem(api.get(path, params={"include": "diagnostics", "trial": 99}), 404)
    problem(api.get(path, params={"trial": -1}), 422)
    problem(api.get(f"/v1/sweeps/{ended.id}/figures/nothing.png"), 422)
    problem(api.get(f"/v1/sweeps/{ended.id}/figures/results.exe"), 422)
    assert "leave trial out" in problem(api.get(f"/v1/sweeps/{ended.id}/figures/results.png?trial=1"), 422)["detail"]
    problem(api.get(f"/v1/sweeps/{ended.id}/figures/spectrum.png?trial=77"), 404)
    problem(api.get(f"/v1/sweeps/{ended.id}/trials.csv?full=1"), 422)
    problem(api.get("/v1/sweeps/sw0123456789/report.html"), 404)
    problem(api.get("/v1/sweeps/sw0123456789/optuna.db"), 404)


@pytest.mark.parametrize("figure", FIGURE_NAMES)
def test_every_figure_is_a_picture_of_both_kinds(api: httpx.Client, ended: Sweep, figure: str) -> None:
    png = api.get(f"/v1/sweeps/{ended.id}/figures/{figure}.png")
    assert png.status_code == 200, png.text
    assert png.content.startswith(b"\x89PNG")
    assert png.headers["content-type"] == "image/png"
    svg = api.get(f"/v1/sweeps/{ended.id}/figures/{figure}.svg")
    assert svg.headers["content-type"] == "image/svg+xml"
    assert svg.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert b"<script" not in svg.content
    assert f'filename="{ended.id}-{figure}.svg"' in svg.headers["content-disposition"]


def test_a_figure_of_another_trial_and_a_figure_without_anything(api: httpx.Client, ended: Sweep) -> None:
    path = f"/v1/sweeps/{ended.id}/figures/spectrum.svg"
    assert api.get(path, params={"trial": 2}).content != api.get(path).content
    nothing = problem(api.get(path, params={"trial": 8}), 404)
    assert (nothing["title"], nothing["detail"]) == ("Nothing to show", "Trial 8 has reported no singular values.")


def test_the_page_is_one_file_with_a_policy(api: httpx.Client, ended: Sweep) -> None:
    answer = api.get(f"/v1/sweeps/{ended.id}/report.html")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe-inline" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert "&lt;/title&gt;&lt;script&gt;" in answer.text
    assert answer.text.count("<svg") == 8


def test_the_csv_has_all_trials(api: httpx.Client, ended: Sweep) -> None:
    answer = api.get(f"/v1/sweeps/{ended.id}/trials.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="{ended.id}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [int(row["trial"]) for row in rows] == [6, 5, 4, 3, 2, 1, 0, 7, 8]
    assert (rows[0]["model.reflectors"], rows[0]["seconds"], rows[-1]["rank"]) == ("8", "3.0", "")
    assert int(rows[0]["parameters"]) > int(rows[6]["parameters"])


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::ResourceWarning")
def test_the_study_opens_in_optuna(api: httpx.Client, ended: Sweep, tmp_path: Path) -> None:
    answer = api.get(f"/v1/sweeps/{ended.id}/optuna.db")
    assert answer.headers["content-type"] == "application/vnd.sqlite3"
    path = tmp_path / "study.db"
    path.write_bytes(answer.content)
    study = optuna.load_study(study_name=f"{HOSTILE} ({ended.id})", storage=f"sqlite:///{path}")
    assert len(study.trials) == 9
    assert study.best_trials[0].user_attrs["trial_id"].startswith(ended.id)
    assert [direction.name for direction in study.directions] == ["MINIMIZE"] * 3


def test_a_study_has_the_values_between_and_leaves_no_file(
    api: httpx.Client, database: Database, running: tuple[Sweep, list[Trial]], tmp_path: Path, monkeypatch: Any
) -> None:
    sweep, made = running
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with database.write() as session:
        reports.add(session, made[0].id, [(10, {"val/loss": 0.5}), (20, {"other": 1.0}), (30, {"val/loss": 0.25})], 1.0)
    content = api.get(f"/v1/sweeps/{sweep.id}/optuna.db").content
    assert list(folder.iterdir()) == []
    path = tmp_path / "study.db"
    path.write_bytes(content)
    (name,) = optuna.get_all_study_names(f"sqlite:///{path}")
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{path}")
    assert study.trials[0].intermediate_values == {10: 0.5, 30: 0.25}
    assert [trial.state.name for trial in study.trials] == ["WAITING"] * 4


def test_a_sweep_without_trials_has_a_report(api: httpx.Client, new_sweep: NewSweep) -> None:
    sweep = new_sweep()
    found = api.get(f"/v1/sweeps/{sweep.id}/report", params={"include": list(PARTS)}).json()
    assert found["importance"]["fields"] == []
    assert found["best_so_far"]["points"] == []
    assert (found["pareto"], found["diagnostics"], found["grid"]) == (None, None, None)
    assert api.get(f"/v1/sweeps/{sweep.id}/report.html").status_code == 200
    assert api.get(f"/v1/sweeps/{sweep.id}/trials.csv").text.count("\n") == 1
    assert api.get(f"/v1/sweeps/{sweep.id}/optuna.db").status_code == 200
    problem(api.get(f"/v1/sweeps/{sweep.id}/figures/results.png"), 404)


def test_a_document_that_cannot_be_read_any_more_has_a_report(
    api: httpx.Client, database: Database, ended: Sweep
) -> None:
    with database.write() as session:
        row = sweeps.get_locked(session, ended.id)
        row.spec = row.spec | {"task": {"name": "abacus"}}
    found = api.get(f"/v1/sweeps/{ended.id}/report", params={"include": list(PARTS)}).json()
    assert found["objectives"] == [{"metric": "val/loss", "direction": "minimize"}]
    assert len(found["places"]) == 8
    for file in ("report.html", "trials.csv", "optuna.db", "figures/results.png", "figures/spectrum.svg"):
        assert api.get(f"/v1/sweeps/{ended.id}/{file}").status_code == 200, file


def test_reports_have_a_row_of_their_own() -> None:
    for name in ("report.html", "trials.csv", "optuna.db", "figures/results.png"):
        assert REPORTS.fullmatch(f"/v1/sweeps/sw0123456789/{name}"), name
    for path in ("/v1/sweeps/sw0123456789", "/v1/sweeps/sw0123456789/report", "/v1/trials/sw0123456789-0000/metrics"):
        assert not REPORTS.fullmatch(path), path

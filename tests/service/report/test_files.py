"""The report as HTML, the trials as CSV, and the sweep as a study of Optuna."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.report.html_page import MAX_ROWS, html_of
from service.report.optuna_storage import MAX_VALUES, points_per_trial, write_optuna_study
from service.report.record import SweepRecord
from service.report.trial_table import csv_of
from tests.service.report.sweeps import (
    HOSTILE,
    SWEEPS,
    analysis_of,
    curve_of,
    record_of,
    row_of,
    spec_of,
    wide_sweep,
)


class Page(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@cache
def text_of(name: str) -> str:
    """Return the page of one of the synthetic sweeps, which takes seconds to make."""
    return "".join(html_of(analysis_of(SWEEPS[name]()), ["<b>few</b> & small"]))


def page_of(record: SweepRecord) -> Page:
    return Page("".join(html_of(analysis_of(record))))


@pytest.mark.parametrize("name", SWEEPS)
def test_the_page_runs_nothing_and_loads_nothing(name: str) -> None:
    page = Page(text_of(name))
    assert not page.tags.keys() & {"script", "link", "iframe", "object", "embed", "form", "base", "audio", "video"}
    loading = [value for _, attribute, value in page.attributes if attribute in ("src", "href", "xlink:href", "srcset")]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in loading)
    assert not any(attribute.startswith("on") for _, attribute, _ in page.attributes)
    styles = [value for _, attribute, value in page.attributes if attribute == "style"]
    assert not any(re.search(r"url\((?!#)|@import|expression", style) for style in styles)
    policies = [value for _, attribute, value in page.attributes if value.startswith("default-src")]
    assert policies[0].startswith("default-src 'none'")
    ids = Counter(value for _, attribute, value in page.attributes if attribute == "id")
    assert [id for id, count in ids.items() if count > 1] == []


def test_references_inside_of_the_page_have_their_targets() -> None:
    text = text_of("grid")
    page = Page(text)
    ids = {value for _, attribute, value in page.attributes if attribute == "id"}
    used = {value[1:] for _, name, value in page.attributes if name == "xlink:href" and value.startswith("#")}
    used |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert used
    assert used <= ids


def test_hostile_names_and_warnings_are_text() -> None:
    page = Page(text_of("hostile"))
    assert HOSTILE in page.text
    assert "<b>few</b> & small" in page.text
    assert page.tags["b"] == page.tags["img"] == 0
    rows = [row_of(0, {"training.optimizer": HOSTILE}, 0.5, reason=HOSTILE)]
    assert page_of(record_of(rows, spec_of(space={"training.optimizer": ["adam"]}))).tags["img"] == 0


def test_the_page_follows_the_screen_and_has_a_row_for_each_trial() -> None:
    text = text_of("grid")
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert Page(text).tags["tr"] == 28


def test_the_page_of_many_trials_is_bounded_and_says_what_it_leaves_out() -> None:
    record = wide_sweep(MAX_ROWS + 500, further=("parameters",))
    text = "".join(html_of(analysis_of(record)))
    assert len(text) < 8_000_000
    page = Page(text)
    assert page.tags["tr"] == MAX_ROWS + 1
    assert f"The first {MAX_ROWS:,} of {MAX_ROWS + 500:,}" in page.text


def rows_of(record: SweepRecord) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(csv_of(record)), newline="")))


def test_the_table_has_every_trial_and_every_field() -> None:
    record = wide_sweep(1_203, further=("parameters", "seconds"))
    rows = rows_of(record)
    assert len(rows) == 1_203
    assert [int(row["trial"]) for row in rows] == [row.number for row in record.ranked]
    first, best = rows[0], record.best
    assert best is not None
    assert (first["rank"], float(first["val/loss"])) == ("1", best.value)
    assert {path: first[path] for path in best.params} == {path: str(value) for path, value in best.params.items()}
    assert int(first["parameters"]) > 0
    assert float(first["seconds"]) == best.at_best["time/wall_s"]
    assert rows[-1]["rank"] == rows[-1]["val/loss"] == ""


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_cell_is_a_formula_and_text_stays_readable(value: str, reason: str) -> None:
    record = record_of([row_of(0, {"training.optimizer": value}, -0.5, reason=reason)])
    text = "".join(csv_of(record))
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    for cell, given_text in ((row["training.optimizer"], value), (row["reason"], reason)):
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
        assert cell.removeprefix("'") == given_text.replace("\0", "").removeprefix("'")
    assert row["val/loss"] == "-0.5"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =cmd|' /C calc'!A0"])
def test_formulas_get_an_apostrophe(text: str) -> None:
    (row,) = rows_of(record_of([row_of(0, {"training.optimizer": text}, 0.5)]))
    assert row["training.optimizer"].startswith("'")


def study_of(record: SweepRecord, folder: Path) -> optuna.Study:
    path = folder / "study.db"
    name = write_optuna_study(record, ((row.number, curve_of(row)) for row in record.rows), path)
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::ResourceWarning")
class TestOptunaStudy:
    def test_optuna_opens_it_and_finds_our_best_trial(self, tmp_path: Path) -> None:
        record = wide_sweep(60)
        study = study_of(record, tmp_path)
        best = record.best
        assert best is not None
        assert study.best_trial.user_attrs["trial_id"] == best.trial_id
        assert study.best_value == best.value
        assert study.best_params == best.params
        assert study.study_name == "kinds (sw0123456789)"
        assert study.metric_names == ["val/loss"]
        assert [direction.name for direction in study.directions] == ["MINIMIZE"]

    def test_every_trial_has_its_state_values_and_attributes(self, tmp_path: Path) -> None:
        record = wide_sweep(60)
        trials = study_of(record, tmp_path).trials
        assert len(trials) == 60
        for row, trial in zip(record.rows, trials, strict=True):
            assert trial.params == row.params
            assert trial.number == row.number
            expected = {"failed": "FAIL", "running": "RUNNING"}.get(row.state, "COMPLETE")
            assert trial.state.name == expected
            assert trial.values == ([row.objective] if expected == "COMPLETE" else None)
            assert trial.user_attrs["links"]["self"] == f"/v1/trials/{row.trial_id}"
            assert trial.user_attrs["seed"] == 0
            assert trial.user_attrs.get("reason") == row.reason
            assert trial.intermediate_values == dict(curve_of(row))
            assert trial.datetime_start is not None
            assert (trial.datetime_complete is None) == (row.state == "running")
            for path, distribution in trial.distributions.items():
                assert distribution._contains(distribution.to_internal_repr(row.params[path]))
        duration = trials[1].duration
        assert duration is not None
        assert duration.total_seconds() == pytest.approx(60)

    def test_optuna_can_go_on_with_it(self, tmp_path: Path) -> None:
        study = study_of(wide_sweep(30), tmp_path)
        study.sampler = optuna.samplers.RandomSampler(seed=0)
        trial = study.ask()
        trial.suggest_float("training.lr", 0.0001, 0.01, log=True)
        study.tell(trial, -1.0)
        assert study.best_trial.number == 30

    def test_several_objectives_are_several_directions(self, tmp_path: Path) -> None:
        record = wide_sweep(60, further=("parameters", "seconds"))
        study = study_of(record, tmp_path)
        front = analysis_of(record).pareto
        assert front is not None
        assert len(study.directions) == 3
        assert {trial.user_attrs["trial_id"] for trial in study.best_trials} == {one.trial_id for one in front.front}

    @pytest.mark.parametrize("name", SWEEPS)
    def test_every_kind_of_sweep_is_a_study(self, name: str, tmp_path: Path) -> None:
        record = SWEEPS[name]()
        assert len(study_of(record, tmp_path).trials) == len(record.rows)

    def test_a_trial_without_a_result_that_was_pruned_is_pruned(self, tmp_path: Path) -> None:
        rows = [row_of(0, {}, None, "pruned"), row_of(1, {}, None, "cancelled"), row_of(2, {}, None, "waiting")]
        states = [trial.state.name for trial in study_of(record_of(rows), tmp_path).trials]
        assert states == ["PRUNED", "FAIL", "WAITING"]

    def test_values_of_other_kinds_and_outside_of_the_document_are_kept(self, tmp_path: Path) -> None:
        space: dict[str, Any] = {
            "model.reflectors": {"low": 2, "high": 9, "step": 2},
            "training.lr": {"low": 0.001, "high": 0.1, "log": True},
            "model.activation": ["relu", "tanh"],
        }
        rows = [
            row_of(0, {"model.reflectors": 4, "training.lr": 0.5, "model.activation": "tanh", "model.b": True}, 0.1),
            row_of(1, {"model.reflectors": 8, "training.lr": 0.01, "model.activation": "relu", "model.b": False}, 0.2),
        ]
        trials = study_of(
            record_of(rows, spec_of(space=space, search={"sampler": "random", "trials": 2})), tmp_path
        ).trials
        assert [trial.params for trial in trials] == [dict(row.params) for row in rows]

    def test_a_study_of_20_000_trials_is_bounded(self, tmp_path: Path) -> None:
        record = wide_sweep(20_000)
        path = tmp_path / "study.db"
        most = points_per_trial(20_000)
        long = [(step, 0.5) for step in range(100)]
        write_optuna_study(record, ((row.number, long) for row in record.rows), path)
        connection = sqlite3.connect(path)
        trials, values = (
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("trials", "trial_intermediate_values")
        )
        connection.close()
        assert trials == 20_000
        assert 0 < values <= 20_000 * most <= MAX_VALUES
        with pytest.raises(ValueError, match="at most 20,000"):
            write_optuna_study(record_of([*record.rows, row_of(20_000, {}, 0.5)]), [], tmp_path / "more.db")


def test_a_report_of_repeats_begins_with_the_best_point() -> None:
    rows = [row_of(n, {"model.margin": 0.01 * (1 + n // 2)}, value) for n, value in enumerate((0.1, 0.9, 0.3, 0.4))]
    spec = spec_of(space={"model.margin": [0.01, 0.02]}, repeats=2)

    def begin() -> str:
        """Return the page up to its first figure."""
        return "".join(takewhile(lambda part: "<h2>" not in part, html_of(analysis_of(record_of(rows, spec)))))

    text = begin()
    assert "Best: point 1</strong>, val/loss = 0.35, the mean of 2 trials" in text
    assert "Its best trial: trial 2</strong>, val/loss = 0.3 at step 100" in text
    rows[2] = row_of(2, rows[2].params, None, "failed")
    assert "Best: point 0</strong>, val/loss = 0.5" in begin()

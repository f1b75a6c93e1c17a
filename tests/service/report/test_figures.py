"""Every figure of every kind of sweep: it is drawn, says what it shows, and no extreme squashes an axis."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.report import figures
from service.report.drawing import NothingToDraw, file_of
from service.report.figure_names import FIGURE_NAMES, QUESTIONS, FigureName
from tests.service.report.sweeps import (
    HOSTILE,
    SWEEPS,
    analysis_of,
    grid_sweep,
    record_of,
    reports_of,
    row_of,
    spec_of,
    wide_sweep,
)

PNG = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}"


def texts(figure: Figure) -> str:
    """Return all text of a figure's SVG file, which a browser would show."""
    root = ET.fromstring(file_of(figure, "svg"))
    return "\n".join("".join(node.itertext()) for node in root.iter(f"{SVG}text"))


def drawn(name: FigureName, record: Any) -> Figure:
    return figures.draw(name, analysis_of(record))


def plots(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_a_figure_is_drawn_or_says_why_not(name: FigureName, sweep: str) -> None:
    try:
        figure = drawn(name, SWEEPS[sweep]())
    except NothingToDraw:
        assert sweep in ("one trial", "one field", "all failed", "no trials") or name == "pareto"
        return
    assert file_of(figure, "png").startswith(PNG)
    assert len(texts(figure)) > 20
    for axes in plots(figure):
        low, high = axes.get_ylim()
        assert max(abs(low), abs(high)) < 1e6, "an extreme stretches the axis"
        assert name == "parallel_coordinates" or axes.get_xlabel()


def test_every_figure_has_its_question() -> None:
    assert tuple(QUESTIONS) == FIGURE_NAMES
    assert set(figures.OF_SWEEP) | set(figures.OF_TRIAL) == set(FIGURE_NAMES)


def test_the_table_says_what_its_cells_lack_and_marks_what_is_off_the_scale() -> None:
    shown = texts(drawn("results", grid_sweep(trouble=True)))
    for text in (
        "NaN",
        "failed",
        "no trial",
        "open",
        "1e+30 ▲",
        "1 failed",
        "off the scale: 1 above",
        "7 trials failed",
    ):
        assert text in shown, text
    assert "± 0.0011 (3)" in shown
    assert "val/loss (squared error)" in shown


def test_a_sweep_without_any_result_has_a_table_of_reasons() -> None:
    assert texts(drawn("results", SWEEPS["all failed"]())).count("NaN") == 2


def test_figures_say_how_much_is_off_the_scale() -> None:
    record = wide_sweep(60)
    huge = sum(row.objective is not None and row.objective > 1e29 for row in record.rows)
    assert huge > 0
    assert f"{huge} objective" in texts(drawn("parallel_coordinates", record))
    shown = texts(drawn("best_so_far", grid_sweep(trouble=True)))
    assert "off the scale: 3 above" in shown
    assert "7 ended without a result" in shown
    assert "CPU-hours of the sweep (h)" in shown


def test_names_are_shown_as_they_are() -> None:
    record = grid_sweep(name=HOSTILE)
    for name in FIGURE_NAMES:
        if name != "pareto":
            figure = drawn(name, record)
            assert HOSTILE[:29] in texts(figure), name
            assert b"<img" not in file_of(figure, "svg")
            assert b"<script" not in file_of(figure, "svg")


def test_formulas_and_missing_characters_in_values_and_paths_do_no_harm() -> None:
    space = {"training.optimizer": ["adam", "sgd"]}
    hostile = ["$\\frac{", "日本 ☃ \U0001f600", "a" * 500, "</text><script>alert(1)</script>"]
    rows = [row_of(i, {"training.optimizer": hostile[i % 4]}, 0.1 * i) for i in range(12)]
    record = record_of(rows, spec_of(space=space))
    for name in ("results", "learning_curves", "parallel_coordinates", "importance", "spectrum"):
        figure = drawn(name, record)  # type: ignore[arg-type]  # the names are those of figures
        assert file_of(figure, "png").startswith(PNG)
        assert b"<script" not in file_of(figure, "svg")


def test_the_same_sweep_gives_the_same_files() -> None:
    for kind in ("png", "svg"):
        first, again = (file_of(drawn("best_so_far", grid_sweep()), kind) for _ in range(2))  # type: ignore[arg-type]
        assert first == again


def test_a_figure_of_one_trial_shows_the_one_that_is_asked_for() -> None:
    record = grid_sweep()
    other = record.rows[0]
    assert record.best is not None
    assert f"#{record.best.number}:" in texts(drawn("spectrum", record))
    assert "#0:" in texts(figures.draw("spectrum", analysis_of(record), other))


def test_gradients_that_are_all_zero_are_nothing_to_draw() -> None:
    record = grid_sweep()
    zero = [(step, dict.fromkeys(values, 0.0)) for step, values in reports_of(record.rows[0])]
    analysis = analysis_of(record)
    analysis._read_reports = lambda row: zero
    with pytest.raises(NothingToDraw, match="no gradient norms"):
        figures.draw("gradients", analysis)
    analysis._read_reports = lambda row: [(1, {"grad_t/00": 1e-280, "grad_t/01": 5e-324})]
    del analysis.best_diagnostics
    assert file_of(figures.draw("gradients", analysis), "png").startswith(PNG)


def test_figures_of_many_trials_have_bounded_files() -> None:
    record = wide_sweep(2_000, further=("parameters",))
    for name in FIGURE_NAMES:
        assert len(file_of(drawn(name, record), "svg")) < 2_000_000, name

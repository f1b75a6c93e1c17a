"""Which reports of a trial get images, and what these show."""

from __future__ import annotations

from io import BytesIO

import pytest

from service.store.tables import TrialReport
from service.tracking.trial_images import IMAGE_SECONDS, IMAGES, _gradients, looks
from tests.workers.examples import sweep_document
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep


def reports_of(times: dict[int, float]) -> list[TrialReport]:
    return [TrialReport(trial_id="t", step=step, at=at, values={}) for step, at in times.items()]


def test_a_long_training_has_images_of_the_first_report_of_each_part() -> None:
    reports = reports_of({step: 1000.0 * step for step in range(1, 81)})
    assert [report.step for report in looks(reports, 80)] == [1, 10, 20, 30, 40, 50, 60, 70, 80]
    assert len(looks(reports[:-1], 80)) == IMAGES


def test_reports_that_come_soon_after_one_with_images_have_none() -> None:
    reports = reports_of({step: 500.0 + 0.3 * IMAGE_SECONDS * step for step in range(1, 9)})
    assert [report.step for report in looks(reports, 8)] == [1, 5]
    assert [report.step for report in looks(reports, 800)] == [1]


def test_a_later_report_changes_nothing_about_earlier_ones() -> None:
    reports = reports_of({step: 900.0 + 7.0 * step for step in range(1, 40)})
    every = looks(reports, 40)
    for count in range(len(reports)):
        assert looks(reports[:count], 40) == [report for report in every if report.step <= count]


def test_a_clock_that_was_set_back_stops_no_images() -> None:
    reports = reports_of({1: 5000.0, 2: 100.0, 3: 105.0, 4: 130.0})
    assert [report.step for report in looks(reports, 4)] == [1, 2, 4]


@pytest.mark.parametrize(
    "norms",
    [
        [0.1234 + 4e-7 * i for i in range(11)],
        [1.0, 3.0, 10.0, 50.0, 99.0],
        [0.2, 0.9],
        [1e-5, 1e-5, 1e-5],
        [1e-12, 1e-3, 10.0],
        [0.0, 1.0, 2.0],
        [3e-17, 1e-16],
    ],
    ids=str,
)
def test_an_axis_of_gradient_norms_has_labels_that_differ(norms: list[float]) -> None:
    trial = plan_trials(parse_sweep(sweep_document()))[0].require_spec()
    figure = _gradients(norms, 10, trial)
    figure.savefig(BytesIO(), format="png")
    axis = figure.axes[0].yaxis
    low, high = sorted(axis.get_view_interval())
    shown = [label.get_text() for label in axis.get_ticklabels() if low <= label.get_position()[1] <= high]
    assert len(shown) >= 2
    assert len(set(shown)) == len(shown)

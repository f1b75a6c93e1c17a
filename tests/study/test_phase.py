"""The sentences on the hypotheses of the phase diagram follow from its points."""

from __future__ import annotations

from itertools import product

import pytest

from study.experiments import EXPERIMENTS, hypotheses
from study.experiments.phase_points import PhasePoint, points_of
from tests.study.examples import Values, history, trials
from workers.spec.trial import TrialSpec

PRODUCTS = (0.1, 1.0, 3.0, 10.0, 30.0)
FILLINGS = (0.125, 0.5, 1.0, 2.0)


def grid(task: str, activation: str = "modrelu") -> list[PhasePoint]:
    return [
        PhasePoint(task, length, r_t / length, filling, activation, "identity", seed, False)
        for length, r_t, filling, seed in product((40, 160), PRODUCTS, FILLINGS, range(4))
    ]


def test_an_edge_in_r_t_is_found_and_collapses() -> None:
    points = [p._replace(success=p.r_t <= 1 or (p.r_t == 3 and p.seed < 2)) for p in grid("copy")]
    found = " ".join(hypotheses.edge(points))
    assert "inside 1 to 10" in found
    assert "r T orders the outcomes better than r alone, as a collapse" in found


def test_an_edge_in_r_alone_does_not_collapse() -> None:
    points = [p._replace(success=p.margin <= 0.05 and p.seed > 0) for p in grid("copy")]
    found = " ".join(hypotheses.edge(points))
    assert "r alone orders the outcomes better than r T" in found


def test_an_edge_far_away_is_said_to_be_outside() -> None:
    points = [p._replace(success=p.r_t <= 10 or p.seed == 0) for p in grid("copy")]
    assert "outside 1 to 10" in hypotheses.edge(points)[0]


def test_no_edge_is_made_up_beyond_what_was_measured() -> None:
    points = [p._replace(success=p.r_t < 30 or p.seed > 0) for p in grid("copy")]
    (said,) = hypotheses.edge(points)
    assert "not supported: at r T = 30, the largest here, 12 of 16 trials" in said
    assert "at T = 160 still succeed" in said


def test_an_edge_that_may_be_either_is_not_said_to_be_inside() -> None:
    points = [p._replace(success=p.r_t <= 3 or (p.r_t == 10 and p.seed < 2)) for p in grid("copy")]
    assert "across an end of 1 to 10" in hypotheses.edge(points)[0]


def test_a_length_that_never_trains_is_no_edge() -> None:
    points = [p._replace(success=p.length == 40) for p in grid("copy")]
    assert "cannot be tested" in hypotheses.edge(points)[0]


@pytest.mark.parametrize("share", [False, True])
def test_no_edge_without_successes_or_failures(share: bool) -> None:
    points = [p._replace(success=share) for p in grid("copy")]
    assert "cannot be tested" in hypotheses.edge(points)[0]


def test_success_that_grows_with_r_t_is_no_edge() -> None:
    points = [p._replace(success=p.r_t >= 3 or p.seed > 0) for p in grid("copy")]
    assert "not supported" in hypotheses.edge(points)[0]


def test_reflectors_that_matter_as_claimed() -> None:
    adding = [p._replace(success=p.filling <= 0.5) for p in grid("adding", "leaky_relu")]
    copying = [p._replace(success=p.filling >= 1) for p in grid("copy")]
    few, full = hypotheses.reflectors([*adding, *copying])
    assert "supported: on adding" in few
    assert "16 of 16" not in few.split(">=")[1]
    assert "supported: on copy" in full


def test_reflectors_that_matter_the_other_way_and_not_at_all() -> None:
    adding = [p._replace(success=p.filling >= 1) for p in grid("adding", "leaky_relu")]
    copying = [p._replace(success=p.seed == 0) for p in grid("copy")]
    few, full = hypotheses.reflectors([*adding, *copying])
    assert "contradicted: on adding" in few
    assert "undecided: on copy" in full


def test_more_is_better_is_not_few_are_not_enough() -> None:
    copying = [p._replace(success=p.filling >= 1 or p.seed < 2) for p in grid("copy")]
    assert "supported in part" in hypotheses.reflectors(copying)[1]


def test_the_advice_names_what_succeeds_with_the_fewest_reflectors() -> None:
    points = [p._replace(success=p.filling >= 0.5) for p in grid("copy")]
    (sentence,) = hypotheses.advice(points)
    assert "modrelu from start identity and (m1 + m2) / n = 0.5" in sentence
    assert "no setting succeeded" in hypotheses.advice(grid("copy"))[0]


def made(spec: TrialSpec) -> list[tuple[int, Values]] | None:
    """Trains below r T = 5, diverges above 20."""
    product_ = spec.model.band_margin * spec.task.sequence_length
    return None if product_ > 20 else history(spec, better=0.1 if product_ < 5 else 0.9)


def test_trials_become_points() -> None:
    found = trials("phase", made=made)
    points = points_of(found)
    assert len(points) == len(found) >= 300
    assert {p.success for p in points if p.r_t <= 3} == {True}
    assert {p.success for p in points if p.r_t >= 10} == {False}
    assert {p.start for p in points} == {"identity", "gaussian", "henaff", "cayley"}


def test_the_figures_have_every_cell() -> None:
    found = trials("phase", made=made)
    figures = EXPERIMENTS["phase"].plots(found)
    assert list(figures) == ["phase-adding", "phase-copy", "phase-edge"]
    panels = [axes for name in ("phase-adding", "phase-copy") for axes in figures[name].axes if axes.get_title()]
    assert len(panels) == 2 * 4 * 4
    written = sum(int(text.get_text().split("/")[1]) for axes in panels for text in axes.texts)
    assert written == len(found)
    assert len(figures["phase-edge"].axes) == 4

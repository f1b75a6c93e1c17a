"""Schedules follow from their seeds, and the table counts what they found."""

from __future__ import annotations

from tests.faults import moments
from tests.faults.faults import FAULTS, PAIRED
from tests.faults.harness import Verdict
from tests.faults.oracle import Violation
from tests.faults.schedule import draw
from tests.faults.summary import as_text, rows


def test_a_seed_gives_the_same_schedule_and_the_same_random_numbers_each_time() -> None:
    for seed in range(50):
        assert draw(seed) == draw(seed)
        assert draw(seed).chance.random() == draw(seed).chance.random()
    assert len({draw(seed) for seed in range(50)}) == 50


def test_seeds_in_a_row_go_through_all_faults_verbs_and_moments() -> None:
    drawn = [draw(seed) for seed in range(20 * len(FAULTS))]
    assert {schedule.faults[0] for schedule in drawn} == set(FAULTS)
    assert {schedule.verb for schedule in drawn} == {None, "pause", "stop", "cancel"}
    assert {schedule.moment for schedule in drawn} == {*moments.MOMENTS, moments.BEFORE, moments.UNANSWERED}
    assert {schedule.faults[1] for schedule in drawn if len(schedule.faults) > 1} == set(PAIRED)


def test_the_only_fault_that_is_asked_for_is_drawn_alone() -> None:
    assert {draw(seed, ("kill api",)).faults for seed in range(20)} == {("kill api",)}


def test_what_a_pair_may_do_is_what_both_together_may_do() -> None:
    schedule = next(s for s in map(draw, range(500)) if s.faults == ("kill runner", "kill controller"))
    assert schedule.allowed(accepted=False).charges == 1
    assert not schedule.allowed(accepted=False).spares_runners


def test_the_table_has_a_row_for_each_fault_and_one_for_all() -> None:
    good = Verdict(draw(0, ("kill api",)), "sqlite", (), 2.0, False, 20.0)
    bad = Verdict(draw(1, ("kill api",)), "sqlite", (Violation("lost", "a report"),), None, False, 20.0)
    other = Verdict(draw(2, ("kill ray",)), "sqlite", (), 5.0, False, 20.0)
    missed = Verdict(draw(3, ("kill ray",)), "sqlite", (), None, True, 20.0)
    table = rows([good, bad, other, missed])
    assert [(row["fault"], row["injections"], row["lost"], row["recovery median s"]) for row in table] == [
        ("kill api", 2, 1, 2.0),
        ("kill ray", 1, 0, 5.0),
        ("all", 3, 1, 3.5),
    ]
    assert as_text(table).splitlines()[2].startswith("| kill api | 2 ")

"""Every report of a runner is stored once, however often it is repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from service.controller import sweep_lifecycle
from service.controller.ingest import ingest
from service.store import checkpoints, outbox, pack_lines, packs, trials
from service.store.database import Database
from service.store.tables import Attempt, Event, OutboxEntry, Pack, Sweep, Trial, TrialCheckpoint, TrialReport
from workers.protocol import Checkpointed, Ended, Measured, OutputLine, Poll, Report
from workers.spec.expand import objective
from workers.spec.sweep import SweepSpec


@pytest.fixture
def store(database: Database, term: int) -> Callable[[Pack, SweepSpec, list[Report]], bool]:
    def run(pack: Pack, spec: SweepSpec, reports: list[Report], lines: list[OutputLine] | None = None) -> bool:
        poll = Poll(state="running", reports=reports, progress={}, lines=lines or [])
        with database.write(term) as session:
            return ingest(session, session.get_one(Pack, pack.id), poll, objective(spec), spec.retries)

    return run


def metrics(seq: int, trial: str, step: int, loss: float) -> Measured:
    return Measured(seq=seq, trial_id=trial, step=step, values={"val/loss": loss})


def counts(database: Database) -> list[Any]:
    with database.read() as session:
        tables = (TrialReport, TrialCheckpoint, Event, OutboxEntry)
        return [session.scalar(select(func.count()).select_from(table)) for table in tables]


def test_a_poll_that_comes_twice_is_stored_once(database: Database, expanded: Any, launched: Any, store: Any) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0, 1)
    one, two = pack.trial_ids
    reported: list[Report] = [
        metrics(1, one, 10, 0.5),
        metrics(2, two, 10, 0.7),
        Checkpointed(seq=3, trial_id=one, step=10, path="/c/10", best=True, objective=0.5),
    ]
    assert store(pack, spec, reported)
    after = counts(database)
    assert not store(pack, spec, reported)
    assert counts(database) == after
    with database.read() as session:
        assert session.get_one(Pack, pack.id).last_seq == 3
        assert session.get_one(Pack, pack.id).state == "started"


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_a_poll_of_several_trials_is_told_in_the_order_in_which_it_happened_to_each(
    backend: str, database: Database, expanded: Any, launched: Any, store: Any
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0, 1)
    one, two = pack.trial_ids
    assert store(pack, spec, [metrics(1, one, 10, 0.9), metrics(2, two, 10, 0.9)])
    best = {"path": "/c/20", "best": True, "objective": 0.5, "step": 20}
    repeated: list[Report] = [metrics(3, one, 10, 9.0), metrics(4, one, 20, 0.5), metrics(5, two, 20, 0.6)]
    repeated += [Checkpointed(seq=6, trial_id=one, **best), Checkpointed(seq=7, trial_id=two, **best)]
    ends = (Ended(seq=11 + n, trial_id=own, step=30, outcome="succeeded") for n, own in enumerate((two, one)))
    assert store(pack, spec, [*repeated, metrics(10, one, 30, 0.7), *ends])
    with database.read() as session:
        told = list(session.scalars(select(Event).where(Event.sweep_id == sweep.id).order_by(Event.seq)))
        assert [event.seq for event in told] == list(range(1, len(told) + 1)), "no number is left out"
        for own, steps in ((one, [10, 20, 30]), (two, [10, 20])):
            kinds = [event.kind for event in told if event.trial_id == own]
            ending = ["trial.metrics"] * (len(steps) - 1) + ["trial.checkpointed", "trial.succeeded"]
            assert kinds[-len(ending) :] == ending
            entries = session.scalars(select(OutboxEntry).where(OutboxEntry.trial_id == own).order_by(OutboxEntry.id))
            wanted = ["metrics"] * len(steps) + ["checkpoint", "ended"]
            assert [entry.kind for entry in entries][-len(wanted) :] == wanted
            rows = session.scalars(select(TrialReport).where(TrialReport.trial_id == own).order_by(TrialReport.step))
            assert [row.step for row in rows] == steps
            assert session.get_one(TrialReport, (own, 10)).values == {"val/loss": 0.9}, "the first metrics stay"
            trial = trials.get(session, own)
            assert (trial.step, trial.objective, trial.best_step) == (steps[-1], 0.5, 20)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_what_a_runner_has_removed_is_known(
    backend: str, database: Database, expanded: Any, launched: Any, store: Any
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0, 1)
    one, two = pack.trial_ids

    def written(seq: int, trial: str, step: int, kept: list[int] | None) -> Checkpointed:
        own = {"path": f"/c/{step}", "best": step == 10, "objective": 0.5}
        return Checkpointed(seq=seq, trial_id=trial, step=step, size=100 + step, kept=kept, **own)

    store(pack, spec, [written(1, one, 10, [10]), written(2, two, 10, [10]), written(3, one, 20, [10, 20])])
    store(pack, spec, [written(4, one, 30, [10, 20, 30]), written(5, one, 40, [10, 30, 40])])
    with database.read() as session:
        found = checkpoints.there(session, [one, two])
        assert {trial: [row.step for row in rows] for trial, rows in found.items()} == {one: [10, 30, 40], two: [10]}
        assert checkpoints.bytes_of_sweeps(session, [sweep.id]) == {sweep.id: 110 + 130 + 140 + 110}
    # one of an earlier release does not say what it has kept, and one that was written again is there again
    store(pack, spec, [written(6, one, 20, None)])
    with database.read() as session:
        assert [row.step for row in checkpoints.there(session, [one])[one]] == [10, 20, 30, 40]


def test_a_step_that_a_later_attempt_repeats_keeps_its_first_metrics(
    database: Database, expanded: Any, launched: Any, store: Any
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    (trial,) = pack.trial_ids
    store(pack, spec, [metrics(1, trial, 10, 0.5), Ended(seq=2, trial_id=trial, step=10, outcome="paused")])
    again = launched(sweep, spec, 0)
    assert again.id != pack.id
    assert store(again, spec, [metrics(1, trial, 10, 0.4), metrics(2, trial, 20, 0.3)])
    with database.read() as session:
        rows = session.scalars(select(TrialReport).order_by(TrialReport.step)).all()
        assert [(row.step, row.values["val/loss"]) for row in rows] == [(10, 0.5), (20, 0.3)]
        entries = select(OutboxEntry).where(OutboxEntry.kind == "metrics")
        assert [entry.payload["step"] for entry in session.scalars(entries)] == [10, 20]


def checkpointed(seq: int, trial: str, step: int, loss: float | None, best: bool) -> Checkpointed:
    return Checkpointed(seq=seq, trial_id=trial, step=step, path=f"/c/{step}", best=best, objective=loss)


def test_the_objective_is_that_of_the_best_checkpoint(
    database: Database, expanded: Any, launched: Any, store: Any
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    (trial,) = pack.trial_ids

    def found() -> tuple[int, float | None, int | None]:
        with database.read() as session:
            row = session.get_one(Trial, trial)
            return row.step, row.objective, row.best_step

    store(pack, spec, [metrics(1, trial, 10, 0.1)])  # the best of all, but no model of it is kept
    assert found() == (10, None, None)
    store(pack, spec, [metrics(2, trial, 20, 0.5), checkpointed(3, trial, 20, 0.5, best=True)])
    assert found() == (20, 0.5, 20)
    store(pack, spec, [metrics(4, trial, 30, 0.4)])
    store(pack, spec, [checkpointed(5, trial, 35, None, best=False)])  # a pause
    assert found() == (30, 0.5, 20)
    store(pack, spec, [metrics(6, trial, 40, 0.3), checkpointed(7, trial, 40, 0.3, best=True)])
    assert found() == (40, 0.3, 40)
    store(
        pack, spec, [checkpointed(8, trial, 20, 0.5, best=True), checkpointed(9, trial, 50, 0.6, best=False)]
    )  # resumed
    assert found() == (40, 0.3, 40)
    with database.read() as session:
        found = session.scalars(select(Event).where(Event.kind == "trial.checkpointed").order_by(Event.seq)).all()
    assert [(event.data["step"], event.data["best_step"]) for event in found] == [
        (20, 20),
        (35, 20),
        (40, 40),
        (50, 40),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_objective_that_is_not_finite_is_not_taken_over(
    database: Database, expanded: Any, launched: Any, store: Any, value: float
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    (trial,) = pack.trial_ids

    def found() -> tuple[float | None, int | None]:
        with database.read() as session:
            row = session.get_one(Trial, trial)
            return row.objective, row.best_step

    store(pack, spec, [checkpointed(1, trial, 10, value, best=True)])
    assert found() == (None, None)
    store(pack, spec, [checkpointed(2, trial, 20, 0.5, best=True), checkpointed(3, trial, 30, value, best=True)])
    assert found() == (0.5, 20)


@pytest.mark.parametrize(
    ("outcome", "cause", "retries", "state"),
    [
        ("succeeded", None, {}, "succeeded"),
        ("pruned", None, {}, "pruned"),
        ("cancelled", None, {}, "cancelled"),
        ("paused", None, {}, "waiting"),
        ("failed", "user", {}, "failed"),
        ("failed", "user", {"user": 1}, "waiting"),
        ("failed", "infrastructure", {"infrastructure": 1}, "waiting"),
        ("failed", "infrastructure", {"infrastructure": 0}, "failed"),
        ("failed", "storage", {"infrastructure": 0}, "waiting"),
        ("failed", "memory", {}, "failed"),
        ("failed", "memory", {"user": 1}, "waiting"),
    ],
)
def test_how_a_trial_ends(
    database: Database, expanded: Any, launched: Any, store: Any, outcome: Any, cause: Any, retries: Any, state: str
) -> None:
    sweep, spec = expanded(retries=retries)
    pack = launched(sweep, spec, 0)
    (trial,) = pack.trial_ids
    store(pack, spec, [Ended(seq=1, trial_id=trial, step=0, outcome=outcome, cause=cause, reason="because")])
    with database.read() as session:
        row, attempt = session.get_one(Trial, trial), session.get_one(Attempt, (trial, 1))
        assert (row.state, row.reason) == (state, "because")
        assert (attempt.outcome, attempt.cause) == (outcome, cause)
        assert attempt.ended_at is not None


@pytest.mark.parametrize("cause", ["storage", "memory"])
def test_what_no_trial_of_a_pack_is_to_blame_for_is_charged_to_none(
    database: Database, expanded: Any, launched: Any, store: Any, cause: Any
) -> None:
    sweep, spec = expanded(retries={"infrastructure": 0, "user": 0})
    pack = launched(sweep, spec, 0, 1)
    ends: list[Report] = [
        Ended(seq=seq, trial_id=trial, step=0, outcome="failed", cause=cause, reason="because", log="a\nb")
        for seq, trial in enumerate(pack.trial_ids, 1)
    ]
    store(pack, spec, ends)
    with database.read() as session:
        for trial in pack.trial_ids:
            row, attempt = session.get_one(Trial, trial), session.get_one(Attempt, (trial, 1))
            assert (row.state, row.user_failures, row.infrastructure_failures) == ("waiting", 0, 0)
            assert (attempt.outcome, attempt.cause, attempt.log) == ("failed", cause, "a\nb")


def test_a_trial_that_fails_in_the_end_names_what_went_wrong_first(
    database: Database, expanded: Any, launched: Any, store: Any
) -> None:
    sweep, spec = expanded(retries={"user": 1})
    for reason in ("the loss was nan", "the loss was inf"):
        pack = launched(sweep, spec, 0)
        (trial,) = pack.trial_ids
        store(pack, spec, [Ended(seq=1, trial_id=trial, step=0, outcome="failed", cause="user", reason=reason)])
    with database.read() as session:
        reason = session.get_one(Trial, trial).reason
    assert reason == "the loss was inf; attempt 1 was the first to go wrong: the loss was nan"


def test_reports_after_a_trials_end_are_dropped(database: Database, expanded: Any, launched: Any, store: Any) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0, 1)
    trial = pack.trial_ids[0]
    store(pack, spec, [Ended(seq=1, trial_id=trial, step=0, outcome="succeeded")])
    before = counts(database)
    assert not store(pack, spec, [metrics(2, trial, 10, 0.1)])
    assert counts(database) == before


def test_events_carry_what_the_page_shows(
    database: Database, expanded: Any, launched: Any, store: Any, trials_of: Callable[[Sweep], list[Trial]]
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0)
    (trial,) = pack.trial_ids
    store(pack, spec, [metrics(1, trial, 10, 0.5), checkpointed(2, trial, 10, 0.5, best=True)])
    with database.read() as session:
        kinds = ("trial.metrics", "trial.checkpointed")
        measured, kept = session.scalars(select(Event).where(Event.kind.in_(kinds)).order_by(Event.seq)).all()
    assert measured.data["values"] == {"val/loss": 0.5}
    assert kept.data["objective"] == trials_of(sweep)[0].objective == 0.5


def test_a_refilled_outbox_holds_the_entries_that_were_written_first(
    database: Database, term: int, expanded: Any, launched: Any, store: Any
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0, 1, 2, 3)
    for seq, trial in enumerate(pack.trial_ids):
        reports: list[Report] = [
            metrics(5 * seq + 1, trial, 10, 0.5),
            checkpointed(5 * seq + 2, trial, 10, 0.5, best=True),
            metrics(5 * seq + 3, trial, 20, 0.6),
            checkpointed(5 * seq + 4, trial, 20, 0.6, best=False),
            Ended(seq=5 * seq + 5, trial_id=trial, step=20, outcome="succeeded", reason="done"),
        ]
        store(pack, spec, reports)
    with database.write(term) as session:
        sweep_lifecycle.settle(session, sweep.id)

    def entries() -> list[tuple[str, str, str]]:
        with database.read() as session:
            found = outbox.oldest(session, 1000)
            return sorted((e.kind, e.trial_id or "", json.dumps(e.payload, sort_keys=True)) for e in found)

    first = entries()
    assert len(first) == 2 + 4 * 6
    with database.write(term) as session:
        outbox.refill(session, sweep.id)
    assert entries() == first


def test_lines_are_stored_once_with_the_reports_and_belong_to_the_trials_that_are_there(
    database: Database, expanded: Any, launched: Any, store: Any
) -> None:
    sweep, spec = expanded()
    pack = launched(sweep, spec, 0, 1)
    one, two = pack.trial_ids

    def line(seq: int, text: str, trial: str | None = None) -> OutputLine:
        return OutputLine(seq=seq, at=1.0, stream="log", level="INFO", text=text, trial_id=trial)

    def output(trial: str) -> list[str]:
        with database.read() as session:
            return [row.text for _, row in pack_lines.of_trial(session, trial)]

    reports: list[Report] = [metrics(2, one, 10, 0.5), Ended(seq=4, trial_id=one, step=10, outcome="succeeded")]
    lines = [line(1, "both"), line(3, "one ends", one), line(5, "two alone")]
    for told in (2, 3):  # the reply to the first poll was lost, and its next answer has more
        store(pack, spec, reports, lines[:told])
    store(pack, spec, reports, lines)
    assert output(one) == ["both", "one ends"]
    assert output(two) == ["both", "two alone"]
    with database.write() as session:
        row = packs.get(session, pack.id)
        assert row.last_seq == 5
        third = trials.page(session, sweep.id)[2]
        packs.give(session, row, [third])
    store(pack, spec, [], [*lines, line(6, "with the third")])
    assert output(third.id) == ["with the third"]
    assert output(two)[-1] == "with the third"

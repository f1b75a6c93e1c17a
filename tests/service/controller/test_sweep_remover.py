"""Deleted sweeps: their rows and files go piece by piece, through kills and faults, and nothing else goes with them."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from service.controller import sweep_remover
from service.controller.checkpoint_keeper import CheckpointKeeper
from service.controller.sweep_remover import SweepRemover
from service.settings import ControllerSettings
from service.store import checkpoints, leases, pack_lines, projections, removals, reports, trials
from service.store.database import Database, LeadLost
from service.store.tables import Base, Pack, RemovedSweep, Sweep, TrialCheckpoint
from workers.protocol import OutputLine

BACKENDS = ["sqlite", "postgresql"]
New = Callable[[], str]


class Killed(BaseException):
    """The process dies here."""


def dying(call: Callable[..., Any], left: Iterator[int]) -> Callable[..., Any]:
    """Return a function that dies before or after a call as soon as ``left`` has counted down to zero."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if next(left) <= 0:
            raise Killed
        result = call(*arguments, **named)
        if next(left) <= 0:
            raise Killed
        return result

    return wrapped


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(url: str, store: Path) -> ControllerSettings:
    return ControllerSettings(database_url=url, checkpoint_dir=store)


@pytest.fixture
def remover(database: Database, settings: ControllerSettings, term: int) -> SweepRemover:
    return SweepRemover(database, settings, term)


@pytest.fixture
def ended(database: Database, expanded: Any, launched: Any, store: Path) -> New:
    """A function that returns a sweep of four trials that has ended, with rows in every table and checkpoints."""

    def make() -> str:
        sweep, spec = expanded()
        pack = launched(sweep, spec, 0, 1, 2, 3)
        with database.write() as session:
            pack_lines.add(session, pack.id, [OutputLine(seq=1, at=1.0, stream="stdout", text="hello")])
            for trial in trials.page(session, sweep.id):
                reports.add(session, trial.id, [(step, {"val/loss": 0.1}) for step in (10, 20)], at=1.0)
                folder = store / sweep.id / trial.id / "step-000000020"
                folder.mkdir(parents=True)
                (folder / "model.safetensors").write_bytes(bytes(100))
                row = TrialCheckpoint(trial_id=trial.id, step=20, path=str(folder), best=True, size=100)
                checkpoints.add(session, row)
                trials.move(session, trial, "succeeded")
                projections.put(session, trial.id, "1", f"run of {trial.id}")
            session.execute(update(Sweep).where(Sweep.id == sweep.id).values(state="succeeded"))
            session.execute(update(Pack).where(Pack.sweep_id == sweep.id).values(state="ended"))
        return str(sweep.id)

    return make


def delete(database: Database, sweep_id: str) -> None:
    with database.write() as session:
        removals.begin(session, sweep_id)


def removed(database: Database, sweep_id: str) -> RemovedSweep:
    with database.read() as session:
        return session.get_one(RemovedSweep, sweep_id)


def rows_of(database: Database, sweep_id: str) -> dict[str, int]:
    """Return how many rows of each table name a sweep or a trial of it, without the row of its deletion."""
    found: dict[str, int] = {}
    with database.engine.connect() as connection:
        for table in Base.metadata.tables.values():
            texts = [column for column in table.columns if str(column.type).startswith("VARCHAR")]
            for row in connection.execute(select(*texts)) if texts and table.name != "removed_sweeps" else ():
                found[table.name] = found.get(table.name, 0) + any(str(value).startswith(sweep_id) for value in row)
    return {name: count for name, count in found.items() if count}


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_of_a_sweep_goes_and_nothing_of_another(
    backend: str,
    database: Database,
    ended: New,
    remover: SweepRemover,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(removals, "TRIALS", 3)
    monkeypatch.setattr(removals, "EVENTS", 4)
    gone, kept = ended(), ended()
    whole = {"sweeps", "trials", "packs", "attempts", "reports", "checkpoints", "events", "outbox", "projections"}
    whole.add("pack_lines")
    assert rows_of(database, gone).keys() == rows_of(database, kept).keys() == whole
    before = rows_of(database, kept)
    delete(database, gone)
    remover.remove()
    assert rows_of(database, gone) == {}
    assert rows_of(database, kept) == before
    assert [folder.name for folder in store.iterdir()] == [kept]
    row = removed(database, gone)
    assert (row.rows_at is not None, row.files_at is not None, row.runs_at, row.done_at) == (True, True, None, None)
    assert row.experiments == ["1"]


def test_a_deletion_is_done_when_all_has_been_gone_for_a_while(
    database: Database, ended: New, remover: SweepRemover, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = ended()
    delete(database, id)
    remover.remove()
    with database.write() as session:
        removals.note_runs_gone(session, id)
    (store / id / "late").mkdir(parents=True)  # a runner that had been given up writes on
    remover.remove()
    assert removed(database, id).done_at is None
    assert (store / id).is_dir()
    later = removals.time.time() + removals.SETTLE_SECONDS + 1
    monkeypatch.setattr(removals.time, "time", lambda: later)
    remover.remove()
    assert not (store / id).exists()
    assert removed(database, id).done_at is None  # MLflow has not been looked at again
    with database.write() as session:
        removals.note_runs_gone(session, id)
    remover.remove()
    assert removed(database, id).done_at == later
    with database.read() as session:
        assert removals.pending(session) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_removal_that_is_killed_at_any_moment_is_ended_by_the_next_controller(
    backend: str,
    database: Database,
    settings: ControllerSettings,
    ended: New,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process dies before, in and after each transaction and each removal of a folder, one after another."""
    monkeypatch.setattr(removals, "TRIALS", 2)
    monkeypatch.setattr(removals, "EVENTS", 6)
    gone, kept = ended(), ended()
    before = rows_of(database, kept)
    delete(database, gone)
    for deaths in range(1, 60):
        left = itertools.count(deaths, -1)
        with monkeypatch.context() as dies:
            for name in ("delete_rows", "note_files_gone", "finish"):
                dies.setattr(removals, name, dying(getattr(removals, name), left))
            dies.setattr(sweep_remover.shutil, "rmtree", dying(shutil.rmtree, left))
            with database.write() as session:
                term = leases.acquire(session, "test", 600)
            assert term is not None
            with suppress(Killed):
                SweepRemover(database, settings, term).remove()
                break
    else:
        raise AssertionError("it is never done")
    assert deaths > 4
    assert rows_of(database, gone) == {}
    assert rows_of(database, kept) == before
    assert [folder.name for folder in store.iterdir()] == [kept]


def test_folders_that_cannot_be_removed_hold_up_nothing_else(
    database: Database, ended: New, remover: SweepRemover, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, free = ended(), ended()
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == stuck:
            raise PermissionError(13, "Permission denied", str(self))
        return rename(self, target)

    delete(database, stuck)
    delete(database, free)
    with monkeypatch.context() as read_only:
        read_only.setattr(Path, "rename", refuse)
        remover.remove()
    assert (removed(database, stuck).files_at, removed(database, free).files_at is None) == (None, False)
    assert rows_of(database, stuck) == rows_of(database, free) == {}
    remover.remove()
    assert removed(database, stuck).files_at is not None
    assert list(store.iterdir()) == []


def test_a_store_that_is_away_is_waited_for(database: Database, ended: New, remover: SweepRemover, store: Path) -> None:
    id = ended()
    away = store.rename(store.with_name("away"))
    delete(database, id)
    remover.remove()
    remover.remove_late_folders()
    assert removed(database, id).files_at is None
    away.rename(store)
    remover.remove()
    assert (removed(database, id).files_at is None, list(store.iterdir())) == (False, [])


def test_folders_where_the_store_was_before_go_too_and_links_lead_nowhere(
    database: Database, ended: New, remover: SweepRemover, store: Path, tmp_path: Path
) -> None:
    id, linked = ended(), ended()
    elsewhere = tmp_path / "before" / id
    elsewhere.mkdir(parents=True)
    (store / linked).rename(tmp_path / "mine")
    (store / linked).symlink_to(tmp_path / "mine")
    with database.write() as session:
        row = session.get_one(TrialCheckpoint, (f"{id}-0000", 20))
        row.path = str(elsewhere / f"{id}-0000" / "step-000000020")
        other = session.get_one(TrialCheckpoint, (f"{id}-0001", 20))
        other.path = str(tmp_path / "mine" / f"{id}-0001" / "step-000000020")  # no folder of this sweep
    delete(database, id)
    delete(database, linked)
    remover.remove()
    assert (elsewhere.exists(), (tmp_path / "mine").is_dir(), list(store.iterdir())) == (False, True, [])


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_late_folders_of_deleted_sweeps_are_removed_from_the_store(
    backend: str, database: Database, ended: New, remover: SweepRemover, store: Path
) -> None:
    gone, kept = ended(), ended()
    delete(database, gone)
    remover.remove()
    with database.write() as session:
        session.execute(update(RemovedSweep).values(done_at=1.0))
    strangers = {"swaaaaaaaaaa", "notes", kept}
    for name in (gone, f".removed-{gone}", *strangers):
        (store / name / "x").mkdir(parents=True, exist_ok=True)
    remover.remove_late_folders()
    assert {folder.name for folder in store.iterdir()} == strangers


def test_a_controller_that_no_longer_leads_removes_no_row(
    database: Database, ended: New, remover: SweepRemover
) -> None:
    id = ended()
    delete(database, id)
    with database.write() as session:
        leases.acquire(session, "test", 600)
    before = rows_of(database, id)
    with pytest.raises(LeadLost):
        remover.remove()
    assert rows_of(database, id) == before


def test_what_is_written_of_a_sweep_while_it_is_deleted_goes_too(
    database: Database, ended: New, remover: SweepRemover
) -> None:
    """The projector stores a run that it had created, and an entry of the outbox."""
    id = ended()
    delete(database, id)
    with database.write() as session:
        projections.put(session, id, "1", "run")
        session.execute(
            text("INSERT INTO outbox (sweep_id, kind, payload, at) VALUES (:id, 'sweep', '{}', 0)"), {"id": id}
        )
    remover.remove()
    assert rows_of(database, id) == {}
    with database.write() as session:
        projections.put(session, id, "1", "run")
        removals.note_runs_gone(session, id)
    assert rows_of(database, id) == {}


def test_the_keeper_leaves_deleted_sweeps_alone(
    database: Database, settings: ControllerSettings, ended: New, term: int, store: Path
) -> None:
    id = ended()
    keeper = CheckpointKeeper(database, settings, term)
    keeper.collect()  # MLflow does not have them yet, so they wait
    delete(database, id)
    keeper.collect()
    assert len(list((store / id).iterdir())) == 4
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(TrialCheckpoint)) == 4

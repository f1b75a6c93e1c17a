"""What stays of the checkpoints of ended trials, and what the database knows of the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from service.controller import checkpoint_keeper
from service.controller.checkpoint_keeper import CheckpointKeeper
from service.settings import ControllerSettings
from service.store import checkpoint_room, checkpoints, leases, outbox, projections, sweeps, trials
from service.store.database import Database, LeadLost
from service.store.tables import Sweep, Trial, TrialCheckpoint
from workers.checkpoint_files import folder_name, steps_in

STEPS = (10, 20, 30, 40)
BEST = 20


class StoredTrial:
    """The first trial of a sweep, with the checkpoints of ``STEPS`` in the store and in the database.

    That of step ``BEST`` is the best one.
    """

    def __init__(self, database: Database, sweep: Sweep, store: Path) -> None:
        self.id, self._database, self._sweep = f"{sweep.id}-0000", database, sweep.id
        self.folder = store / sweep.id / self.id
        with database.write() as session:
            trial = session.get_one(Trial, self.id)
            trials.move(session, trial, "running")
            trial.objective, trial.best_step = 0.5, BEST
            for step in STEPS:
                path = self.write(step)
                row = TrialCheckpoint(trial_id=self.id, step=step, path=str(path), best=step <= BEST, objective=1.0)
                checkpoints.add(session, row)

    def write(self, step: int) -> Path:
        path = self.folder / folder_name(step)
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(bytes(98 + step))
        (path / "manifest.json").write_text("{}")
        return path

    def end(self, *, told: bool = True) -> None:
        """Let the trial succeed; ``told`` whether MLflow has all of it."""
        with self._database.write() as session:
            trials.move(session, session.get_one(Trial, self.id), "succeeded")
        if told:
            self.tell()

    def tell(self) -> None:
        with self._database.write() as session:
            outbox.remove_all(session, self._sweep)

    @property
    def steps(self) -> list[int]:
        return steps_in(self.folder)

    @property
    def known(self) -> dict[int, int | None]:
        """Return the sizes of the checkpoints that the database says are on the disk, by step."""
        with self._database.read() as session:
            return {row.step: row.size for row in checkpoints.there(session, [self.id]).get(self.id, [])}


Store = Callable[..., StoredTrial]


@pytest.fixture
def stored(database: Database, expanded: Any, tmp_path: Path) -> Store:
    return lambda **changes: StoredTrial(database, expanded(**changes)[0], tmp_path / "store")


@pytest.fixture
def keeper(database: Database, term: int, url: str, tmp_path: Path) -> CheckpointKeeper:
    settings = ControllerSettings(database_url=url, checkpoint_dir=tmp_path / "store", checkpoint_bytes=10**12)
    return CheckpointKeeper(database, settings, term)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("kept", "left"),
    [
        ({}, [20, 40]),
        ({"keep": ["best"]}, [20]),
        ({"keep": ["last"]}, [40]),
        ({"keep": []}, []),
        ({"keep": ["best"], "keep_every": 15}, [20, 30]),
    ],
)
def test_what_the_sweep_keeps_is_left_of_a_trial_that_has_ended(
    backend: str, kept: dict[str, Any], left: list[int], stored: Store, keeper: CheckpointKeeper
) -> None:
    trial = stored(checkpoints=kept)
    trial.end()
    keeper.collect()
    assert trial.steps == left
    assert trial.known == {step: 100 + step for step in left}


def test_nothing_is_removed_of_a_trial_that_has_not_ended(
    stored: Store, keeper: CheckpointKeeper, database: Database
) -> None:
    trial = stored(checkpoints={"keep": []})
    keeper.collect()
    with database.write() as session:
        trials.move(session, session.get_one(Trial, trial.id), "waiting")
    keeper.collect()
    assert trial.steps == list(STEPS)


def test_nothing_is_removed_before_mlflow_has_its_copies(stored: Store, keeper: CheckpointKeeper) -> None:
    trial = stored(checkpoints={"keep": []})
    trial.end(told=False)
    keeper.collect()
    keeper.collect()
    assert trial.steps == list(STEPS)
    trial.tell()
    keeper.collect()
    assert trial.steps == []


def test_nothing_is_removed_of_what_mlflow_could_not_be_given(
    stored: Store, keeper: CheckpointKeeper, database: Database
) -> None:
    """The store was away when the trial's end was told to MLflow."""
    trial = stored(checkpoints={"keep": []})
    trial.end()
    with database.write() as session:
        projections.put(session, trial.id, "1", "run")
        projections.note_lack(session, trial.id, "its model was not logged")
    keeper.collect()
    assert trial.steps == list(STEPS)
    with database.write() as session:
        projections.note_lack(session, trial.id, None)
    keeper.collect()
    assert trial.steps == []


def test_what_is_not_provably_a_checkpoint_of_an_ended_trial_stays(
    stored: Store, keeper: CheckpointKeeper, tmp_path: Path
) -> None:
    trial = stored()
    others = [
        tmp_path / "store" / "sw0123456789" / "sw0123456789-0000" / folder_name(10),
        trial.folder.parent / "mine" / folder_name(10),
        trial.folder / "notes",
        trial.folder / "step-7",
    ]
    for path in others:
        path.mkdir(parents=True)
    trial.end()
    keeper.collect()
    assert trial.steps == [20, 40]
    assert all(path.is_dir() for path in others)


def test_a_folder_that_is_a_link_to_elsewhere_is_left_alone(
    stored: Store, keeper: CheckpointKeeper, tmp_path: Path
) -> None:
    trial = stored()
    shutil.move(trial.folder, tmp_path / "elsewhere")
    trial.folder.symlink_to(tmp_path / "elsewhere")
    trial.end()
    keeper.collect()
    assert steps_in(tmp_path / "elsewhere") == list(STEPS)
    assert list(trial.known) == list(STEPS)


def test_a_removal_that_was_interrupted_is_ended_by_the_next_controller(
    stored: Store, keeper: CheckpointKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = stored()
    trial.end()
    removed: list[Path] = []

    def die(folder: Path) -> None:
        if removed:
            raise KeyboardInterrupt  # as the death of the process between two removals
        removed.append(folder)
        folder.rename(folder.with_name(f".removed-{folder.name}"))

    with monkeypatch.context() as dying:
        dying.setattr(checkpoint_keeper, "remove", die)
        with pytest.raises(KeyboardInterrupt):
            keeper.collect()
    assert len(list(trial.folder.iterdir())) == len(STEPS)
    keeper._after = (0.0, "")
    keeper.collect()
    assert sorted(path.name for path in trial.folder.iterdir()) == [folder_name(20), folder_name(40)]
    assert list(trial.known) == [20, 40]


def test_checkpoints_removed_by_hand_are_noticed_and_a_missing_store_is_not_taken_for_that(
    stored: Store, keeper: CheckpointKeeper, tmp_path: Path
) -> None:
    trial = stored()
    trial.end()
    (tmp_path / "store").rename(tmp_path / "unmounted")
    keeper.collect()
    assert list(trial.known) == list(STEPS)
    (tmp_path / "unmounted").rename(tmp_path / "store")
    shutil.rmtree(trial.folder)
    keeper._after = (0.0, "")
    keeper.collect()
    assert trial.known == {}


def test_checkpoints_whose_disk_was_away_for_a_while_stay_and_are_known_again(
    stored: Store, keeper: CheckpointKeeper, tmp_path: Path
) -> None:
    trial = stored()
    trial.end()
    (tmp_path / "store").rename(tmp_path / "disk")
    (tmp_path / "store").mkdir()  # the empty folder on which the disk is mounted
    keeper.collect()
    (tmp_path / "store").rmdir()
    (tmp_path / "disk").rename(tmp_path / "store")
    keeper._after = (0.0, "")
    keeper.collect()
    assert trial.steps == [20, 40]
    assert trial.known == {20: 120, 40: 140}


def test_the_last_checkpoint_that_is_left_stays_if_a_later_one_was_removed_by_hand(
    stored: Store, keeper: CheckpointKeeper
) -> None:
    trial = stored(checkpoints={"keep": ["last"]})
    trial.end()
    shutil.rmtree(trial.folder / folder_name(40))
    keeper.collect()
    assert trial.steps == [30]


def test_half_a_checkpoint_does_not_take_the_place_of_the_last_whole_one(
    stored: Store, keeper: CheckpointKeeper, database: Database
) -> None:
    trial = stored()
    with database.write() as session:  # written and removed by one attempt, and not quite again by the next
        checkpoints.note_kept(session, trial.id, 40, [10, 20, 30], 1.0)
    (trial.folder / folder_name(40) / "manifest.json").unlink()
    trial.end()
    keeper.collect()
    assert trial.steps == [20, 30]


def test_a_controller_that_lost_the_lead_stores_nothing(
    stored: Store, keeper: CheckpointKeeper, database: Database
) -> None:
    trial = stored()
    trial.end()
    with database.write() as session:
        session.execute(select(1))
        leases.current(session).expires_at = 0.0  # type: ignore[union-attr]
    with database.write() as session:
        assert leases.acquire(session, "another", 600) is not None
    with pytest.raises(LeadLost):
        keeper.collect()
    assert list(trial.known) == list(STEPS)


def test_every_ended_trial_gets_its_turn(
    database: Database, expanded: Any, keeper: CheckpointKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_keeper, "PAGE", 2)
    found = [StoredTrial(database, expanded()[0], tmp_path / "store") for _ in range(5)]
    for trial in found:
        trial.end()
    looks = 1
    while keeper.collect():
        looks += 1
    assert looks == 3
    assert [trial.steps for trial in found] == [[20, 40]] * 5


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_the_room_in_the_store_is_noted(
    backend: str, stored: Store, keeper: CheckpointKeeper, database: Database
) -> None:
    trial = stored()
    trial.end()
    keeper.collect()
    with database.write() as session:
        sweeps.get(session, trial.id.partition("-")[0]).checkpoint_bytes = 1000
    keeper.note()
    with database.read() as session:
        room = checkpoint_room.room(session, 0.0)
        assert checkpoints.bytes_of_sweeps(session, [trial.id.partition("-")[0]]) == {trial.id.partition("-")[0]: 260}
        assert checkpoint_room.room(session, float("inf")) is None
    assert room is not None
    assert (room.used, room.to_come, room.limit) == (260, 740, 10**12)
    assert room.free > room.reserve > 0
    assert room.for_a_sweep == min(room.free - room.reserve, 10**12 - 260) - 740


def test_the_room_is_what_the_tighter_of_disk_and_limit_leaves() -> None:
    def left(limit: int | None, *, used: int = 30, free: int = 100, to_come: int = 0) -> int:
        return checkpoint_room.StoreRoom(used, free, reserve=10, limit=limit, to_come=to_come).for_a_sweep

    assert [left(None), left(1000), left(50), left(20)] == [90, 90, 20, 0]
    assert [left(None, to_come=80), left(None, to_come=95), left(50, to_come=15)] == [10, 0, 5]


def test_a_trial_whose_files_cannot_be_removed_does_not_hold_up_the_others(
    database: Database, expanded: Any, keeper: CheckpointKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (StoredTrial(database, expanded()[0], tmp_path / "store") for _ in range(2))
    removing = checkpoint_keeper.remove

    def refuse(folder: Path) -> None:
        if first.folder in folder.parents:
            raise OSError(30, "Read-only file system")
        removing(folder)

    for trial in (first, second):
        trial.end()
    with monkeypatch.context() as read_only:
        read_only.setattr(checkpoint_keeper, "remove", refuse)
        keeper.collect()
    assert (first.steps, second.steps) == (list(STEPS), [20, 40])
    assert list(first.known) == list(STEPS)
    monkeypatch.setattr(checkpoint_keeper, "RESCAN_SECONDS", 0.0)
    keeper.collect()  # the round of all trials ends here, and the next one begins with the first
    keeper.collect()
    assert first.steps == [20, 40]


def test_nothing_is_removed_of_a_trial_that_is_run_again_at_that_moment(
    stored: Store, keeper: CheckpointKeeper, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial has been chosen, and then a user has it run again and its runner writes a checkpoint."""
    trial = stored(checkpoints={"keep": []})
    trial.end()
    listing = checkpoint_keeper.steps_in

    def rerun_meanwhile(folder: Path) -> list[int]:
        found = listing(folder)
        with database.write() as session:
            row = session.get_one(Trial, trial.id)
            if row.ended_at is not None:
                row.state, row.ended_at = "running", None
                trial.write(50)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(checkpoint_keeper, "steps_in", rerun_meanwhile)
        keeper.collect()
    assert trial.steps == [*STEPS, 50]
    assert list(trial.known) == list(STEPS)
    keeper.collect()
    assert trial.steps == [*STEPS, 50]
    trial.end()
    keeper.collect()
    assert trial.steps == []


def test_a_trial_that_waits_for_mlflow_and_is_run_again_is_left_alone(
    stored: Store, keeper: CheckpointKeeper, database: Database
) -> None:
    trial = stored(checkpoints={"keep": []})
    trial.end(told=False)
    keeper.collect()
    trial.tell()
    with database.write() as session:
        row = session.get_one(Trial, trial.id)
        row.state, row.ended_at = "running", None
    keeper.collect()
    assert trial.steps == list(STEPS)

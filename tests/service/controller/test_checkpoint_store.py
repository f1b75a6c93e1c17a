"""What runners tell of the checkpoint store holds launching back, is shown, and is over once they can write."""

from __future__ import annotations

from typing import Any

from service.controller.checkpoint_store import FIRST_PAUSE, FORGET_SECONDS, CheckpointStore
from tests.service.controller.conftest import Clock
from workers.protocol import Checkpointed, Ended, Poll


def poll(*reports: Any, unsaved: str | None = None, state: Any = "running") -> Poll:
    return Poll(state=state, reports=list(reports), progress={}, unsaved=unsaved)


def written(seq: int) -> Checkpointed:
    return Checkpointed(seq=seq, trial_id="t", step=seq, path="/x", best=False, objective=None)


def gave_up(seq: int) -> Ended:
    return Ended(seq=seq, trial_id="t", step=1, outcome="failed", cause="storage", reason="No space left on device")


def test_a_runner_that_trains_on_holds_launching_back_until_it_can_write(clock: Clock) -> None:
    store = CheckpointStore()
    store.note("p", poll(unsaved=None))
    assert (store.may_launch, store.problem) == (True, None)
    store.note("p", poll(unsaved="Input/output error"))
    assert not store.may_launch
    assert store.problem == "checkpoints cannot be written: Input/output error; one pack trains on without them"
    clock.now += FIRST_PAUSE + 1
    store.note("p", poll(unsaved="Input/output error"))
    assert store.may_launch, "another pack may find the store mended"
    assert store.problem
    store.note("p", poll(written(1)))
    assert (store.may_launch, store.problem) == (True, None)


def test_each_pack_that_gives_up_makes_the_pause_longer_but_not_those_of_one_pause(clock: Clock) -> None:
    store = CheckpointStore()
    for seq in (1, 2, 3):
        store.note("p", poll(gave_up(seq), state="running"))
    clock.now += FIRST_PAUSE + 0.1
    assert store.may_launch
    store.note("q", poll(gave_up(1)))
    clock.now += FIRST_PAUSE + 0.1
    assert not store.may_launch
    clock.now += FIRST_PAUSE
    assert store.may_launch


def test_the_same_answer_again_is_no_second_failure(clock: Clock) -> None:
    store, answer = CheckpointStore(), poll(gave_up(1), state="running")
    store.note("p", answer)
    clock.now += FIRST_PAUSE + 0.1
    store.note("p", answer)
    assert store.may_launch


def test_a_pack_that_ended_or_was_lost_complains_no_more(clock: Clock) -> None:
    store = CheckpointStore()
    store.note("p", poll(unsaved="full"))
    store.forget("p")
    assert "full" in str(store.problem)
    clock.now += FIRST_PAUSE + FORGET_SECONDS + 1
    assert store.problem is None

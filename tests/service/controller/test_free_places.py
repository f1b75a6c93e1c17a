"""Which waiting trials go into which packs, and which packs are merged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.controller import free_places
from service.controller.free_places import LivePack, assign, is_suspect, may_join, to_merge
from service.store.tables import Attempt
from tests.workers.examples import make_trial
from workers.runtime.pack_planner import LARGEST_SMALL_ON_CPU
from workers.spec.resources import ResourcesSpec

SPEC, OTHER = make_trial(), make_trial(layers=2)
FOUR = ResourcesSpec(pack_size=4)
AUTO = ResourcesSpec()
WORKERS = 2


def live(name: str, count: int, **fields: Any) -> LivePack:
    own: dict[str, Any] = {"spec": SPEC, "planned": 4, "given": count} | fields
    return LivePack(name, frozenset(f"{name}{i}" for i in range(count)), **own)


def waiting(count: int) -> dict[str, Any]:
    return {f"w{i}": SPEC for i in range(count)}


def sizes(found: dict[str, list[str]]) -> dict[str, int]:
    return {pack: len(trials) for pack, trials in found.items()}


def test_without_room_the_emptiest_packs_are_filled_to_their_limit() -> None:
    found = assign(waiting(10), [live("a", 3), live("b", 1)], {}, FOUR, WORKERS, room=False)
    assert sizes(found) == {"a": 1, "b": 3}
    assert found["b"][:2] == ["w0", "w1"], "the first in line come first"
    assert sizes(assign(waiting(40), [live("a", 3)], {}, AUTO, WORKERS, room=False)) == {"a": LARGEST_SMALL_ON_CPU - 3}


def test_with_room_for_a_pack_what_makes_one_is_left_for_it() -> None:
    assert sizes(assign(waiting(10), [live("a", 2)], {}, AUTO, WORKERS, room=True)) == {"a": 4}, (
        "12 trials on two workers: 6 each"
    )
    assert sizes(assign(waiting(10), [live("a", 6)], {}, AUTO, WORKERS, room=True)) == {"a": 2}


def test_few_trials_are_not_worth_a_process() -> None:
    assert sizes(assign(waiting(1), [live("a", 8)], {}, AUTO, WORKERS, room=True)) == {"a": 1}
    assert sizes(assign(waiting(1), [live("a", 1)], {}, AUTO, WORKERS, room=True)) == {}, "half a pack is"


def test_a_trial_goes_to_packs_of_its_shape_in_which_it_never_was() -> None:
    trials = {"w0": SPEC, "w1": OTHER, "w2": SPEC}
    packs = [live("a", 1), live("b", 1, spec=OTHER)]
    assert assign(trials, packs, {"w2": {"a"}}, FOUR, WORKERS, room=False) == {"a": ["w0"], "b": ["w1"]}


def test_suspect_and_worn_out_packs_get_nothing() -> None:
    packs = [live("a", 1, suspect=True), live("b", 1, given=free_places.MOST_TRIALS)]
    assert assign(waiting(3), packs, {}, FOUR, WORKERS, room=False) == {}


def test_on_a_gpu_a_pack_has_as_many_trials_as_were_planned() -> None:
    on_gpu = ResourcesSpec(gpus=1)
    assert live("a", 2, planned=3).limit(on_gpu) == 3
    assert live("a", 2, planned=3).limit(AUTO) == LARGEST_SMALL_ON_CPU


@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    number=st.integers(0, 20),
    room=st.booleans(),
    size=st.sampled_from([1, 2, 4, "auto"]),
)
def test_no_trial_is_given_twice_and_no_pack_gets_too_many(
    counts: list[int], number: int, room: bool, size: Any
) -> None:
    needs = ResourcesSpec(pack_size=size)
    packs = {f"p{i}": live(f"p{i}", count) for i, count in enumerate(counts)}
    found = assign(waiting(number), list(packs.values()), {}, needs, WORKERS, room=room)
    chosen = [trial for trials in found.values() for trial in trials]
    assert len(chosen) == len(set(chosen))
    assert set(chosen) <= set(waiting(number))
    for name, trials in found.items():
        assert len(packs[name].trials) + len(trials) <= packs[name].limit(needs)
    if not room:
        left = number - len(chosen)
        places = sum(max(0, pack.limit(needs) - len(pack.trials)) for pack in packs.values()) - len(chosen)
        assert left == 0 or places == 0, "no place stays free while a trial waits"


def attempt(outcome: str | None, cause: str | None = None) -> Attempt:
    return Attempt(trial_id="t", number=1, pack_id="p", outcome=outcome, cause=cause)


@pytest.mark.parametrize(
    ("history", "joins", "suspect"),
    [
        ([], True, False),
        ([attempt("moved")], True, False),
        ([attempt("paused")], False, False),
        ([attempt("lost", "process")], False, True),
        ([attempt("lost", "process"), attempt("moved")], True, True),
        ([attempt("lost", "cluster")], False, False),
        ([attempt("lost", "preemption")], False, False),
        ([attempt("failed", "user")], False, True),
        ([attempt("failed", "memory")], False, True),
        ([attempt("failed", "storage")], False, False),
        ([attempt(None)], False, False),
    ],
)
def test_what_went_wrong_before_decides_about_company(history: list[Attempt], joins: bool, suspect: bool) -> None:
    assert (may_join(history), is_suspect(history)) == (joins, suspect)


def test_two_packs_that_are_half_empty_are_merged_into_the_fuller_one() -> None:
    found = to_merge([live("a", 2), live("b", 1), live("c", 3)], FOUR)
    assert found is not None
    assert [pack.id for pack in found] == ["b", "a"]


@pytest.mark.parametrize(
    "packs",
    [
        [live("a", 1)],
        [live("a", 1), live("b", 3)],
        [live("a", 1), live("b", 1, spec=OTHER)],
        [live("a", 1, suspect=True), live("b", 2)],
        [live("a", 1), live("b", 2, suspect=True)],
        [live("a", 0), live("b", 2)],
    ],
)
def test_other_packs_are_not_merged(packs: list[LivePack]) -> None:
    assert to_merge(packs, FOUR) is None

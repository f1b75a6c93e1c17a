"""A tick looks at the sweeps that have changed, at those that are unsettled, and in turn at the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.controller import attention
from service.controller.attention import MAX_LOOKS, RECHECK_SECONDS, RECHECKS, Attention
from service.controller.node import Needs
from service.controller.recently_used import RecentlyUsed
from service.store import sweeps, trials
from service.store.database import Database
from service.store.sweeps import OpenSweep
from service.store.tables import Sweep
from workers.spec.resources import ResourcesSpec


def some(count: int, event_seq: int = 1) -> list[OpenSweep]:
    return [OpenSweep(f"sw{number:010x}", "running", event_seq) for number in range(count)]


def look_at_all(found: Attention, open_sweeps: list[OpenSweep]) -> list[OpenSweep]:
    """Look until nothing is due, and return what was looked at, in order."""
    seen = []
    while chosen := found.choose(open_sweeps):
        for sweep in chosen:
            found.looked(sweep, unsettled=False)
        seen += chosen
    return seen


def test_a_new_term_looks_at_every_sweep_once_and_the_oldest_first() -> None:
    found, open_sweeps = Attention(), some(3 * MAX_LOOKS + 1)
    assert found.choose(open_sweeps) == open_sweeps[:MAX_LOOKS]
    assert found.behind
    assert look_at_all(found, open_sweeps) == open_sweeps
    assert not found.behind


def test_only_a_sweep_with_a_new_event_is_looked_at_again() -> None:
    found, open_sweeps = Attention(), some(50)
    look_at_all(found, open_sweeps)
    changed = open_sweeps[7]._replace(event_seq=2)
    assert look_at_all(found, [*open_sweeps[:7], changed, *open_sweeps[8:]]) == [changed]


def test_a_look_that_failed_is_repeated() -> None:
    found, open_sweeps = Attention(), some(2)
    assert found.choose(open_sweeps) == open_sweeps
    found.looked(open_sweeps[0], unsettled=False)
    assert found.choose(open_sweeps) == open_sweeps[1:]


def test_what_happens_during_a_look_makes_another_one_due() -> None:
    found, (before,) = Attention(), some(1)
    assert found.choose([before]) == [before]
    after = before._replace(event_seq=before.event_seq + 1)
    found.looked(before, unsettled=False)
    assert found.choose([after]) == [after]


def test_an_unsettled_sweep_is_looked_at_in_each_tick_without_haste() -> None:
    found, open_sweeps = Attention(), some(2 * MAX_LOOKS)
    look_at_all(found, open_sweeps)
    for sweep in open_sweeps:
        found.looked(sweep, unsettled=True)
    rounds = [found.choose(open_sweeps) for _ in range(1)]
    assert not found.behind
    for sweep in rounds[0]:
        found.looked(sweep, unsettled=True)
    assert set(rounds[0]).isdisjoint(found.choose(open_sweeps)), "the others have their turn"


def test_a_sweep_in_which_nothing_happens_is_looked_at_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(attention.time, "monotonic", lambda: now)
    found, open_sweeps = Attention(), some(2 * RECHECKS)
    look_at_all(found, open_sweeps)
    assert found.choose(open_sweeps) == []
    now += RECHECK_SECONDS
    first = found.choose(open_sweeps)
    assert len(first) == RECHECKS
    assert look_at_all(found, open_sweeps) == open_sweeps


def test_an_ended_sweep_is_forgotten() -> None:
    found, open_sweeps = Attention(), some(3)
    look_at_all(found, open_sweeps)
    assert found.forget_ended(open_sweeps[1:]) == [open_sweeps[0].id]
    assert found.forget_ended(open_sweeps[1:]) == []


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_every_change_of_a_sweep_or_a_trial_is_a_mark(
    backend: str, database: Database, new_sweep: Callable[..., Sweep]
) -> None:
    sweep = new_sweep()

    def mark() -> int:
        with database.read() as session:
            (found,) = sweeps.open_sweeps(session)
            return found.event_seq

    def changes_the_mark(change: Callable[..., object]) -> None:
        before = mark()
        with database.write() as session:
            change(session)
        assert mark() > before

    changes_the_mark(lambda session: sweeps.apply(session, sweep.id, "pause"))
    changes_the_mark(lambda session: sweeps.move(session, sweep.id, "running"))
    with database.write() as session:
        trials.create(session, sweep, 0, [{"model.margin": 0.1}])
    changes_the_mark(lambda session: trials.want(session, f"{sweep.id}-0000", "stop"))
    changes_the_mark(lambda session: trials.move(session, trials.get(session, f"{sweep.id}-0000"), "cancelled"))


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_what_sweeps_need_is_read_from_their_documents(
    backend: str, database: Database, new_sweep: Callable[..., Sweep]
) -> None:
    asked = {"cpus": 2.5, "gpus": 1.0, "memory": "1 GiB", "labels": {"zone": "a"}}
    large, plain, old = new_sweep(resources=asked), new_sweep(), new_sweep()
    with database.write() as session:
        row = sweeps.get(session, old.id)
        row.spec = {**row.spec, "resources": {"cpus": 3.0}}  # as an earlier release stored it
    with database.read() as session:
        found = sweeps.resources(session, [large.id, plain.id, old.id])
    assert Needs.stored(found[large.id]) == Needs(2.5, 1.0, 2**30, (("zone", "a"),))
    assert Needs.stored(found[plain.id]) == Needs.of(ResourcesSpec()) == Needs()
    assert Needs.stored(found[old.id]) == Needs(3.0)


def test_a_cache_keeps_the_values_that_were_used_last_and_no_failure() -> None:
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        if key == "broken":
            raise ValueError(key)
        return key.upper()

    cache: RecentlyUsed[str, str] = RecentlyUsed(2)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(key, lambda key=key: make(key)) == key.upper()  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            cache.get("broken", lambda: make("broken"))
    assert made.count("broken") == 2

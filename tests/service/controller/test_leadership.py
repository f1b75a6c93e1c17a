"""One controller leads at a time, and a former leader cannot write."""

from __future__ import annotations

import threading

import pytest

from service.controller import leadership
from service.controller.leadership import Leadership
from service.store import components, leases
from service.store.database import Database, LeadLost

BACKENDS = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])


@BACKENDS
def test_a_second_controller_waits_until_the_lease_is_given_up(database: Database, backend: str) -> None:
    first, second = Leadership(database, 60), Leadership(database, 60)
    term = first.acquire()
    assert term == 1
    assert second.acquire() is None
    with first.held(term):
        assert second.acquire() is None
    assert second.acquire() == 2


@BACKENDS
def test_an_expired_lease_is_taken_and_its_holder_refused(database: Database, backend: str) -> None:
    old = Leadership(database, -1).acquire()
    new = Leadership(database, 60).acquire()
    assert (old, new) == (1, 2)
    with pytest.raises(LeadLost), database.write(old) as session:
        components.note(session, "ray", True, "written by a controller that woke up late")
    with database.write(new) as session:
        assert components.every(session) == []
        with pytest.raises(LeadLost):
            leases.renew(session, 1, 60)


def test_the_lease_is_renewed_beside_a_long_tick(database: Database) -> None:
    lead = Leadership(database, 0.3)
    term = lead.acquire()
    assert term is not None
    with database.read() as session:
        lease = leases.current(session)
        assert lease is not None
        expired = lease.expires_at
    with lead.held(term):
        for _ in range(500):
            with database.read() as session:
                lease = leases.current(session)
            assert lease is not None
            if lease.expires_at > expired:
                return
            threading.Event().wait(0.02)
    raise AssertionError("not renewed")


def test_a_leader_that_was_replaced_learns_it_from_its_renewal_thread(database: Database) -> None:
    lead = Leadership(database, 0.3)
    term = lead.acquire()
    assert term is not None
    with lead.held(term):
        with database.write() as session:
            lease = leases.current(session)
            assert lease is not None
            lease.holder, lease.term, lease.expires_at = "other", term + 1, lease.expires_at + 600
        assert lead.lost.wait(10)
        with pytest.raises(LeadLost):
            lead.report_progress()
    with database.read() as session:
        lease = leases.current(session)
        assert lease is not None
        assert lease.holder == "other"
        assert lease.expires_at > 0


class Clock:
    """Monotonic time that the test sets."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@BACKENDS
@pytest.mark.parametrize("ahead", [3600.0, 10 * 365 * 86400.0])
def test_a_lease_that_nobody_renews_is_taken_though_a_clock_was_set_back(
    database: Database, backend: str, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from the one who waits, the dead leader's lease ends far in the future."""
    clock = Clock()
    monkeypatch.setattr(leadership, "time", clock)
    assert Leadership(database, 15 + ahead).acquire() == 1
    waiting = Leadership(database, 15)
    assert waiting.acquire() is None
    clock.now += 14
    assert waiting.acquire() is None
    clock.now += 2
    assert waiting.acquire() == 2


@BACKENDS
def test_a_lease_that_is_renewed_is_not_taken_whatever_the_clocks_say(
    database: Database, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(leadership, "time", clock)
    assert Leadership(database, 3600).acquire() == 1
    waiting = Leadership(database, 15)
    for _ in range(10):
        assert waiting.acquire() is None
        clock.now += 14
        with database.write() as session:
            leases.renew(session, 1, 3600)
    clock.now += 100  # as if this one had slept: it has seen another lease than that which it finds
    assert waiting.acquire() is None


def test_many_who_try_at_once_get_one_leader(database: Database) -> None:
    found: list[int | None] = []
    tries = [threading.Thread(target=lambda: found.append(Leadership(database, 60).acquire())) for _ in range(8)]
    for thread in tries:
        thread.start()
    for thread in tries:
        thread.join()
    assert sorted(term for term in found if term) == [1]
    assert len(found) == 8

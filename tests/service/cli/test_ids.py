"""Ids as users type them."""

from __future__ import annotations

from typing import Any

import pytest

from service.cli import ids
from service.cli.errors import NotFoundError, UserError
from service.client import RestClient

NEWEST_FIRST = ["sw1234567890", "swabcdef0123", "swabcd000000"]


class Sweeps(RestClient):
    """Lists sweeps without a service, and counts how often it is asked."""

    def __init__(self, known: list[str]) -> None:
        self.known, self.asked = known, 0

    def sweeps(self, state: Any = (), limit: int | None = None, **_: Any) -> Any:
        self.asked += 1
        return iter([{"id": id, "name": f"name of {id}"} for id in self.known][:limit])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sw1234567890", "sw1234567890"),
        ("sw12", "sw1234567890"),
        ("12", "sw1234567890"),
        ("abcde", "swabcdef0123"),
        ("last", "sw1234567890"),
        ("last-7", "sw1234567890-0007"),
        ("sw12-12345", "sw1234567890-12345"),
        ("swabcdef0123-0003", "swabcdef0123-0003"),
    ],
)
def test_a_short_id_means_the_only_sweep_that_begins_like_it(given: str, meant: str) -> None:
    assert ids.sweep_or_trial(Sweeps(NEWEST_FIRST), given) == meant


def test_a_whole_id_asks_the_service_nothing() -> None:
    client = Sweeps([])
    assert ids.sweep(client, "sw0000000000") == "sw0000000000"
    assert ids.trial(client, "sw0000000000-3") == "sw0000000000-0003"
    assert client.asked == 0


@pytest.mark.parametrize("given", ["", "nosuch", "sw99", "digits", "sw12-x", "SW12", "../x", "swabcdef01234"])
def test_what_no_sweep_begins_with_is_not_found(given: str) -> None:
    with pytest.raises(NotFoundError, match="there is no"):
        ids.sweep_or_trial(Sweeps(NEWEST_FIRST), given)


def test_a_beginning_of_several_ids_names_them() -> None:
    with pytest.raises(
        UserError, match=r"2 sweeps.*swabcdef0123 \(name of swabcdef0123\), swabcd000000.*more of the id"
    ):
        ids.sweep(Sweeps(NEWEST_FIRST), "swabcd")


def test_there_is_no_last_sweep_before_the_first() -> None:
    with pytest.raises(NotFoundError, match="there are no sweeps yet"):
        ids.sweep(Sweeps([]), "last")


def test_a_trial_is_no_sweep_and_a_sweep_no_trial() -> None:
    client = Sweeps(NEWEST_FIRST)
    with pytest.raises(UserError, match="last-3 is a trial; this command takes a sweep, such as sw1234567890"):
        ids.sweep(client, "last-3")
    with pytest.raises(UserError, match="last is a sweep; this command takes a trial, such as sw1234567890-0"):
        ids.trial(client, "last")

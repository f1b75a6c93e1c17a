"""Ids of sweeps and trials as users type them: whole, shortened to a beginning that no other sweep has, or ``last``.

sw2512385c0c        a sweep
sw2512              the same, if no other sweep's id begins like that
last                the newest sweep that is not archived
sw2512-7, last-7    trial 7 of it
"""

from __future__ import annotations

import re

from service.cli.errors import NotFoundError, UserError
from service.client import RestClient

LAST = "last"
SEARCHED = 2_000
"""How many sweeps, the newest first, are searched for a beginning."""
_SWEEP = re.compile(r"sw[0-9a-f]{10}")
_BEGINNING = re.compile(r"sw[0-9a-f]{0,9}|[0-9a-f]{2,9}")


def sweep(client: RestClient, given: str) -> str:
    """Return the whole id of the sweep that a user means.

    Raises:
        NotFoundError: No sweep has such an id.
        UserError: Several sweeps have it, or a trial is meant.
    """
    found = sweep_or_trial(client, given)
    if "-" in found:
        raise UserError(f"{given} is a trial; this command takes a sweep, such as {found.partition('-')[0]}")
    return found


def trial(client: RestClient, given: str) -> str:
    """Return the whole id of the trial that a user means.

    Raises:
        NotFoundError: No sweep has such an id.
        UserError: Several sweeps have it, or a sweep is meant.
    """
    found = sweep_or_trial(client, given)
    if "-" not in found:
        raise UserError(f"{given} is a sweep; this command takes a trial, such as {found}-0")
    return found


def sweep_or_trial(client: RestClient, given: str) -> str:
    """Return the whole id of the sweep or trial that a user means; a text that can be no id as it is.

    Raises:
        NotFoundError: No sweep has such an id.
        UserError: Several sweeps have it.
    """
    own, hyphen, number = given.strip().partition("-")
    if hyphen and not number.isdecimal():
        raise NotFoundError(f"there is no trial {given!r}; a trial is SWEEP-NUMBER, as in last-7")
    if not _SWEEP.fullmatch(own):
        own = _last(client) if own == LAST else _by_beginning(client, own)
    return f"{own}-{int(number):04d}" if hyphen else own


def _last(client: RestClient) -> str:
    newest = next(iter(client.sweeps(limit=1)), None)
    if newest is None:
        words = "there are no sweeps yet, or all of them are archived (spectral ls --archived)"
        raise NotFoundError(f"{words}. Submit one with: spectral submit FILE")
    return str(newest["id"])


def _by_beginning(client: RestClient, given: str) -> str:
    if not _BEGINNING.fullmatch(given):
        raise NotFoundError(f"there is no sweep {given!r}; spectral ls lists them")
    beginning = given if given.startswith("sw") else f"sw{given}"
    found = [row for row in client.sweeps(limit=SEARCHED, archived=None) if row["id"].startswith(beginning)]
    if not found:
        raise NotFoundError(f"there is no sweep whose id begins with {given!r}; spectral ls lists them")
    if len(found) > 1:
        some = ", ".join(f"{row['id']} ({row['name']})" for row in found[:3])
        raise UserError(f"{len(found)} sweeps have ids that begin with {given!r}: {some}; give more of the id")
    return str(found[0]["id"])

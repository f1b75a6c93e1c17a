"""``spectral audit``: what was changed in a service, and what it refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from service.cli.store_access import StoreOption, opened


def audit(
    owner: Annotated[str | None, typer.Option(help="Only what this owner did.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The most entries to print.")] = 50,
    home: StoreOption = None,
) -> None:
    """Print the audit log, the newest entry first: time, owner, token, address, status, call, subject, reason.

    Like spectral token it works on the database itself. Columns are separated by tabs, times are in UTC.
    """
    from service.access.administration import read_audit

    with opened(home) as database:
        rows = read_audit(database, limit, owner, refused)
    for row in rows:
        at = datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        columns = (at, row.owner, row.token_id, row.client, row.status, row.action, row.subject, row.reason)
        typer.echo("\t".join("-" if value in (None, "") else _plain(str(value)) for value in columns))


def _plain(text: str) -> str:
    """Return a text without what moves a terminal's cursor: strangers choose the paths that they ask for."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

"""``spectral token``: who may use the service. The commands work on the database itself, so they need no token."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli.errors import UserError
from service.cli.store_access import StoreOption, opened

if TYPE_CHECKING:
    from service.store.tables import Token

app = typer.Typer(
    no_args_is_help=True, help="Make, list and revoke tokens, on the machine of the service or of its database."
)

SECONDS = {"h": 3_600.0, "d": 86_400.0}
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}")

FRACTIONS = ("requests_per_second", "weight", "running_cpus", "running_gpus")
"""The limits that need not be whole numbers."""
SMALLEST = {"requests_per_second": 0.1, "weight": 0.001, "highest_priority": -100}
"""The smallest values of limits for which that is not 0."""

LimitOption = Annotated[str | None, typer.Option(metavar="N|default")]


@app.command()
def create(
    owner: Annotated[str, typer.Option(help="Whose token it is; sweeps that it submits are theirs.")],
    scope: Annotated[
        Literal["read", "submit", "admin"],
        typer.Option(help="read; submit, which includes read; or admin: everything, and the sweeps of all owners."),
    ] = "submit",
    expires: Annotated[str, typer.Option(help="For how long it is valid: 30d, 12h or never.")] = "90d",
    home: StoreOption = None,
) -> None:
    """Make a token and print it, once: it is not stored, and cannot be printed again."""
    from service.access.administration import create_token

    if not OWNER.fullmatch(owner):
        raise UserError(f"--owner is {owner!r}; allowed: up to 60 letters, digits, and . _ @ - after the first")
    seconds = _seconds(expires)
    with opened(home) as database:
        token, text = create_token(database, owner, scope, seconds)
    typer.echo(text)
    until = "never ends" if token.expires_at is None else f"is valid until {_time(token.expires_at)}"
    print(
        f"The token above is shown once. It belongs to {owner}, has the scope {scope} and {until}.\n"
        "Give it to programs as SPECTRAL_TOKEN, or in a file of mode 600 as SPECTRAL_TOKEN_FILE; the web page asks for "
        f"it.\nRevoke it with: spectral token revoke {token.id}",
        file=sys.stderr,
    )


@app.command(name="list")
def list_tokens(home: StoreOption = None) -> None:
    """List the tokens, without their secrets."""
    from rich.console import Console
    from rich.table import Table

    from service.access.administration import list_tokens as listed

    with opened(home) as database:
        rows = listed(database)
    if not rows:
        typer.echo("There are no tokens yet. Make one with: spectral token create --owner NAME")
        return
    table = Table("id", "owner", "scope", "state", "created", "expires", "last used", box=None, pad_edge=False)
    for row in rows:
        used = "never" if row.used_at is None else _time(row.used_at)
        expires = "never" if row.expires_at is None else _time(row.expires_at)
        table.add_row(row.id, row.owner, row.scope, _state(row), _time(row.created_at), expires, used)
    Console(highlight=False).print(table)


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(help="The id of a token: the part between the two _, as list prints it.")],
    home: StoreOption = None,
) -> None:
    """Revoke a token at once, with the sessions of browsers that signed in with it."""
    from service.access.administration import revoke_token
    from service.store.errors import NotFound

    with opened(home) as database:
        try:
            token = revoke_token(database, id)
        except NotFound as error:
            raise UserError(f"{error}; spectral token list shows the ids") from None
    typer.echo(f"{token.id} of {token.owner} is revoked")


@app.command()
def limits(
    owner: Annotated[str, typer.Argument(help="An owner, as list prints it.")],
    requests_per_second: LimitOption = None,
    running_trials: LimitOption = None,
    open_sweeps: LimitOption = None,
    open_trials: LimitOption = None,
    stored_bytes: LimitOption = None,
    weight: LimitOption = None,
    running_cpus: LimitOption = None,
    running_gpus: LimitOption = None,
    highest_priority: LimitOption = None,
    home: StoreOption = None,
) -> None:
    """Set how much of the service an owner may have at a time, and print it. Without options it is only printed."""
    from service.access.administration import limit_owner
    from service.store.errors import NotFound
    from service.store.owners import limits_of

    given = {
        "requests_per_second": requests_per_second,
        "running_trials": running_trials,
        "open_sweeps": open_sweeps,
        "open_trials": open_trials,
        "stored_bytes": stored_bytes,
        "weight": weight,
        "running_cpus": running_cpus,
        "running_gpus": running_gpus,
        "highest_priority": highest_priority,
    }
    wanted = {name: _limit(name, text) for name, text in given.items() if text is not None}
    with opened(home) as database:
        try:
            found = limits_of(limit_owner(database, owner, wanted))
        except NotFound as error:
            raise UserError(f"{error}; spectral token list shows the owners") from None
    for name, value in vars(found).items():
        typer.echo(f"{name:<20} {'no limit' if value is None else f'{value:,.12g}'}")


def _limit(name: str, text: str) -> int | float | None:
    """Return a limit as a number, or None for ``default``. Raises UserError if it is neither."""
    if text == "default":
        return None
    number: Any = float if name in FRACTIONS else int
    try:
        value = number(text)
    except ValueError:
        value = float("nan")
    smallest = SMALLEST.get(name, 0)
    if not smallest <= value < (2**53 if name == "stored_bytes" else 2**31):
        option = name.replace("_", "-")
        raise UserError(f"--{option} is {text!r}; allowed: a number from {smallest}, or default")
    return value  # type: ignore[no-any-return]  # int and float are both numbers here


def _seconds(text: str) -> float | None:
    """Return a duration such as ``30d`` in seconds, or None for ``never``. Raises UserError if it is neither."""
    if text == "never":
        return None
    match = re.fullmatch(r"([0-9]{1,5})([hd])", text)
    if match is None or int(match[1]) == 0:
        raise UserError(f"--expires is {text!r}; allowed: a number of days or hours, such as 30d or 12h, or never")
    return int(match[1]) * SECONDS[match[2]]


def _state(token: Token) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= time.time() else "valid"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")

"""The database on which an administrator's commands work: that of a home, or the one that the environment names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.errors import UserError

if TYPE_CHECKING:
    from service.store.database import Database

DEFAULT_HOME = Path("spectral-home")
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Folder of the service on this machine. Without it SPECTRAL_DATABASE_URL counts, then ./spectral-home.",
    ),
]


@contextmanager
def opened(home: Path | None) -> Iterator[Database]:
    """Open the database of a service for the block.

    Args:
        home: The home of ``spectral up``; None for the database that SPECTRAL_DATABASE_URL names or, if it is not set,
            that of the home in this folder.

    Raises:
        UserError: There is no database, it has no tables yet, or it does not answer.
    """
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    from service.access.administration import is_ready
    from service.store.database import Database

    url = None if home is not None else os.environ.get("SPECTRAL_DATABASE_URL")
    if not url:
        folder = (home or DEFAULT_HOME).expanduser().resolve()
        path = folder / "spectral.db"
        if not path.is_file():
            raise UserError(
                f"there is no database in {folder}; give --home with the folder that spectral up prints as Data, or "
                "set SPECTRAL_DATABASE_URL. A service that was never started has no database yet"
            )
        url = f"sqlite:///{path}"
    try:
        database = Database(url)
    except ArgumentError:
        raise UserError("SPECTRAL_DATABASE_URL is not the address of a database, such as sqlite:///PATH") from None
    try:
        if not is_ready(database):
            raise UserError("the database has no tables for tokens yet; start the service once, which creates them")
        yield database
    except SQLAlchemyError as error:
        raise UserError(f"the database does not do this: {type(error).__name__}. Is it the right one?") from error
    finally:
        database.close()

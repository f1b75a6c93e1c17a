"""The console of standard output."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console

UNBOUNDED = 10_000
"""More columns than a line of any table has."""


def console_on(stream: TextIO) -> Console:
    """Return a console that writes to standard output, as wide as its terminal.

    In a pipe and in a file lines are as long as what they say, so that other programs find all columns of a table in
    them, unless the environment variable ``COLUMNS`` gives a width.

    Args:
        stream: What standard output is.
    """
    bounded = stream.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if bounded else UNBOUNDED)

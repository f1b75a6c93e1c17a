"""Mistakes as people read them: what is wrong, what was given, what is allowed; exit code 2, no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

EXIT = 2


class Mistake(Exception):
    """Something the user can put right; ``errors`` are fields with given, problem and allowed."""

    def __init__(self, message: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        self.errors = errors
        super().__init__(message)


@contextmanager
def told() -> Iterator[None]:
    """Print a mistake of the user, or a refusal of the server, and exit."""
    try:
        yield
    except Mistake as mistake:
        _exit(str(mistake), mistake.errors)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        from service.client import ApiError, ServiceUnreachable

        if isinstance(error, ApiError):
            _exit(f"{error.problem.get('title')}: {error.problem.get('detail')}", error.errors)
        if isinstance(error, ServiceUnreachable):
            _exit(f"{error}\nStart the service with: spectral up\nElsewhere? Give --url or set SPECTRAL_URL.")
        raise


def _exit(message: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
    if errors:
        message = message.partition(":")[0]
    print(message, file=sys.stderr)
    for error in errors:
        print(f"  {error['field']} {error['problem']}", file=sys.stderr)
        print(f"    given:   {error['given']!r}", file=sys.stderr)
        print(f"    allowed: {error['allowed']}", file=sys.stderr)
    sys.exit(EXIT)

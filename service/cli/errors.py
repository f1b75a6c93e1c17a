"""Errors as a user reads them: what is wrong, what was given, what is allowed. Exit code 2 and no traceback."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

EXIT_CODE = 2
BROKEN_PIPE_CODE = 141
"""What a shell reports of a program that wrote to a closed pipe: 128 and the number of SIGPIPE."""
OWN_PACKAGES = frozenset({"service", "workers", "spectral"})


class UserError(Exception):
    """Something that the user can put right.

    Args:
        message: What is wrong.
        errors: The wrong fields, each with ``field``, ``given``, ``problem`` and ``allowed``.
    """

    def __init__(self, message: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        self.errors = errors
        super().__init__(message)


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors of the user, refusals of the server and missing packages into a message and exit code 2."""
    try:
        yield
    except UserError as error:
        _exit(str(error), error.errors)
    except BrokenPipeError:
        # the reader has gone: what is left in the buffer must not raise once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE_CODE)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in OWN_PACKAGES:
            raise
        _exit(f"this command needs the package {package}; install it with: pip install 'spectral-rnn-service[all]'")
    except Exception as error:
        from service.client import ApiError, ServiceUnreachable

        if isinstance(error, ApiError):
            _exit(f"{error.problem.get('title')}: {error.problem.get('detail')}", error.errors)
        if isinstance(error, ServiceUnreachable):
            _exit(
                f"{error}\nStart the service with: spectral up\n"
                "If it runs elsewhere, give its address with --url or SPECTRAL_URL."
            )
        raise


def _exit(message: str, errors: Sequence[Mapping[str, Any]] = ()) -> NoReturn:
    if errors:
        message = message.partition(":")[0]
    print(message, file=sys.stderr)
    for error in errors:
        print(f"  {error['field']} {error['problem']}", file=sys.stderr)
        print(f"    given:   {json.dumps(error['given'], ensure_ascii=False, default=str)}", file=sys.stderr)
        print(f"    allowed: {error['allowed']}", file=sys.stderr)
    sys.exit(EXIT_CODE)

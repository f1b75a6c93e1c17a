"""Print errors as a user reads them, with an exit code and without a traceback.

The exit code is 2 for a mistake that the user can put right, 4 if what is asked for is not there, and 5 if no service
answers.

Of a wrong field the message says what is wrong with it, what was given and what is allowed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

EXIT_CODE = 2
NOT_FOUND_CODE = 4
UNREACHABLE_CODE = 5
BROKEN_PIPE_CODE = 141
"""What a shell reports of a program that wrote to a closed pipe: 128 and the number of SIGPIPE."""
SIGN_IN = (
    "Give a token with --token-file, SPECTRAL_TOKEN or SPECTRAL_TOKEN_FILE. An administrator makes one on the machine "
    "of the service with: spectral token create --owner NAME"
)
OWN_PACKAGES = frozenset({"service", "workers", "spectral"})


class UserError(Exception):
    """A mistake that the user can put right, in the command line or in a file.

    Args:
        message: What is wrong. If there are ``errors``, it is printed up to its first colon.
        errors: The wrong fields of the sweep, each with ``field``, ``given``, ``problem`` and ``allowed``; each is
            printed below the message.
    """

    def __init__(self, message: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        self.errors = errors
        super().__init__(message)


class NotFoundError(UserError):
    """What the user asks for is not there."""


@contextmanager
def reported() -> Iterator[None]:
    """Print expected exceptions of the block as messages on standard error, and exit with their code.

    Expected are UserError, a refusal by the service (ApiError), no service at the address (ServiceUnreachable), an
    address or a proxy that cannot be used (ConnectionUnusable), a token that is none (TokenUnusable) and a package that
    is not installed. If the reader of standard output has gone, the exit code is ``BROKEN_PIPE_CODE``, and nothing is
    printed. Other exceptions pass through.
    """
    try:
        yield
    except NotFoundError as error:
        _exit(f"Not found: {error}", code=NOT_FOUND_CODE)
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
        from service.access.token_source import TokenUnusable
        from service.client import ApiError, ServiceUnreachable
        from service.http_client import ConnectionUnusable

        if isinstance(error, ApiError):
            text = f"{error.problem.get('title')}: {error.problem.get('detail')}"
            code = NOT_FOUND_CODE if error.status == 404 else EXIT_CODE
            _exit(f"{text}\n{SIGN_IN}" if error.status == 401 else text, error.errors, code=code)
        if isinstance(error, ConnectionUnusable | TokenUnusable):
            _exit(str(error))
        if isinstance(error, ServiceUnreachable):
            _exit(
                f"{error}\nStart the service with: spectral up\n"
                "If it runs elsewhere, give its address with --url or SPECTRAL_URL.",
                code=UNREACHABLE_CODE,
            )
        raise


def _exit(message: str, errors: Sequence[Mapping[str, Any]] = (), *, code: int = EXIT_CODE) -> NoReturn:
    if errors:
        message = message.partition(":")[0]
    print(message, file=sys.stderr)
    for error in errors:
        print(f"  {error['field']}: {error['problem']}", file=sys.stderr)
        print(f"    given:   {json.dumps(error['given'], ensure_ascii=False, default=str)}", file=sys.stderr)
        print(f"    allowed: {error['allowed']}", file=sys.stderr)
    sys.exit(code)

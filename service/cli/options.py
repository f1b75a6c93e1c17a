"""Options, arguments and the console that the commands which talk to a service share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from service.access.token_source import token_to_send
from service.cli.output import console_on
from service.client import RestClient

PATIENCE_SECONDS = 1.0
"""For how many seconds a command repeats a call to a service that does not answer or answers 503."""
FOLLOW_PATIENCE_SECONDS = 60.0
"""The same of a command that follows something and whose first call was answered: the service may be restarting."""
TIMEOUT_SECONDS = 30.0
"""How long a command waits for the answer to one call, unless it says otherwise."""
HERE = "http://127.0.0.1:8000"

UrlOption = Annotated[str, typer.Option("--url", envvar="SPECTRAL_URL", help="Address of the service.")]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(help="File with the token; by default SPECTRAL_TOKEN counts, then the file of SPECTRAL_TOKEN_FILE."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON as the service answers it, for programs.")]

console = console_on(sys.stdout)


def connect(url: str, token_file: Path | None, timeout: float = TIMEOUT_SECONDS) -> RestClient:
    """Return a client of the service at an address, which repeats a call for ``PATIENCE_SECONDS``.

    Args:
        url: The address of the service.
        token_file: The file with the token, if one was given.
        timeout: For how many seconds a single call waits for its answer.
    """
    return RestClient(url, token=token_to_send(file=token_file), patience=PATIENCE_SECONDS, timeout=timeout)

"""The token that a program of the user sends: given to it, or named by the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from service.access.token_text import FORM

VARIABLE = "SPECTRAL_TOKEN"
FILE_VARIABLE = "SPECTRAL_TOKEN_FILE"


class TokenUnusable(ValueError):
    """What was given as a token is none, or its file cannot be read. The message never shows what was given."""


def token_to_send(
    token: str | None = None, file: Path | None = None, environ: Mapping[str, str] = os.environ
) -> str | None:
    """Return the token to send; None if there is none.

    Args:
        token: The token itself.
        file: A file with the token, which counts if ``token`` is None.
        environ: The environment variables: without both arguments ``SPECTRAL_TOKEN`` counts, then the file that
            ``SPECTRAL_TOKEN_FILE`` names.

    Raises:
        TokenUnusable: What counts is not a token, or cannot be read.
    """
    if token is not None:
        return _checked(token, "token")
    if file is not None:
        return _checked(_read(file, "the file of the token"), str(file))
    if environ.get(VARIABLE):
        return _checked(environ[VARIABLE], VARIABLE)
    if environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
        return _checked(_read(path, FILE_VARIABLE), f"{FILE_VARIABLE}, {path},")
    return None


def _read(path: Path, what: str) -> str:
    try:
        with path.expanduser().open(encoding="ascii", errors="replace") as opened:
            return opened.read(1000)
    except OSError as error:
        raise TokenUnusable(f"{what}: cannot read {path}: {error.strerror}") from None


def _checked(text: str, where: str) -> str:
    text = text.strip()
    if not FORM.fullmatch(text):
        raise TokenUnusable(
            f"{where} does not hold a token, which is srs_, an id of 10 characters, _ and 43 letters and digits; an "
            "administrator of the service makes one with: spectral token create"
        )
    return text

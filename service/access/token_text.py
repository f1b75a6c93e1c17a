"""The text of a token: ``srs_ID_SECRET``. Scanners for secrets find it by its form, and logs never show its secret."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import string
from urllib.parse import quote, unquote

ID_LETTERS = string.digits + string.ascii_lowercase
SECRET_LETTERS = string.digits + string.ascii_letters
SECRET_LENGTH = 43
"""So many of 62 letters are 256 bits."""
FORM = re.compile(r"srs_[0-9a-z]{10}_[0-9A-Za-z]{43}")
"""The whole text of a token."""
_SECRET, _DOTS = re.compile(r"(srs_[0-9a-z]{10}_)[0-9A-Za-z]+"), r"\1..."


def new_token() -> tuple[str, str]:
    """Return a new token: its id, which is public, and its whole text, which is secret."""
    token_id = "".join(secrets.choice(ID_LETTERS) for _ in range(10))
    secret = "".join(secrets.choice(SECRET_LETTERS) for _ in range(SECRET_LENGTH))
    return token_id, f"srs_{token_id}_{secret}"


def digest(secret: str) -> str:
    """Return the SHA-256 of a token or a cookie, by which it is stored and found."""
    return hashlib.sha256(secret.encode()).hexdigest()


def without_secrets(text: str) -> str:
    """Return a text with the secrets of all tokens in it replaced by dots, also where an address has them encoded."""
    clean = _SECRET.sub(_DOTS, text)
    if "%" in clean and _SECRET.search(decoded := unquote(clean)):
        return quote(_SECRET.sub(_DOTS, decoded), safe=string.punctuation + " ")  # a line stays one line
    return clean


class SecretFilter(logging.Filter):
    """Replaces the secrets of tokens in log records, such as those of a web server that logs addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record if it has a secret; it is always logged.

        Arguments stay apart from the message, since the formatter of a web server's records needs them.
        """
        if isinstance(record.args, tuple):
            record.args = tuple(without_secrets(part) if isinstance(part, str) else part for part in record.args)
        text = record.getMessage()
        if (clean := without_secrets(text)) != text:
            record.msg, record.args = clean, None
        return True


def hide_secrets() -> None:
    """Add the filter to the log of this process and to that of its web server, whose records have whole addresses."""
    secret = SecretFilter()
    for handler in logging.getLogger().handlers:
        handler.addFilter(secret)
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).addFilter(secret)

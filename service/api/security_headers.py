"""The headers that tell browsers what other sites may do with an answer: nothing."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Message

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
UNLESS_SET = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
"""A page sets its own policy, by which it gets its scripts and styles."""
UNLESS_SET_BELOW_V1 = {"Cache-Control": "no-store"}
UNDER_TLS = {"Strict-Transport-Security": "max-age=31536000"}


def add(message: Message, path: str, https: bool) -> None:
    """Add the headers to the start of a response, which is changed in place."""
    headers = MutableHeaders(scope=message)
    headers.update(ALWAYS)
    if https:
        headers.update(UNDER_TLS)
    for name, value in (UNLESS_SET | (UNLESS_SET_BELOW_V1 if path.startswith("/v1/") else {})).items():
        headers.setdefault(name, value)

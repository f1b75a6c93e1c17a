"""The names under which the API answers, and the pages that may change something by a browser.

A page of a stranger can let its own name lead to this machine (DNS rebinding). Its requests then look like those of our
page, but for the Host header: it has the stranger's name. An address instead of a name cannot be rebound.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable

from service.access.credentials import Headers
from service.proxies import is_loopback

LOCALHOST = "localhost"
PORTS = {"http": "80", "https": "443"}
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")
_ORIGIN = re.compile(r"(https?)://([^/?#@\s]+)")


class AllowedHosts:
    """Decides on the Host header of requests.

    Allowed are localhost and the loopback addresses in any notation, the address that the server listens on, and the
    names of the setting. A server
    that listens on every address is also reached by each of them, and by this machine's host name.

    Args:
        bound: The address that the server listens on.
        names: Further names.
    """

    def __init__(self, bound: str, names: Iterable[str] = ()) -> None:
        address = _address(bound)
        self._any_address = address is not None and address.is_unspecified
        own = [socket.gethostname()] if self._any_address else []
        self._names = {name.strip().lower().rstrip(".") for name in (LOCALHOST, bound, *own, *names)}

    def admits(self, host: str) -> bool:
        """Return whether a Host header without its port names this service."""
        if host in self._names:
            return True
        return (self._any_address and _address(host) is not None) or (_is_numeric(host) and is_loopback(host))


def host_of(headers: Headers) -> tuple[str, str] | None:
    """Return the host and the port ("" if none) of a request; None if its Host header is missing, double or wrong."""
    found = [value for name, value in headers if name == b"host"]
    match = _HOST.fullmatch(found[0].decode("latin-1")) if len(found) == 1 else None
    return None if match is None else ((match[1] or match[2]).lower().rstrip("."), match[3] or "")


def foreign_page(headers: Headers, host: tuple[str, str]) -> str | None:
    """Return why a request comes from a page of another site, as its browser says; None if it does not say so."""
    fetched = {value.decode("latin-1").lower() for name, value in headers if name == b"sec-fetch-site"}
    origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    for origin in origins:
        match = _ORIGIN.fullmatch(origin.lower())
        other = _HOST.fullmatch(match[2]) if match else None
        if match is None or other is None:
            return f"its Origin is {origin[:100]!r}, which is no page of this service"
        default = PORTS[match[1]]
        if ((other[1] or other[2]).rstrip("."), other[3] or default) != (host[0], host[1] or default):
            return f"its Origin is {origin[:100]!r}, a page of another site"
    if fetched - {"same-origin", "none"}:
        return f"its Sec-Fetch-Site is {', '.join(sorted(fetched))[:100]!r}"
    return None


def says_where_from(headers: Headers) -> bool:
    """Return whether a browser said from which page it sends the request."""
    return any(name in (b"origin", b"sec-fetch-site") for name, _ in headers)


def _is_numeric(host: str) -> bool:
    """Return whether a host is an address, in any notation such as 127.1, and no name that could be rebound."""
    return ":" in host or re.fullmatch(r"[0-9.]+|0x[0-9a-f]+", host) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

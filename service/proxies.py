"""Which proxy a connection takes: none on this machine, elsewhere the one that the environment names.

The environment names it in the variables ``http_proxy``, ``https_proxy`` and ``all_proxy``, and in ``no_proxy`` those
hosts that are reached without one; each variable in lower or upper case.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0")
"""This machine, as entries of ``no_proxy``: by name, by address, and by network for programs that know networks."""


@dataclass(frozen=True)
class Proxy:
    """A proxy that the environment names.

    Attributes:
        variable: The environment variable, as it is spelt there, such as ``HTTPS_PROXY``.
        url: Its value, with ``http://`` in front if it has no scheme. It may be malformed.
    """

    variable: str
    url: str

    def __str__(self) -> str:
        """Return the URL without user name and password, for messages."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL is this machine, without asking a name server.

    These are ``localhost``, names that end in ``.localhost``, the addresses 127.0.0.0/8 and ::1 in any notation, and
    the addresses 0.0.0.0 and ::, at which a server that listens everywhere is reached from its own machine.
    """
    name = host.lower().strip("[]").partition("%")[0].rstrip(".")
    if name in ("localhost", "localhost.localdomain") or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def proxy_for(scheme: str, host: str, port: int | None, environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy that the environment names for a connection; None for this machine and hosts of ``no_proxy``.

    The variable of the scheme counts before ``all_proxy``. Of one variable in two cases the lower one counts, also if
    it is empty.

    Args:
        scheme: ``http`` or ``https``.
        host: The host of the URL, without brackets.
        port: The port of the URL; None for the scheme's own.
        environ: The environment variables.
    """
    if is_loopback(host) or _is_exempt(host.lower(), port, _no_proxy(environ)):
        return None
    for name in (f"{scheme}_proxy", "all_proxy"):
        variable, value = _value(name, environ)
        if value:
            return Proxy(variable, value if "://" in value else f"http://{value}")
    return None


def no_proxy_on_loopback(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return ``no_proxy`` and ``NO_PROXY`` with this machine added to what the environment says in either of them.

    Both have the same value, as some programs read the one and some the other. A ``*`` exempts every host already, and
    stays alone, because most programs do not know it beside other entries.
    """
    entries = list(dict.fromkeys([*_no_proxy(environ), *LOOPBACK]))
    value = "*" if "*" in entries else ",".join(entries)
    return {"no_proxy": value, "NO_PROXY": value}


def _no_proxy(environ: Mapping[str, str]) -> list[str]:
    """Return the entries of ``no_proxy`` in both spellings, which are separated by commas or blanks."""
    return f"{environ.get('no_proxy', '')},{environ.get('NO_PROXY', '')}".replace(",", " ").split()


def _value(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the spelling and the value of a variable that is looked for in lower and then in upper case."""
    spelling = name if name in environ else name.upper()
    return spelling, environ.get(spelling, "").strip()


def _is_exempt(host: str, port: int | None, no_proxy: list[str]) -> bool:
    """Return whether ``no_proxy`` has the host, with or without its port, a domain or network it is in, or ``*``."""
    address = _address(host)
    for entry in map(str.lower, no_proxy):
        name = entry.lstrip("*.")
        if entry == "*" or name in (host, f"[{host}]", f"{host}:{port}", f"[{host}]:{port}"):
            return True
        if name and address is None and host.endswith(f".{name}"):
            return True
        if address is not None and _is_in(address, entry):
            return True
    return False


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, also in short forms such as 127.1; None if the host is a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address

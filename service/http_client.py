"""The one place where HTTP clients are made: it decides on proxies and certificates, and says why there is no client.

httpx alone would send calls to this machine to the proxy of the environment, and would end in a traceback for a proxy
or a certificate file that it cannot use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from service.proxies import Proxy, proxy_for

if TYPE_CHECKING:
    import ssl

    import httpx


MOST_PORTS = 65535
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that name the certificates of the servers to trust."""
TLS_WORDS = {
    "wrong version number": "the server there does not speak TLS; write http:// instead of https://",
    "record layer failure": "the server there does not speak TLS; write http:// instead of https://",
    "unexpected eof": "the server there ends the connection while TLS begins",
    "handshake failure": "the server there and this machine have no version or cipher of TLS in common",
}
"""What OpenSSL says of a connection, and what it means."""


class ConnectionUnusable(ConnectionError):
    """No connection can be tried: the address, the proxy or the certificates that the environment names are unusable.

    The message says what was found, and what to do.
    """


def http_client(
    url: str, *, timeout: float, certificates: Sequence[str] = CERTIFICATES, verified: bool = True
) -> httpx.Client:
    """Return an HTTP client for one server, which keeps its connections open until it is closed.

    Calls to this machine take no proxy. Calls to other machines take the one that the environment names.

    Args:
        url: The server's address, such as ``http://127.0.0.1:8000``. Paths of calls are relative to it.
        timeout: For how many seconds a call waits for the connection, or for the next part of the answer.
        certificates: Variables that may name what servers are verified with; the first that is set counts, and without
            one the certificates of certifi do. A name that ends in ``_DIR`` is that of a folder.
        verified: Whether servers have to prove who they are.

    Raises:
        ConnectionUnusable: The address, the proxy or the certificates cannot be used.
    """
    import httpx

    address = _parsed(url)
    proxy, verify = _usable_proxy(address), _verification(address, certificates, verified)
    transport = httpx.HTTPTransport(verify=verify, proxy=proxy)
    return httpx.Client(base_url=address, timeout=timeout, transport=transport, trust_env=False)


def async_http_client(url: str, *, timeout: float, connections: int = 100) -> httpx.AsyncClient:
    """Return a client as ``http_client`` does, for calls from an event loop.

    Args:
        url: The server's address.
        timeout: For how many seconds a call waits for the connection, or for the next part of the answer.
        connections: The largest number of connections; further calls wait for one.

    Raises:
        ConnectionUnusable: The address, the proxy or the certificates cannot be used.
    """
    import httpx

    address = _parsed(url)
    proxy, verify = _usable_proxy(address), _verification(address, CERTIFICATES, verified=True)
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    transport = httpx.AsyncHTTPTransport(verify=verify, proxy=proxy, limits=limits)
    return httpx.AsyncClient(base_url=address, timeout=timeout, transport=transport, trust_env=False)


def without_password(url: str) -> str:
    """Return an address without the user and the password that it may hold, for messages."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def through(url: str) -> str:
    """Return words that name the proxy by which ``http_client`` reaches an address; empty if there is none.

    Raises:
        ConnectionUnusable: It is not the address of a server.
    """
    proxy = _proxy_of(_parsed(url))
    return f" through the proxy {proxy}, which {proxy.variable} names" if proxy else ""


def reason(error: httpx.HTTPError | ConnectionUnusable) -> str:
    """Return in plain words why a call got no answer, or which error status it got."""
    import httpx

    if isinstance(error, ConnectionUnusable):
        return str(error)
    if isinstance(error, httpx.HTTPStatusError):
        return f"the answer has status {error.response.status_code}"
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, httpx.TimeoutException):
        return "the rest of the answer did not come in time"
    if isinstance(error, httpx.RemoteProtocolError):
        return "the connection was cut off, or the server there does not speak HTTP"
    text = re.sub(r"^\[[^\]]*\] *| *\(_ssl.c:\d+\)$", "", str(error)) or "the connection was cut off"
    for found, words in TLS_WORDS.items():
        if found in text.lower():
            return words
    if "certificate" in text:
        text += "; if you trust it, set SSL_CERT_FILE to a file with its issuer's certificate"
    return text[0].lower() + text[1:]


def _usable_proxy(address: httpx.URL) -> httpx.Proxy | None:
    proxy = _proxy_of(address)
    return _usable(proxy, address.host) if proxy else None


def _verification(address: httpx.URL, certificates: Sequence[str], verified: bool) -> ssl.SSLContext | bool:
    """Return what a server is verified with; False without TLS.

    An address without TLS needs no certificates: they take long to load, and the file named for them may be missing.
    """
    return _trusted(certificates) if address.scheme == "https" and verified else False


def _proxy_of(address: httpx.URL) -> Proxy | None:
    return proxy_for(address.scheme, address.host, address.port)


def _parsed(url: str) -> httpx.URL:
    import httpx

    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host or (address.port or 1) > MOST_PORTS:
        raise ConnectionUnusable(
            f"{url!r} is not the address of a server; write it like http://127.0.0.1:8000 or https://HOST, with a "
            f"port up to {MOST_PORTS}"
        )
    return address


def _usable(proxy: Proxy, host: str) -> httpx.Proxy:
    import httpx

    remedy = f"unset {proxy.variable}, or add {host} to NO_PROXY if it is reached without a proxy"
    try:
        found = httpx.Proxy(proxy.url)
        known = bool(found.url.host)
    except (httpx.InvalidURL, ValueError):  # ValueError: another scheme
        known = False
    if not known:
        raise ConnectionUnusable(
            f"{proxy.variable} is {str(proxy)!r}, which is not the address of a proxy, such as http://HOST:PORT; "
            f"correct it, {remedy}"
        )
    if found.url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConnectionUnusable(
            f"{proxy.variable} names the proxy {proxy}, and for SOCKS the package socksio is missing; "
            f"run: pip install socksio. Or {remedy}"
        )
    return found


def _trusted(variables: Sequence[str]) -> ssl.SSLContext:
    """Return what servers are verified with: what the first of the variables names, or else certifi's certificates.

    The context is not ``ssl.create_default_context``, which writes the keys of all connections to a file if the
    variable SSLKEYLOGFILE names one.
    """
    import ssl

    import certifi

    variable = next((name for name in variables if os.environ.get(name)), "")
    path = os.environ[variable] if variable else certifi.where()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if variable.endswith("_DIR"):
            os.listdir(path)
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        kind = "a folder of certificates" if variable.endswith("_DIR") else "a file with certificates in PEM format"
        raise ConnectionUnusable(
            f"{variable or 'the package certifi'} names {path!r}, which cannot be read as {kind}; correct or unset it"
        ) from error
    return context

"""Send one message to one webhook: no redirect is followed, and nothing inside is called unless it is meant."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import httpx

from service.http_client import ConnectionUnusable, async_http_client, reason, through
from service.webhooks.targets import WebhookTarget

SECONDS = 15.0
"""How long a try may take, from looking up the name to the status of the answer."""
GONE = 410
"""The status by which a server says that it does not want this message, nor any other."""


class NotDelivered(Exception):
    """The webhook did not say by a status from 200 to 299 that it has the message.

    Attributes:
        gone: Whether it is not to be tried again.
    """

    def __init__(self, why: str, *, gone: bool = False) -> None:
        self.gone = gone
        super().__init__(why)


async def send(target: WebhookTarget, body: bytes, headers: dict[str, str]) -> None:
    """Send a message, and return once the webhook has it. What it answers beside the status is not read.

    Raises:
        NotDelivered: It answers otherwise, or not within ``SECONDS``, or must not be called.
    """
    try:
        status = await asyncio.wait_for(_post(target, body, headers), SECONDS)
    except TimeoutError:
        raise NotDelivered(f"no answer within {SECONDS:g} s") from None
    except (httpx.HTTPError, ConnectionUnusable) as error:
        raise NotDelivered(reason(error)) from None
    except (OSError, httpx.InvalidURL) as error:
        raise NotDelivered(f"its address cannot be found: {error}") from None
    if not 200 <= status < 300:
        raise NotDelivered(f"the answer has status {status}", gone=status == GONE)


async def _post(target: WebhookTarget, body: bytes, headers: dict[str, str]) -> int:
    url = httpx.URL(target.url)
    extensions: dict[str, Any] = {}
    if not through(target.url):  # a proxy looks up names by itself
        address = await _address_of(target, url)
        headers = headers | {"host": url.netloc.decode()}
        extensions = {"sni_hostname": url.host}
        url = url.copy_with(host=address)
    async with (
        async_http_client(target.url, timeout=SECONDS, connections=1) as http,
        http.stream("POST", url, content=body, headers=headers, extensions=extensions) as answer,
    ):
        return answer.status_code


async def _address_of(target: WebhookTarget, url: httpx.URL) -> str:
    """Return the address to call: looked up once, so that it cannot change between this check and the call."""
    port = url.port or (443 if url.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not target.private and not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise NotDelivered(f"{url.host} is at {address}, which is not public, and the webhook is not private")
    return addresses[0]

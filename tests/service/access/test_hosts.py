"""Names that lead here by a stranger's will, and pages of other sites: refused, also where no tokens are required."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from service.access.hosts import AllowedHosts
from service.settings import ApiSettings, wrong_settings
from service.store import sweeps
from service.store.database import Database
from tests.service.api.test_errors import problem
from tests.service.conftest import serving

ROUTES = [
    ("GET", "/"),
    ("GET", "/v1/sweeps"),
    ("GET", "/health/live"),
    ("GET", "/page/page.js"),
    ("POST", "/v1/sweeps"),
]


@pytest.fixture(params=["none", "tokens"])
def settings(request: pytest.FixtureRequest, url: str) -> ApiSettings:
    return ApiSettings(database_url=url, auth=request.param, allowed_hosts="spectral.example, Other.example.")


@pytest.fixture
def open_api(url: str) -> Iterator[httpx.Client]:
    """The service as it is by default: on loopback, without tokens."""
    with serving(ApiSettings(database_url=url)) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1"]
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_stranger_s_name_for_this_machine_is_refused(api: httpx.Client, method: str, path: str, host: str) -> None:
    answer = api.request(method, path, headers={"Host": host, "Origin": f"http://{host}"})
    assert "SPECTRAL_ALLOWED_HOSTS" in problem(answer, 421)["detail"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST:80", "[::1]:8000", "spectral.example", "other.example:443"]
)
def test_own_names_are_answered(api: httpx.Client, host: str) -> None:
    assert api.get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["", "a b", "x/y", "user@localhost", "localhost:port", "[::1", "localhost:8000:1"])
def test_a_host_that_is_none_is_refused(api: httpx.Client, host: str) -> None:
    assert api.get("/health/live", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
def test_no_host_and_several_are_refused(base_url: str, hosts: list[str]) -> None:
    port = int(base_url.rpartition(":")[2])
    lines = ["GET /health/live HTTP/1.1", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "https://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": "file://"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing_without_tokens_either(
    open_api: httpx.Client, database: Database, document: dict[str, Any], sent: dict[str, str]
) -> None:
    id = open_api.post("/v1/sweeps", json=document).json()["id"]
    for path in (f"/v1/sweeps/{id}/cancel", "/v1/sweeps", "/v1/sweeps/validate", "/v1/session"):
        answer = open_api.post(path, json=document, headers=sent)
        assert problem(answer, 403)["title"] == "Foreign page"
        assert "access-control-allow-origin" not in answer.headers
    with database.read() as session:
        assert [row.state for row in sweeps.page(session)] == ["queued"]


def test_the_page_itself_and_programs_may_change_something(open_api: httpx.Client, document: dict[str, Any]) -> None:
    own = f"http://127.0.0.1:{open_api.base_url.port}"
    for sent in ({}, {"Origin": own}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert open_api.post("/v1/sweeps", json=document, headers=sent).status_code == 202
    proxied = {"Host": "localhost", "Origin": "https://localhost"}
    assert open_api.post("/v1/sweeps", json=document, headers=proxied).status_code == 202


def test_a_server_on_every_address_is_reached_by_each_and_by_its_host_name() -> None:
    hosts = AllowedHosts("0.0.0.0", ["api"])
    own = (socket.gethostname().lower(), "api", "10.1.2.3", "fe80::1", "localhost")
    assert all(hosts.admits(name) for name in own)
    assert not hosts.admits("evil.example")
    assert not AllowedHosts("10.1.2.3").admits("10.1.2.4")


@pytest.mark.parametrize(
    "path", ["/", "/v1/sweeps", "/page/page.js", "/nowhere", "/health/ready", "/v1/sweeps/sw1?x=1"]
)
def test_every_answer_tells_browsers_to_keep_others_out(api: httpx.Client, path: str) -> None:
    headers = api.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    if path.startswith("/v1/"):
        assert headers["cache-control"] == "no-store"
    if path == "/":
        assert headers["content-security-policy"].startswith("default-src 'self'; ")
        assert "script-src" not in headers["content-security-policy"], "the page has no inline script"


def test_only_scripts_and_styles_of_the_page_are_served(api: httpx.Client) -> None:
    assert api.get("/page/page.css").status_code == 200
    for name in ("__init__.py", "index.html", "__pycache__/__init__.cpython-311.pyc", "..%2fgate.py", ""):
        assert api.get(f"/page/{name}").status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "spectral.example"])
def test_no_tokens_on_a_public_address_refuse_to_start(host: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ApiSettings(host=host, auth="none")
    assert wrong_settings(caught.value) == (
        f"SPECTRAL_AUTH: 'none' would let everyone who reaches {host} read, submit and cancel sweeps, with "
        f"SPECTRAL_HOST={host}; allowed: auto or tokens; or 127.0.0.1 as SPECTRAL_HOST, behind a proxy of yours that "
        "asks for passwords"
    )
    assert ApiSettings(host=host).requires_tokens


def test_an_empty_host_is_every_address_and_needs_tokens() -> None:
    with pytest.raises(ValidationError) as caught:
        ApiSettings(host="", auth="none")
    assert "would let everyone who reaches this machine read" in wrong_settings(caught.value)
    assert ApiSettings(host="").requires_tokens


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_tokens_are_required_only_if_asked_for(host: str) -> None:
    assert not ApiSettings(host=host).requires_tokens
    assert not ApiSettings(host=host, auth="none").requires_tokens
    assert ApiSettings(host=host, auth="tokens").requires_tokens

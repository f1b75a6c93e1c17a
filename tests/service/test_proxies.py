"""Which proxy a connection takes: loopback none, whatever the environment says, and other hosts what it says."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from requests.utils import get_environ_proxies

from service.proxies import is_loopback, no_proxy_on_loopback, proxy_for

CLOSED = "http://127.0.0.1:9"
HERE = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "127.0.0.1",
    "127.8.9.10",
    "127.1",
    "2130706433",
    "0x7f.1",
]
HERE += ["::1", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "0.0.0.0", "::", "::1%lo"]
ELSEWHERE = [
    "example.org",
    "localhost.example.org",
    "notlocalhost",
    "127.0.0.1.nip.io",
    "128.0.0.1",
    "10.0.0.1",
    "mlflow",
]
ELSEWHERE += ["::2", "fe80::1", "::ffff:10.0.0.1", ""]


@pytest.mark.parametrize("host", HERE)
def test_this_machine_in_every_notation(host: str) -> None:
    assert is_loopback(host)
    assert proxy_for("http", host, 8000, {"http_proxy": CLOSED, "ALL_PROXY": CLOSED}) is None


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_loopback(host)
    assert proxy_for("http", host, 8000, {"http_proxy": CLOSED}) is not None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"http_proxy": "http://p:1"}, ("http_proxy", "http://p:1")),
        ({"HTTP_PROXY": "http://p:1"}, ("HTTP_PROXY", "http://p:1")),
        ({"https_proxy": "http://p:1"}, None),
        ({"ALL_PROXY": "socks5://p:1"}, ("ALL_PROXY", "socks5://p:1")),
        ({"http_proxy": "http://p:1", "all_proxy": "http://q:1"}, ("http_proxy", "http://p:1")),
        ({"http_proxy": "http://p:1", "HTTP_PROXY": "http://q:1"}, ("http_proxy", "http://p:1")),
        ({"http_proxy": "", "HTTP_PROXY": "http://q:1"}, None),
        ({"http_proxy": "p:1"}, ("http_proxy", "http://p:1")),
        ({"http_proxy": " http://p:1 "}, ("http_proxy", "http://p:1")),
        ({"http_proxy": "http://p:1", "no_proxy": "example.org"}, None),
        ({"http_proxy": "http://p:1", "NO_PROXY": "example.org"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "", "NO_PROXY": ".example.org"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "a, *.example.org ,b"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "a EXAMPLE.org"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "api.example.org:8000"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "api.example.org:8001"}, ("http_proxy", "http://p:1")),
        ({"http_proxy": "http://p:1", "no_proxy": "ample.org"}, ("http_proxy", "http://p:1")),
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": ",,"}, ("http_proxy", "http://p:1")),
    ],
)
def test_a_far_host_takes_the_proxy_of_the_environment(environ: dict[str, str], expected: Any) -> None:
    found = proxy_for("http", "api.example.org", 8000, environ)
    assert (found and (found.variable, found.url)) == expected


@pytest.mark.parametrize(
    ("host", "no_proxy", "exempt"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "2.3", False),
        ("fd00::5", "fd00::/8", True),
        ("fd00::5", "[fd00::5]:8000", True),
        ("fd00::5", "10.0.0.0/8", False),
    ],
)
def test_networks_exempt_addresses(host: str, no_proxy: str, exempt: bool) -> None:
    assert (proxy_for("http", host, 8000, {"http_proxy": CLOSED, "NO_PROXY": no_proxy}) is None) == exempt


def test_a_password_is_not_shown() -> None:
    found = proxy_for("https", "example.org", None, {"HTTPS_PROXY": "http://me:se@cret@p:1"})
    assert str(found) == "http://p:1"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, []),
        ({"NO_PROXY": "example.org"}, ["example.org"]),
        ({"no_proxy": "example.org,.corp"}, ["example.org", ".corp"]),
        ({"no_proxy": "a", "NO_PROXY": "b, c"}, ["a", "b", "c"]),
        ({"NO_PROXY": "10.0.0.0/8,localhost"}, ["10.0.0.0/8", "localhost"]),
        ({"NO_PROXY": "a b"}, ["a", "b"]),
    ],
)
def test_no_proxy_is_extended_and_loses_nothing(environ: dict[str, str], expected: list[str]) -> None:
    found = no_proxy_on_loopback(environ)
    assert found["no_proxy"] == found["NO_PROXY"]
    entries = found["NO_PROXY"].split(",")
    assert entries[: len(expected)] == expected
    assert {"localhost", "127.0.0.1", "::1"} <= set(entries)
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize("value", ["*", "a,*", "* , b"])
def test_a_star_goes_on_exempting_all_hosts(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in no_proxy_on_loopback({"NO_PROXY": value}).items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("http_proxy", CLOSED)
    assert get_environ_proxies("http://example.org") == {}


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("given", [{}, {"NO_PROXY": "example.org"}, {"no_proxy": "example.org", "NO_PROXY": "b"}])
def test_the_libraries_of_mlflow_and_others_obey_it(
    name: str, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, CLOSED)
    for exempt, text in no_proxy_on_loopback(given).items():
        monkeypatch.setenv(exempt, text)
    for host in ("127.0.0.1", "127.1", "127.9.9.9", "localhost", "a.localhost", "[::1]", "0.0.0.0"):
        assert get_environ_proxies(f"http://{host}:5000/api") == {}  # requests, and with it MLflow's client
    assert get_environ_proxies("http://far.org:5000/api") != {}
    if given:
        assert get_environ_proxies("http://example.org/") == {}
    httpx.Client().close()  # reads the same variables, and refuses entries that it cannot parse

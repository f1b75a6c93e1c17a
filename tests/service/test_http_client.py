"""HTTP under environments made for other programs: the service on this machine is reached, far ones as they say."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from service import http_client as module
from service.client import ApiError, RestClient, ServiceUnreachable
from service.http_client import ConnectionUnusable, http_client
from service.tracking.mlflow_health import MLFLOW_CERTIFICATES, MlflowUnreachable, Probe

CLOSED = "http://127.0.0.1:9"
PROXIES = {
    "http_proxy": {"http_proxy": CLOSED},
    "HTTP_PROXY": {"HTTP_PROXY": CLOSED},
    "socks5": {"ALL_PROXY": "socks5://127.0.0.1:9"},
    "socks5h": {"all_proxy": "socks5h://127.0.0.1:9"},
    "socks4": {"ALL_PROXY": "socks4://127.0.0.1:9"},
    "beside another": {"http_proxy": CLOSED, "ALL_PROXY": "socks5://127.0.0.1:9"},
    "no scheme": {"http_proxy": "127.0.0.1:9"},
    "half a bracket": {"http_proxy": "http://[::1"},
    "no host": {"http_proxy": "://"},
    "port of words": {"HTTP_PROXY": "http://proxy:port"},
    "with a password": {"HTTP_PROXY": "http://me:se:cret@127.0.0.1:9"},
    "no_proxy empty": {"http_proxy": CLOSED, "no_proxy": ""},
    "no_proxy of others": {"http_proxy": CLOSED, "NO_PROXY": "example.org,10.0.0.0/8"},
    "no_proxy unreadable": {"http_proxy": CLOSED, "NO_PROXY": "[::1,http://[,*.*"},
    "all of them": {name: CLOSED for kind in ("http", "https", "all", "ftp") for name in (f"{kind}_proxy",)},
    "missing certificates": {"SSL_CERT_FILE": "/nowhere/certificates.pem", "REQUESTS_CA_BUNDLE": "/nowhere"},
    "missing folder of keys": {"SSLKEYLOGFILE": "/nowhere/keys.log"},
}


def use(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("environ", PROXIES.values(), ids=PROXIES)
def test_the_service_on_this_machine_is_reached(
    base_url: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, environ)
    with RestClient(base_url, patience=0) as client:
        assert list(client.sweeps()) == []


@pytest.mark.parametrize("host", ["localhost", "127.1", "0.0.0.0", "LOCALHOST", "[::ffff:127.0.0.1]"])
def test_it_is_reached_under_each_of_its_names(base_url: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"http_proxy": CLOSED, "ALL_PROXY": "socks5://127.0.0.1:9"})
    with RestClient(base_url.replace("127.0.0.1", host), patience=0) as client:
        assert list(client.sweeps()) == []


class Recorder(BaseHTTPRequestHandler):
    """A proxy that answers every request itself."""

    asked: list[str]
    status = 200
    kind = "text/plain"

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = b'{"sweeps": [], "next_cursor": null}' if self.status == 200 else b"<h1>Sign in first</h1>"
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[tuple[str, type[Recorder]]]:
    class Own(Recorder):
        asked: list[str] = []  # noqa: RUF012

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", Own
        server.shutdown()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("prefix", ["http://", "", "http://me:secret@"])
def test_a_far_service_is_reached_by_the_proxy(
    recorder: tuple[str, type[Recorder]], variable: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, proxy = recorder
    use(monkeypatch, {variable: prefix + address, "https_proxy": "socks5://127.0.0.1:9"})
    with RestClient("http://far.example:8000", patience=0) as client:
        assert list(client.sweeps()) == []
    assert [asked.partition("?")[0] for asked in proxy.asked] == ["http://far.example:8000/v1/sweeps"]


def test_an_answer_of_the_proxy_itself_names_it(
    recorder: tuple[str, type[Recorder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, proxy = recorder
    proxy.status = 407
    monkeypatch.setenv("http_proxy", f"http://me:secret@{address}")
    with RestClient("http://far.example", patience=0) as client, pytest.raises(ApiError) as caught:
        client.sweep("sw1")
    assert f"Unexpected answer through the proxy http://{address}, which http_proxy names (407)" in str(caught.value)
    assert "Sign in first" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_page_of_another_server_is_not_shown(
    recorder: tuple[str, type[Recorder]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, server = recorder
    server.status, server.kind = 404, "text/html; charset=utf-8"
    with RestClient(f"http://{address}", patience=0) as client, pytest.raises(ApiError) as caught:
        client.sweep("sw1")
    assert f"http://{address} answers with text/html, which this service does not send" in str(caught.value)
    assert "Sign in first" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "port", "words"),
    [
        ("https", None, "the server there does not speak TLS; write http:// instead of https://"),
        ("http", 99_999_999, "is not the address of a server"),
        ("http", 70_000, "with a port up to 65535"),
    ],
)
def test_an_address_that_no_server_of_ours_has_says_what_to_write(
    recorder: tuple[str, type[Recorder]], scheme: str, port: int | None, words: str
) -> None:
    host, own = recorder[0].split(":")
    with (
        pytest.raises(ConnectionError, match=words),
        RestClient(f"{scheme}://{host}:{port or own}", patience=0) as client,
    ):
        client.sweep("sw1")


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    with RestClient("http://far.example", patience=0) as client, pytest.raises(ServiceUnreachable) as caught:
        client.sweep("sw1")
    assert str(caught.value) == (
        "no answer from http://far.example through the proxy http://127.0.0.1:9, which HTTP_PROXY names: connection "
        "refused. If it is reached without a proxy, add far.example to NO_PROXY"
    )


def test_an_mlflow_behind_such_a_proxy_stops_no_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks4://127.0.0.1:9")
    probe = Probe("http://mlflow.example:5000")
    for _ in range(2):
        with pytest.raises(MlflowUnreachable, match=r"MLflow does not answer .*: HTTP_PROXY is 'socks4://127.0.0.1:9'"):
            probe.check()
    monkeypatch.setenv("HTTP_PROXY", CLOSED)
    with pytest.raises(MlflowUnreachable, match=r"MLflow does not answer .*: connection refused"):
        probe.check()
    probe.close()


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks_without_its_package_is_said(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:9")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ConnectionUnusable) as caught:
        RestClient("http://far.example")
    assert str(caught.value) == (
        f"ALL_PROXY names the proxy {scheme}://127.0.0.1:9, and for SOCKS the package socksio is missing; run: pip "
        "install socksio. Or unset ALL_PROXY, or add far.example to NO_PROXY if it is reached without a proxy"
    )


@pytest.mark.parametrize(
    "value", ["http://[::1", "://", "http://proxy:port", "socks4://p:1", "ftp://p", "http://", "file:///x"]
)
def test_a_malformed_proxy_is_named_for_a_far_service(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", value)
    with pytest.raises(ConnectionUnusable, match=r"^https_proxy is .* is not the address of a proxy"):
        RestClient("https://far.example")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "localhost:8000", "", "http://", "ftp://far", "http://[::1", "x", "http://a:b"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(
        ConnectionUnusable, match=r"is not the address of a server; write it like http://127\.0\.0\.1:8000"
    ):
        RestClient(address)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_cannot_be_read_are_named(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "words.pem").write_text("no certificate")
    for path in (tmp_path / "missing", tmp_path / "words.pem"):
        monkeypatch.setenv(variable, str(path))
        with pytest.raises(ConnectionUnusable, match=f"^{variable} names '{path}', which cannot be read"):
            http_client("https://far.example", timeout=1)


def test_no_keys_of_connections_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    with http_client("https://far.example", timeout=1), http_client("http://127.0.0.1:1", timeout=1):
        assert not keys.exists()


@pytest.fixture
def own_tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server with a certificate of its own, and the file of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    both = tmp_path / "server.pem"
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    both.write_bytes(encoded + certificate.public_bytes(Encoding.PEM))
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)

    class Own(Recorder):
        asked: list[str] = []  # noqa: RUF012

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"https://localhost:{server.server_port}", file
        server.shutdown()


def test_an_mlflow_with_a_certificate_of_its_own_is_trusted_as_its_client_does(
    own_tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = own_tls
    for variable in (*MLFLOW_CERTIFICATES, "MLFLOW_TRACKING_INSECURE_TLS"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(MlflowUnreachable, match="certificate verify failed"):
        Probe(url).check()
    for variable, value in (
        ("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate)),
        ("REQUESTS_CA_BUNDLE", str(certificate)),
        ("SSL_CERT_FILE", str(certificate)),
        ("MLFLOW_TRACKING_INSECURE_TLS", "true"),
    ):
        monkeypatch.setenv(variable, value)
        probe = Probe(url)
        probe.check()
        probe.close()
        monkeypatch.delenv(variable)


def test_an_mlflow_that_wants_to_know_who_asks_answers(recorder: tuple[str, type[Recorder]]) -> None:
    address, server = recorder
    for status, is_up in ((401, True), (403, True), (200, True), (500, False), (404, False)):
        server.status = status
        probe = Probe(f"http://{address}")
        with nullcontext() if is_up else pytest.raises(MlflowUnreachable, match=f"has status {status}"):
            probe.check()
        probe.close()

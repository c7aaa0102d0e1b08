"""The way to a server: proxies and certificates of the environment, and of a session."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3.contrib
from requests.exceptions import RequestException

from django_google_link.exceptions import RefreshUnavailableError
from django_google_link.http import tls
from django_google_link.http.pool import process_pool, start_anew
from django_google_link.http.routes import find_route
from django_google_link.models import GoogleAccount
from django_google_link.oauth.transport import request as request_endpoint
from django_google_link.services import access_token, authorized_session
from django_google_link.testing.accounts import make_google_account
from tests.support.databases import new_user
from tests.support.hostile_servers import HostileServer, hostile_server
from tests.support.https_servers import write_certificate
from tests.support.kept_connections import CALLERS, FAILURES
from tests.support.proxies import Proxy, running_proxy
from tests.support.times import in_seconds

pytestmark = pytest.mark.django_db

VARIABLES = [
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nothing is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    yield
    process_pool().close_idle()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A server's certificate and its key."""
    return write_certificate(tmp_path)


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[HostileServer]:
    """A server whose certificate nobody trusts by himself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(certificate[0])
    context.verify_mode = ssl.CERT_OPTIONAL
    with hostile_server(context) as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy that lets everybody through."""
    with running_proxy() as proxy:
        yield proxy


@pytest.fixture
def account(google: Any, user: Any, configure: Callable[..., None]) -> GoogleAccount:
    """An account whose token lives, with Google's own APIs."""
    configure(API_ENDPOINT=None)
    return make_google_account(user, access_token="ya29.x")


every_caller = pytest.mark.parametrize("call", CALLERS.values(), ids=CALLERS)


# Certificates


@pytest.mark.matrix
@every_caller
@pytest.mark.parametrize(
    "variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]
)
def test_bundle_of_the_environment_is_trusted(
    server: HostileServer,
    certificate: tuple[Path, Path],
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    call: Any,
    variable: str,
) -> None:
    """Under each of its names, a file or a folder."""
    with pytest.raises(FAILURES, match=r"(?i)certificate.verify.failed|SSLError"):
        call(account, "GET", f"{server.url}/1")
    path: Any = certificate[0]
    if variable == "SSL_CERT_DIR":
        path = tmp_path / "folder"
        path.mkdir()
        name = f"{hash_of_subject(certificate[0])}.0"
        (path / name).write_bytes(certificate[0].read_bytes())
        path = f"{tmp_path}{os.pathsep}{path}"
    monkeypatch.setenv(variable, str(path))

    assert call(account, "GET", f"{server.url}/2") == {"id": "2"}


def hash_of_subject(certificate: Path) -> str:
    """Return by which name OpenSSL looks for a certificate in a folder."""
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(certificate)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_bundle_that_is_replaced_holds_at_once(
    server: HostileServer,
    certificate: tuple[Path, Path],
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """No worker has to be started anew."""
    bundle = tmp_path / "bundle.pem"
    other = tmp_path / "other"
    other.mkdir()
    bundle.write_bytes(write_certificate(other)[0].read_bytes() * 2)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with pytest.raises(RefreshUnavailableError):
        request_endpoint("GET", f"{server.url}/1")

    bundle.write_bytes(certificate[0].read_bytes())

    assert request_endpoint("GET", f"{server.url}/2").document == {"id": "2"}


@pytest.mark.matrix
@every_caller
@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "No such file or directory"), (b"nothing", "no certificate|NO_CERTIFICATE")],
)
def test_bundle_that_is_none_is_named(
    server: HostileServer,
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    call: Any,
    content: bytes | None,
    cause: str,
) -> None:
    """With what names it, and why it is none."""
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    with pytest.raises(FAILURES, match=rf"SSL_CERT_FILE names {bundle}.*({cause})"):
        call(account, "GET", f"{server.url}/1")


def test_bundle_that_is_none_is_named_in_the_log(
    shared_database: None,
    server: HostileServer,
    google: Any,
    configure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever is on call need not guess why Google cannot be reached."""
    configure(TOKEN_ENDPOINT=f"{server.url}/token")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/bundle.pem")
    account = make_google_account(new_user(), access_token_expires_at=in_seconds(-60))

    with pytest.raises(RefreshUnavailableError):
        access_token(account)

    assert "SSL_CERT_FILE names /no/bundle.pem: No such file or directory" in caplog.text


def test_context_is_made_once(
    server: HostileServer,
    certificate: tuple[Path, Path],
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For all callers and hosts with the same certificates: it takes 25 ms."""
    start_anew()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    made: list[Any] = []
    make = tls.make_context
    monkeypatch.setattr(
        "django_google_link.http.pool.make_context", lambda trust: made.append(trust) or make(trust)
    )

    for call in CALLERS.values():
        call(account, "GET", f"{server.url}/1")
        with pytest.raises(FAILURES):
            call(account, "GET", "https://127.0.0.1:1/")

    assert len(made) == 1


def test_context_is_complete_when_it_is_shared(certificate: tuple[Path, Path]) -> None:
    """urllib3 sets its protocols at each connection, while others may be connecting with it."""
    trust = find_route("https://example.com/", verify=str(certificate[0])).trust
    assert trust is not None
    context = tls.make_context(trust)
    context.set_alpn_protocols(["h2"])
    there = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    there.load_cert_chain(*certificate)
    there.set_alpn_protocols(["h2", "http/1.1"])

    with (
        hostile_server(there) as server,
        socket.create_connection(("127.0.0.1", server.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.selected_alpn_protocol() == "http/1.1"


@pytest.mark.slow
def test_contexts_are_bounded(
    server: HostileServer, certificate: tuple[Path, Path], account: GoogleAccount, tmp_path: Path
) -> None:
    """Sessions may each have a bundle of their own."""
    for number in range(20):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(certificate[0].read_bytes())
        response = authorized_session(account).get(f"{server.url}/{number}", verify=str(path))
        assert response.json() == {"id": str(number)}


@pytest.mark.slow
def test_what_one_session_trusts_is_not_trusted_by_others(
    server: HostileServer, certificate: tuple[Path, Path], account: GoogleAccount
) -> None:
    """Though its connection is open."""
    careless = authorized_session(account)
    careless.verify = False
    with pytest.warns(match="Unverified HTTPS request"):
        assert careless.get(f"{server.url}/1").status_code == 200
    assert (
        authorized_session(account).get(f"{server.url}/2", verify=str(certificate[0])).status_code
        == 200
    )

    with pytest.raises(RequestException, match="CERTIFICATE_VERIFY_FAILED"):
        authorized_session(account).get(f"{server.url}/3")
    assert server.connections == 2


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("is_pair", [True, False])
def test_client_certificate_is_one_session_s(
    server: HostileServer,
    certificate: tuple[Path, Path],
    account: GoogleAccount,
    tmp_path: Path,
    is_pair: bool,
) -> None:
    """No other one is taken for it."""
    path, key = map(str, certificate)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate[0].read_bytes() + certificate[1].read_bytes())
    mine, others = authorized_session(account), authorized_session(account)
    mine.verify = others.verify = path
    mine.cert = (path, key) if is_pair else str(both)

    for number in range(2):
        mine.get(f"{server.url}/mine-{number}")
        others.get(f"{server.url}/others-{number}")

    named = {seen.id: server.certificates.get(seen.connection) for seen in server.requests}
    assert all(named[f"mine-{number}"] and not named[f"others-{number}"] for number in range(2))
    assert server.connections == 2


@pytest.mark.matrix
@pytest.mark.parametrize("content", [None, b"nothing"])
def test_client_certificate_that_is_none_is_named(
    server: HostileServer,
    certificate: tuple[Path, Path],
    account: GoogleAccount,
    tmp_path: Path,
    content: bytes | None,
) -> None:
    """And no terminal is asked for a password."""
    path = tmp_path / "mine.pem"
    if content:
        path.write_bytes(content)
    session = authorized_session(account)
    session.verify, session.cert = str(certificate[0]), str(path)

    with pytest.raises(RequestException, match=r"client certificate.*mine\.pem"):
        session.get(f"{server.url}/1")


# Proxies


@pytest.mark.matrix
@every_caller
def test_proxy_of_the_environment_is_used(
    server: HostileServer,
    certificate: tuple[Path, Path],
    proxy: Proxy,
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
) -> None:
    """By all, and what goes through it is not for its eyes."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)

    for number in range(3):
        assert call(account, "GET", f"{server.url}/{number}") == {"id": str(number)}

    assert proxy.targets == [f"127.0.0.1:{server.port}"]


@pytest.mark.slow
@pytest.mark.matrix
@every_caller
def test_proxy_that_speaks_tls_is_used(
    server: HostileServer,
    certificate: tuple[Path, Path],
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
) -> None:
    """Its certificate is verified as that of a server is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with running_proxy(context=context) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        for number in range(2):
            assert call(account, "GET", f"{server.url}/{number}") == {"id": str(number)}

        assert proxy.targets == [f"127.0.0.1:{server.port}"]


@pytest.mark.matrix
@every_caller
def test_no_proxy_is_heeded(
    server: HostileServer,
    certificate: tuple[Path, Path],
    proxy: Proxy,
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
) -> None:
    """By all."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.0/8")

    assert call(account, "GET", f"{server.url}/1") == {"id": "1"}
    assert proxy.targets == []


@every_caller
def test_emulator_is_not_reached_through_a_proxy(
    proxy: Proxy,
    account: GoogleAccount,
    configure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
) -> None:
    """The request is in plain text, token and all."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy.url)
    with hostile_server() as emulator:
        configure(API_ENDPOINT=emulator.url)

        assert call(account, "GET", f"{emulator.url}/1") == {"id": "1"}

    assert proxy.connections == 0


@pytest.mark.slow
def test_proxy_and_its_login_are_part_of_a_connection(
    server: HostileServer,
    certificate: tuple[Path, Path],
    proxy: Proxy,
    account: GoogleAccount,
) -> None:
    """What one may use, another does not use for it."""
    host = proxy.url.removeprefix("http://")
    for user in ("anna:p%40ss", "ben:x", "anna:p%40ss"):
        session = authorized_session(account)
        session.verify = str(certificate[0])
        session.proxies = {"https": f"http://{user}@{host}"}
        assert session.get(f"{server.url}/1").status_code == 200

    assert proxy.logins == ["anna:p@ss", "ben:x"]
    assert not any("proxy-authorization" in seen.headers for seen in server.requests)


@pytest.mark.matrix
@every_caller
@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("http://operator:secret@127.0.0.1:1", "(?i)proxy.*refused|ProxyError"),
        ("http://operator:secret@[::1", "URL of the proxy is not valid"),
        ("http://operator:secret@host:port", "URL of the proxy is not valid"),
        ("ftp://operator:secret@127.0.0.1", "URL of the proxy is not valid"),
        ("http://größe:größe€@127.0.0.1:1", "URL of the proxy is not valid"),
    ],
)
def test_proxy_that_cannot_be_used_is_told(
    server: HostileServer,
    certificate: tuple[Path, Path],
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
    address: str,
    cause: str,
) -> None:
    """As what it is, and without its login."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("HTTPS_PROXY", address)

    with pytest.raises(FAILURES, match=cause) as caught:
        call(account, "GET", f"{server.url}/1")

    assert "secret" not in str(caught.value)
    assert server.connections == 0


@pytest.mark.matrix
@every_caller
def test_socks_proxy_is_used(
    server: HostileServer,
    certificate: tuple[Path, Path],
    account: GoogleAccount,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
) -> None:
    """By all, where PySocks is installed."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with running_proxy(speaks_socks=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("http", "socks5h"))
        for number in range(2):
            assert call(account, "GET", f"{server.url}/{number}") == {"id": str(number)}

        assert proxy.targets == [f"127.0.0.1:{server.port}"]


def test_socks_proxy_that_is_down_is_told(
    account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not Google that is slow."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://operator:secret@127.0.0.1:1")

    with pytest.raises(RefreshUnavailableError, match=r"SOCKS5 proxy.*refused") as caught:
        request_endpoint("GET", "https://example.com/")

    assert "secret" not in str(caught.value)


@pytest.mark.matrix
@pytest.mark.parametrize("address", ["socks9://127.0.0.1:1", "socks5h://[::1"])
def test_socks_proxy_that_cannot_be_used_is_told(
    account: GoogleAccount, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Nobody knows that version, or where it is."""
    monkeypatch.setenv("HTTPS_PROXY", address)

    with pytest.raises(RefreshUnavailableError, match="the proxy is not valid"):
        request_endpoint("GET", "https://example.com/")


@pytest.mark.matrix
@every_caller
def test_socks_proxy_without_pysocks_is_told(
    account: GoogleAccount, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    """And nobody goes past it."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://operator:secret@127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    monkeypatch.delattr(urllib3.contrib, "socks", raising=False)

    with pytest.raises(FAILURES, match="PySocks") as caught:
        call(account, "GET", "https://example.com/")

    assert "secret" not in str(caught.value)


def test_proxy_that_refuses_is_told(
    server: HostileServer, account: GoogleAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own words."""
    with running_proxy(login="operator:secret") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(RefreshUnavailableError, match=r"the proxy: .*407 Who are you"):
            request_endpoint("GET", f"{server.url}/1")


def test_route_shows_no_login() -> None:
    """In no report."""
    route = find_route("https://example.com/", proxies={"https": "http://a:secret@127.0.0.1"})

    assert route.proxy == "http://a:secret@127.0.0.1"
    assert "secret" not in repr(route)
    assert "SSL_CERT_FILE" not in os.environ

"""Which way a request goes, by what the environment says and who makes it: the guide's table."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from django_google_link.http.pool import process_pool
from django_google_link.models import GoogleAccount
from django_google_link.oauth.transport import request as request_endpoint
from django_google_link.services import authorized_http, authorized_session, httpx_auth
from django_google_link.testing.accounts import make_google_account
from tests.documentation.pages import tables, text_of
from tests.support.hostile_servers import HostileServer, hostile_server
from tests.support.https_servers import write_certificate
from tests.support.kept_connections import FAILURES
from tests.support.proxies import running_proxy

pytestmark = pytest.mark.django_db

VARIABLES = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a row of the table is arranged."""

    server: HostileServer
    bundle: Path
    account: GoogleAccount
    configure: Callable[..., None]
    set_variable: Callable[[str, str], None]
    undo: ExitStack

    def start_proxy(self, **options: Any) -> Any:
        """Run a proxy, and let the machine trust the server."""
        self.set_variable("SSL_CERT_FILE", str(self.bundle))
        return self.undo.enter_context(running_proxy(**options))


@pytest.fixture
def machine(
    google: Any,
    user: Any,
    configure: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Machine]:
    """A machine on which nothing is set, and a server whose certificate it does not know."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    configure(API_ENDPOINT=None)
    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with hostile_server(context) as server, ExitStack() as undo:
        yield Machine(
            server=server,
            bundle=certificate,
            account=make_google_account(user, access_token="ya29.x"),
            configure=configure,
            set_variable=monkeypatch.setenv,
            undo=undo,
        )
    process_pool().close_idle()


# Each returns what is asked, and how often a proxy was used.

Way = tuple[str, Callable[[], int]]


def nothing(machine: Machine) -> Way:
    """The server's certificate is nobody's."""
    return machine.server.url, lambda: 0


def https_proxy(machine: Machine) -> Way:
    """The usual variable."""
    proxy = machine.start_proxy()
    machine.set_variable("HTTPS_PROXY", proxy.url)
    return machine.server.url, lambda: len(proxy.targets)


def https_proxy_with_login(machine: Machine) -> Way:
    """The login stands in the address."""
    proxy = machine.start_proxy(login="me:secret")
    machine.set_variable("HTTPS_PROXY", proxy.url.replace("://", "://me:secret@"))
    return machine.server.url, lambda: len(proxy.targets)


def https_proxy_without_login(machine: Machine) -> Way:
    """It demands one, and goes on to refuse."""
    proxy = machine.start_proxy(login="me:secret")
    machine.set_variable("HTTPS_PROXY", proxy.url)
    return machine.server.url, lambda: len(proxy.targets)


def no_proxy(machine: Machine) -> Way:
    """The host is left out."""
    way = https_proxy(machine)
    machine.set_variable("NO_PROXY", "127.0.0.1")
    return way


def all_proxy(machine: Machine) -> Way:
    """A SOCKS proxy."""
    proxy = machine.start_proxy(speaks_socks=True)
    machine.set_variable("ALL_PROXY", proxy.url.replace("http://", "socks5://"))
    return machine.server.url, lambda: len(proxy.targets)


def requests_ca_bundle(machine: Machine) -> Way:
    """The variable of requests."""
    machine.set_variable("REQUESTS_CA_BUNDLE", str(machine.bundle))
    return nothing(machine)


def ssl_cert_file(machine: Machine) -> Way:
    """The variable of OpenSSL."""
    machine.set_variable("SSL_CERT_FILE", str(machine.bundle))
    return nothing(machine)


def missing_bundle(machine: Machine) -> Way:
    """A typing error."""
    machine.set_variable("SSL_CERT_FILE", f"{machine.bundle}.typo")
    return nothing(machine)


def emulator(machine: Machine) -> Way:
    """The proxy would see the token: it gets a whole request in plain text."""
    apis = machine.undo.enter_context(hostile_server())
    proxy = machine.undo.enter_context(hostile_server())
    machine.configure(API_ENDPOINT=apis.url)
    machine.set_variable("HTTP_PROXY", proxy.url)
    return apis.url, lambda: len(proxy.requests)


def emulator_and_no_proxy(machine: Machine) -> Way:
    """The same, with this machine left out."""
    way = emulator(machine)
    machine.set_variable("NO_PROXY", "127.0.0.1")
    return way


SETUPS: dict[str, Callable[[Machine], Way]] = {
    "nothing": nothing,
    "`HTTPS_PROXY`": https_proxy,
    "`HTTPS_PROXY` with a login": https_proxy_with_login,
    "`HTTPS_PROXY` without its login": https_proxy_without_login,
    "`HTTPS_PROXY`, host in `NO_PROXY`": no_proxy,
    "`ALL_PROXY=socks5://…`": all_proxy,
    "`REQUESTS_CA_BUNDLE`": requests_ca_bundle,
    "`SSL_CERT_FILE`": ssl_cert_file,
    "`SSL_CERT_FILE`, not there": missing_bundle,
    "emulator, `HTTP_PROXY`": emulator,
    "emulator, `HTTP_PROXY` and `NO_PROXY`": emulator_and_no_proxy,
}


def call_by_service(account: GoogleAccount, url: str) -> Any:
    """What a built service makes its requests by."""
    return json.loads(authorized_http(account).request(url)[1])


def call_by_session(account: GoogleAccount, url: str) -> Any:
    """A session."""
    return authorized_session(account).get(url).json()


def call_by_endpoint(account: GoogleAccount, url: str) -> Any:
    """A request for a token."""
    return request_endpoint("GET", url).document


def call_by_httpx(account: GoogleAccount, url: str) -> Any:
    """A client of the project's."""
    with httpx.Client() as client:
        return client.get(url, auth=httpx_auth(account)).json()


#: In the order of the guide's columns.
CALLERS = (call_by_service, call_by_session, call_by_endpoint, call_by_httpx)


@pytest.mark.matrix
@pytest.mark.parametrize("position", range(len(CALLERS)))
@pytest.mark.parametrize("setup", SETUPS)
def test_request_goes_the_way_of_the_guide(machine: Machine, setup: str, position: int) -> None:
    """Directly, by the proxy, or not at all."""
    if (SETUPS[setup], CALLERS[position]) == (all_proxy, call_by_httpx):
        pytest.importorskip("socksio")
    url, count_proxied = SETUPS[setup](machine)
    try:
        assert CALLERS[position](machine.account, f"{url}/1") == {"id": "1"}
        way = "proxy" if count_proxied() else "direct"
    except (*FAILURES, httpx.TransportError):
        assert count_proxied() == 0
        way = "error"

    [table] = tables(text_of("howto/connections"))
    [row] = [row for row in table if row[0] == setup]
    assert row[1 + position] == way


def test_guide_knows_each_setup() -> None:
    """And no other."""
    [table] = tables(text_of("howto/connections"))

    assert [row[0] for row in table] == list(SETUPS)
